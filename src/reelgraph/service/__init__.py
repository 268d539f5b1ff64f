"""The service: a trained model behind HTTP, with a page for visitors."""

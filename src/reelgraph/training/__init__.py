"""From a Dataset to a trained model (torch)."""

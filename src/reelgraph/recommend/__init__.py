"""Predictions, lists and explanations of a trained model, without torch."""

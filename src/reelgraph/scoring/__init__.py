"""The formulas of the models in numpy, for serving without torch."""

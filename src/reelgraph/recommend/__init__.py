"""A trained model at work, numpy only."""

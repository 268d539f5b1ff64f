"""A trained model judged."""

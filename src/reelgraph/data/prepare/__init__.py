"""Raw rows to checked, indexed, split ratings."""

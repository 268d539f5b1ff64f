"""Comparisons with the methods one would use instead, on data sets by name."""

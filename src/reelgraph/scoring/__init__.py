"""The models' formulas in numpy: exported arrays to numbers, no torch."""

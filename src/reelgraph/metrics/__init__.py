"""Numbers from arrays: no model, no torch."""

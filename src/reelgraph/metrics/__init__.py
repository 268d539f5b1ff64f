"""Rating and ranking metrics, and baselines."""

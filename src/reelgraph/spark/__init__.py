"""Recommendation lists for all users with Spark."""

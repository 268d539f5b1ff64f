"""Checks of the environment."""

"""The database of ratings given through the service."""

"""Ratings that the service keeps."""

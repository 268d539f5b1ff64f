"""Tests of README.md, docs/, examples/ and the package."""

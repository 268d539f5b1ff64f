"""The command line."""

from reelgraph.cli.main import main

__all__ = ["main"]

"""reelgraph: a movie recommender built on a graph neural network."""

__version__ = "0.1.0"

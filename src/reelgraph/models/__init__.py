"""The graph of ratings and the networks on it."""

from reelgraph.models.ranking_head import RankingModel
from reelgraph.models.residual import ResidualModel

__all__ = ["RankingModel", "ResidualModel"]

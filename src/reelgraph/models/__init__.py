"""The graph of ratings and the networks on it."""

from reelgraph.models.gcn import GCNModel
from reelgraph.models.ranking_head import RankingModel
from reelgraph.models.residual import ResidualModel

__all__ = ["GCNModel", "RankingModel", "ResidualModel"]

"""The two rating models and the ranking head; `objectives.Model` says what they have in common."""

from reelgraph.models.gcn import GCNModel
from reelgraph.models.ranking import RankingModel
from reelgraph.models.residual import ResidualModel

__all__ = ["GCNModel", "RankingModel", "ResidualModel"]

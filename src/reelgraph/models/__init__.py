"""The two rating models; `training.RatingModel` says what they have in common."""

from reelgraph.models.gcn import GCNModel
from reelgraph.models.residual import ResidualModel

__all__ = ["GCNModel", "ResidualModel"]

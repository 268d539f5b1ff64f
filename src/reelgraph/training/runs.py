"""What differs between fits of the rating model and fits of the ranking head."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa
import torch

from reelgraph.arrays import Float32s
from reelgraph.config import TrainConfig, l2_rule, rank_l2_rule
from reelgraph.data import side_features
from reelgraph.data.dataset import Dataset, Interactions
from reelgraph.models import RankingModel, ResidualModel
from reelgraph.models.graph import BipartiteGraph
from reelgraph.training.validation import RankingValidation, RatingValidation

if TYPE_CHECKING:
    from reelgraph.models.gcn import GCNModel

Moves = tuple[tuple[str, tuple[float, ...]], ...]

# Factors on one setting, the most promising first; the search tries the second factor only if the first does not help.
RATING_MOVES: Moves = (
    ("l2", (1.4, 0.7)),
    ("dim", (2.0,)),
    ("side_l2", (2.5, 0.4)),
    ("hide", (0.6, 1.6)),
    ("huber_delta", (1.6,)),
)
QUICK = {"l2"}  # what the quick search tries
GCN_SETTINGS = {"l2", "dim", "huber_delta"}
RANKING_MOVES: Moves = (("l2", (1.5, 0.67)), ("temperature", (1.4, 0.7)))


@dataclass(frozen=True)
class RatingRuns:
    """Fits of the rating model."""

    data: Dataset
    prefix = ""  # begins the names of the phases
    refit_anew = False  # whether the refit takes the steps of the fit again in place of going on from there
    l2_rule = staticmethod(l2_rule)

    @property
    def valid(self) -> RatingValidation | None:
        """RMSE on the validation ratings."""
        return RatingValidation(self.data.valid, self.data.scale) if len(self.data.valid) else None

    def build(self, graph: BipartiteGraph, _: Interactions, config: TrainConfig) -> "GCNModel | ResidualModel":
        """A new model over a graph of training ratings."""
        if config.model == "gcn":
            from reelgraph.models.gcn import GCNModel  # noqa: PLC0415 (PyG takes longer to import than torch)

            return GCNModel(graph, scale=self.data.scale, dim=config.dim, dropout=config.dropout)
        user, item = self._features if config.side_features else (None, None)
        return ResidualModel(
            graph, dim=config.dim, hide=config.hide, newcomers=config.newcomers, dropout=config.dropout,
            user_features=None if user is None else user[slice(*graph.shard.users)], item_features=item,
        )  # fmt: skip

    def moves(self, config: TrainConfig, quick: bool) -> Moves:
        """The changes of settings that a search tries."""
        used = GCN_SETTINGS if config.model == "gcn" else {name for name, _ in RATING_MOVES}
        used = used & QUICK if quick else used
        if not config.side_features or all(features is None for features in self._features):
            used = used - {"side_l2"}
        return tuple(move for move in RATING_MOVES if move[0] in used)

    @cached_property
    def _features(self) -> tuple[Float32s | None, Float32s | None]:
        return features_of(self.data.user_table), features_of(self.data.item_table)


@dataclass(frozen=True)
class RankingRuns:
    """Fits of the ranking head; its attributes are those of `RatingRuns`."""

    data: Dataset
    prefix = "rank "
    refit_anew = True  # The linear start uses the validation ratings at once.
    l2_rule = staticmethod(rank_l2_rule)

    @property
    def valid(self) -> RankingValidation | None:
        """NDCG of lists on the validation ratings."""
        liked = (self.data.valid.rating >= self.data.liked).any()
        return RankingValidation(self.data.valid, self.data.scale) if liked else None

    def build(self, graph: BipartiteGraph, train: Interactions, config: TrainConfig) -> RankingModel:
        """A new model over a graph of training ratings; `train` holds those of all processes."""
        return RankingModel(
            graph, torch.as_tensor(graph.shard.local(train).rating >= self.data.liked), dim=config.dim,
            hide=config.hide, newcomers=config.newcomers, dropout=config.dropout, temperature=config.temperature,
            item_features=self._features if config.side_features else None,
        )  # fmt: skip

    def moves(self, _: TrainConfig, quick: bool) -> Moves:
        """The changes of settings that a search tries; nothing has helped often enough for a quick one."""
        return () if quick else RANKING_MOVES

    @cached_property
    def _features(self) -> Float32s | None:
        return features_of(self.data.item_table)


Runs = RatingRuns | RankingRuns


def features_of(table: pa.Table) -> Float32s | None:
    """Side features of one side's nodes, float32 `(num_nodes, num_features)`; None without any."""
    encoded = side_features.encode(table)
    return None if encoded is None else encoded[0]

"""Errors of a model on ratings that it was not fitted to."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from reelgraph.arrays import Float32s, Float64s
from reelgraph.data.dataset import Interactions
from reelgraph.metrics.ranking import user_ndcg
from reelgraph.models.base import HidesRatings, RatingModel

RESIDUAL_FOLDS = 5


@dataclass(frozen=True)
class RatingValidation:
    """RMSE and MAE of predicted ratings, clipped to the scale."""

    ratings: Interactions
    scale: tuple[float, float]

    def differences(self, model: Any) -> Float64s:
        """Predictions minus ratings."""
        own: Interactions = model.graph.shard.local(self.ratings)
        return predict(model, own, self.scale).astype(np.float64) - own.rating

    def errors(self, model: Any) -> Float64s:
        """Squared errors of this process's ratings, by which two models are compared."""
        return self.differences(model) ** 2

    def measures(self, model: Any) -> dict[str, float]:
        """RMSE and MAE over all processes, by their names in `history.csv`."""
        off = self.differences(model)
        return {"valid_rmse": mean_of(model, off**2) ** 0.5, "valid_mae": mean_of(model, np.abs(off))}


@dataclass(frozen=True)
class RankingValidation:
    """nDCG at 10 of the lists of a ranking head."""

    ratings: Interactions
    scale: tuple[float, float]

    def errors(self, model: Any) -> Float64s:
        """1 - nDCG of this process's users with a relevant validation rating."""
        user, item, bias = (array.numpy(force=True) for array in model.scores())
        graph = model.graph
        columns = graph.user, graph.item - graph.num_users, graph.rating
        user_index, item_index, rating = (column.numpy(force=True) for column in columns)
        seen = Interactions(user_index, item_index, rating, None)
        own = graph.shard.local(self.ratings)
        return 1 - user_ndcg(lambda users: user[users] @ item.T + bias, seen, own, graph.num_items, self.scale[1])

    def measures(self, model: Any) -> dict[str, float]:
        """The mean nDCG; NaN for the measures of ratings."""
        ndcg = 1 - mean_of(model, self.errors(model))
        return {"valid_rmse": math.nan, "valid_mae": math.nan, "valid_ndcg": ndcg}


Validation = RatingValidation | RankingValidation


def mean_of(model: Any, values: Float64s) -> float:
    """The mean over all processes' values, `(num_values,)` in this one; NaN when there are none."""
    shard = model.graph.shard
    count, total = shard.total(len(values)), shard.total(float(values.sum()))
    return total / count if count else math.nan


def predict(model: RatingModel, pairs: Interactions, scale: tuple[float, float]) -> Float32s:
    """Predicted ratings of pairs, clipped to the scale, float32 `(num_pairs,)`."""
    standardised = model.predict(*model.graph.pairs(pairs.user_index, pairs.item_index))
    return (standardised * model.graph.std + model.graph.mean).clamp(*scale).numpy(force=True)


@torch.no_grad()
def hidden_residuals(model: HidesRatings, ratings: Interactions, scale: tuple[float, float]) -> Float32s:
    """Ratings of a fitted model's graph minus their predictions, float32 `(num_edges,)` in the data's scale.

    Each prediction is made while the rating itself is hidden, a fifth of the ratings at a time.
    """
    model.eval()
    graph, residual = model.graph, np.empty(len(ratings), np.float32)
    draws = torch.Generator("cpu").manual_seed(0)  # the same on every device
    fold = torch.randint(RESIDUAL_FOLDS, (graph.num_edges,), generator=draws, device="cpu").to(graph.rating.device)
    for number in range(RESIDUAL_FOLDS):
        hidden = fold == number
        if hidden.any():
            standardised, _ = model.hidden_pairs(hidden)
            prediction = (standardised * graph.std + graph.mean).clamp(*scale).numpy(force=True)
            residual[hidden.numpy(force=True)] = ratings.rating[hidden.numpy(force=True)] - prediction
    return residual

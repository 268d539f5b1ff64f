"""What models are fitted to and judged by: hidden ratings and their RMSE, hidden liked movies and their nDCG."""

import math
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from reelgraph.config import TrainConfig
from reelgraph.data.dataset import Interactions
from reelgraph.graph import BipartiteGraph
from reelgraph.ranking import user_ndcg


class Model(Protocol):
    """What the loop asks of every model; they are `torch.nn.Module`s besides.

    Attributes:
        graph: the training ratings.
        node_tables: names of the parameters with a row for each node, of which a process has its own.
    """

    graph: BipartiteGraph
    node_tables: tuple[str, ...]

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]: ...  # noqa: D102

    def parameter_groups(self, l2: float, side_l2: float) -> list[dict[str, Any]]: ...  # noqa: D102
    def export(self) -> dict[str, Tensor]: ...  # noqa: D102
    def train(self, mode: bool = True) -> Any: ...  # noqa: D102
    def state_dict(self) -> dict[str, Tensor]: ...  # noqa: D102
    def load_state_dict(self, state_dict: dict[str, Tensor]) -> Any: ...  # noqa: D102


class RatingModel(Model, Protocol):
    """A model that predicts ratings."""

    def training_pairs(self) -> tuple[Tensor, Tensor]: ...  # noqa: D102
    def predict(self, user: Tensor, item: Tensor) -> Tensor: ...  # noqa: D102


@runtime_checkable
class RanksMovies(Protocol):
    """A model that ranks movies."""

    graph: BipartiteGraph

    def hidden_loss(self) -> Tensor: ...  # noqa: D102
    def scores(self) -> tuple[Tensor, Tensor, Tensor]: ...  # noqa: D102


@runtime_checkable
class HidesRatings(Protocol):
    """A model that is trained on ratings hidden from their own messages."""

    graph: BipartiteGraph
    conv: Any

    def hidden_pairs(self, hidden: Tensor) -> tuple[Tensor, Tensor]: ...  # noqa: D102
    def predict(self, user: Tensor, item: Tensor) -> Tensor: ...  # noqa: D102
    def eval(self) -> Any: ...  # noqa: D102
    def train(self, mode: bool = True) -> Any: ...  # noqa: D102


def loss_of(model: Any, config: TrainConfig) -> Tensor:
    """The loss of one step: the ranking head's own, or the mean of Huber's over a rating model's training pairs.

    In a distributed training it is this process's part of it: the sum over processes is the loss.
    """
    if isinstance(model, RanksMovies):
        return model.hidden_loss()
    prediction, target = model.training_pairs()
    count = model.graph.shard.total(len(target))
    total: Tensor = F.huber_loss(prediction, target, delta=config.huber_delta, reduction="sum")
    return total.div(max(count, 1))


def judge(model: Any, valid: Interactions, scale: tuple[float, float]) -> dict[str, float]:
    """The validation measures of a model, by their names in `history.csv`; the ratings are those of its own users."""
    if isinstance(model, RanksMovies):
        return {
            "valid_rmse": math.nan,
            "valid_mae": math.nan,
            "valid_ndcg": 1 - mean_of(model, errors(model, valid, scale)),
        }
    off = predict(model, valid, scale).astype(np.float64) - valid.rating
    return {"valid_rmse": mean_of(model, off**2) ** 0.5, "valid_mae": mean_of(model, np.abs(off))}


def mean_of(model: Any, values: npt.NDArray[np.float64]) -> float:
    """The mean over all processes' values, `(num_values,)` in this one; NaN when there are none at all."""
    shard = model.graph.shard
    count, total = shard.total(len(values)), shard.total(float(values.sum()))
    return total / count if count else math.nan


def errors(model: Any, valid: Interactions, scale: tuple[float, float]) -> npt.NDArray[np.float64]:
    """What two models are compared by: squared errors of ratings, or 1 - nDCG at 10 of users; float64."""
    if isinstance(model, RanksMovies):
        user, item, bias = (array.numpy() for array in model.scores())
        graph = model.graph
        seen = Interactions(
            graph.user.numpy(),
            (graph.item - graph.num_users).numpy(),
            graph.rating.numpy(),
            None,
        )
        return 1 - user_ndcg(lambda users: user[users] @ item.T + bias, seen, valid, graph.num_items, scale[1])
    return (predict(model, valid, scale).astype(np.float64) - valid.rating) ** 2


RESIDUAL_FOLDS = 5


def predict(model: RatingModel, pairs: Interactions, scale: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Predicted ratings of pairs, clipped to the scale, float32 of shape `(num_pairs,)`."""
    standardised = model.predict(*model.graph.pairs(pairs.user_index, pairs.item_index))
    rating = standardised * model.graph.std + model.graph.mean
    return rating.clamp(*scale).numpy()


@torch.no_grad()
def hidden_residuals(model: HidesRatings, ratings: Interactions, scale: tuple[float, float]) -> npt.NDArray[np.float32]:
    """What each training rating exceeds its prediction by, made while the rating itself is hidden.

    Args:
        model: a fitted model; a fifth of its ratings is hidden at a time.
        ratings: the ratings of its graph.
        scale: lowest and highest rating; predictions are clipped to it.

    Returns:
        Differences in the data's scale, float32 of shape `(num_edges,)`.
    """
    model.eval()
    graph, residual = model.graph, np.empty(len(ratings), np.float32)
    fold = torch.randint(RESIDUAL_FOLDS, (graph.num_edges,), generator=torch.Generator().manual_seed(0))
    for number in range(RESIDUAL_FOLDS):
        hidden = fold == number
        if hidden.any():
            standardised, _ = model.hidden_pairs(hidden)
            prediction = (standardised * graph.std + graph.mean).clamp(*scale).numpy()
            residual[hidden.numpy()] = ratings.rating[hidden.numpy()] - prediction
    return residual

"""Protocols of the models, and the loss of rating models."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from reelgraph.config import TrainConfig
from reelgraph.models.graph import BipartiteGraph
from reelgraph.models.shard import Shard


class Model(Protocol):
    """A model that the training loop can fit; every model is a `torch.nn.Module`."""

    graph: BipartiteGraph
    node_tables: tuple[str, ...]  # parameters with one row per node; a process holds the rows of its own users
    constants: tuple[str, ...]  # buffers that a fit does not change

    def draw(self) -> Any:
        """What a step draws at random, and what follows from it without the weights.

        Another thread may call it while a step is taken.
        """

    def loss(self, config: TrainConfig, drawn: Any) -> Tensor:
        """This process's part of the loss of a step that has drawn `drawn`; the loss is the sum over processes."""

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]: ...  # noqa: D102
    def parameter_groups(self, l2: float, side_l2: float) -> list[dict[str, Any]]: ...  # noqa: D102
    def export(self) -> dict[str, Tensor]: ...  # noqa: D102
    def train(self, mode: bool = True) -> Any: ...  # noqa: D102
    def state_dict(self) -> dict[str, Tensor]: ...  # noqa: D102
    def load_state_dict(self, state_dict: dict[str, Tensor]) -> Any: ...  # noqa: D102


class RatingModel(Model, Protocol):
    """A model that predicts ratings."""

    def predict(self, user: Tensor, item: Tensor) -> Tensor: ...  # noqa: D102


@runtime_checkable
class HidesRatings(RatingModel, Protocol):
    """A model that learns from ratings hidden from their own messages."""

    def hidden_pairs(self, hidden: Tensor) -> tuple[Tensor, Tensor]: ...  # noqa: D102
    def eval(self) -> Any: ...  # noqa: D102


def huber_loss(prediction: Tensor, target: Tensor, delta: float, shard: Shard) -> Tensor:
    """This process's part of the mean Huber loss over all processes' pairs, a scalar."""
    total: Tensor = F.huber_loss(prediction, target, delta=delta, reduction="sum")
    return total.div(max(shard.total(len(target)), 1))

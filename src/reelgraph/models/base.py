"""What the loop asks of a model (protocols)."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from reelgraph.models.graph import BipartiteGraph


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

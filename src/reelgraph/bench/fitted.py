"""A fitted method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reelgraph.arrays import Floats, Indices
from reelgraph.data.dataset import Interactions

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Fitted:
    """A fitted method; the last three fields are for methods that tune themselves.

    It predicts ratings in the data's scale, `(num_pairs,)`, NaN if impossible, or scores all movies for user indices,
    `(num_users, num_items)`, or both.
    """

    predict: Callable[[Interactions], Floats] | None = None
    score: Callable[[Indices], Floats] | None = None
    settings: Settings = field(default_factory=dict)
    tried: int = 0  # number of settings
    seconds: float = 0.0  # time of the last fit

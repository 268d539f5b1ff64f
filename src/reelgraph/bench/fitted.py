"""A fitted method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reelgraph.arrays import Floats, Indices
from reelgraph.data.dataset import Interactions

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Fitted:
    """A fitted method.

    Attributes:
        predict: predicts the ratings of pairs in the data's scale, `(num_pairs,)`, NaN if impossible; None if it only
            ranks.
        score: scores all movies for user indices, `(num_users, num_items)`; None if it does not rank.
        settings: the settings that the method chose itself.
        tried: the number of settings that it tried itself.
        seconds: time of its last fit if it tunes itself.
    """

    predict: Callable[[Interactions], Floats] | None = None
    score: Callable[[Indices], Floats] | None = None
    settings: Settings = field(default_factory=dict)
    tried: int = 0
    seconds: float = 0.0

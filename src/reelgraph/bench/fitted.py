"""What every method becomes once it is fitted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reelgraph.arrays import Floats, Indices
from reelgraph.data.dataset import Interactions


@dataclass(frozen=True)
class Fitted:
    """A model at work.

    Attributes:
        predict: ratings of pairs in the data's scale, `(num_pairs,)`, NaN where it cannot; None if it only ranks.
        score: scores of all movies for user indices, `(num_users, num_items)`; None if it makes no lists.
        settings: those it chose itself.
        tried: how many settings it tried itself.
        seconds: of its own last fit, where it tunes itself.
    """

    predict: Callable[[Interactions], Floats] | None = None
    score: Callable[[Indices], Floats] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tried: int = 0
    seconds: float = 0.0

"""What every method becomes once it is fitted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from reelgraph.data.dataset import Interactions

Floats = npt.NDArray[np.floating[Any]]


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
    score: Callable[[npt.NDArray[np.int32]], Floats] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tried: int = 0
    seconds: float = 0.0

"""A fitted method, and what fitting costs."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reelgraph.arrays import Floats, Indices
from reelgraph.data.dataset import Interactions

Settings = Mapping[str, Any]


class Cost(NamedTuple):
    """Seconds by the clock, and those of all processors together, which other work on the machine hardly changes."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0  # of this process, its threads and its ended children

    @classmethod
    def since(cls, start: "Cost | None" = None) -> "Cost":
        """The cost since `start`, or since some fixed time."""
        now = cls(time.monotonic(), time.process_time() + sum(os.times()[2:4]))
        return now if start is None else now.less(start)

    def less(self, part: "Cost") -> "Cost":
        """This cost without that of a part."""
        return Cost(self.seconds - part.seconds, self.cpu_seconds - part.cpu_seconds)


NOTHING = Cost()


@dataclass(frozen=True)
class Fitted:
    """A fitted method; the last four fields are for methods that tune themselves.

    It predicts ratings in the data's scale, `(num_pairs,)`, NaN if impossible, or scores all movies for user indices,
    `(num_users, num_items)`, or both.
    """

    predict: Callable[[Interactions], Floats] | None = None
    score: Callable[[Indices], Floats] | None = None
    settings: Settings = field(default_factory=dict)
    tried: int = 0  # number of settings
    tune: Cost = NOTHING
    fit: Cost = NOTHING  # with the chosen settings

"""Prediction intervals by split conformal prediction, in groups of users and movies with similar numbers of ratings.

An interval is the prediction plus and minus a quantile of the absolute validation errors in the pair's group (Lei,
G'Sell, Rinaldo, Tibshirani and Wasserman, Distribution-Free Predictive Inference for Regression, 2018; groups after
Vovk, Conditional Validity of Inductive Conformal Predictors, 2012). The only assumption is that new ratings are
exchangeable with the validation ratings.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reelgraph.arrays import Float64s, Floats, Ints
from reelgraph.errors import ConfigError

LEVELS = (0.5, 0.8, 0.9, 0.95)
USER_EDGES, ITEM_EDGES = (0, 10, 30, 100), (0, 5, 20, 100)  # lowest number of ratings in each group
MIN_PAIRS = 100  # a group with fewer validation ratings uses the quantile of all


@dataclass(frozen=True)
class Intervals:
    """Half widths of the intervals, in the data's scale, float64 `(len(LEVELS), len(USER_EDGES), len(ITEM_EDGES))`."""

    half_width: Float64s

    def around(
        self, prediction: Floats, user_count: Ints, item_count: Ints, level: float, scale: tuple[float, float]
    ) -> tuple[Floats, Floats]:
        """Bounds clipped to the scale, `(num_pairs,)`, from numbers of training ratings and one of `LEVELS`."""
        if level not in LEVELS:
            problem = f"level: expected one of {', '.join(map(str, LEVELS))}, found {level!r}"
            raise ConfigError(problem, "choose one of them")
        half = self.half_width[LEVELS.index(level)][_group(user_count, USER_EDGES), _group(item_count, ITEM_EDGES)]
        return np.clip(prediction - half, *scale), np.clip(prediction + half, *scale)


def calibrate(error: Floats, user_count: Ints, item_count: Ints) -> Intervals | None:
    """Intervals from validation errors and the pairs' numbers of training ratings, `(num_pairs,)`; None without any."""
    if not len(error):
        return None
    size = np.abs(error.astype(np.float64))
    users, items = _group(user_count, USER_EDGES), _group(item_count, ITEM_EDGES)
    half_width = np.empty((len(LEVELS), len(USER_EDGES), len(ITEM_EDGES)))
    for user in range(len(USER_EDGES)):
        for item in range(len(ITEM_EDGES)):
            group = size[(users == user) & (items == item)]
            errors = group if len(group) >= MIN_PAIRS else size
            half_width[:, user, item] = [_quantile(errors, level) for level in LEVELS]
    return Intervals(half_width)


def read_intervals(entry: Any) -> Intervals | None:
    """The intervals of a manifest entry; None for None."""
    return None if entry is None else Intervals(np.asarray(entry, np.float64))


def _quantile(size: Floats, level: float) -> float:
    """The smallest error that covers the next exchangeable rating with a probability of at least `level`."""
    rank = min(int(np.ceil(level * (len(size) + 1))), len(size))
    return float(np.partition(size, rank - 1)[rank - 1])


def _group(count: Ints, edges: tuple[int, ...]) -> npt.NDArray[np.intp]:
    return np.searchsorted(edges, count, side="right") - 1

"""Prediction intervals by split conformal prediction, by length of history. Numpy only.

An interval is the prediction plus and minus a quantile of the absolute errors on validation ratings of users and movies
with histories of about the same length (Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, Distribution-Free Predictive
Inference for Regression, 2018, split conformal; by groups after Vovk, Conditional Validity of Inductive Conformal
Predictors, 2012). It holds whatever the errors look like, as long as new ratings are of the validation ratings' kind.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reelgraph.arrays import Float64s, Floats, Ints
from reelgraph.errors import ArtifactError, ConfigError

LEVELS = (0.5, 0.8, 0.9, 0.95)

USER_EDGES, ITEM_EDGES = (0, 10, 30, 100), (0, 5, 20, 100)  # fewest ratings of each group

LEAST_PAIRS = 100  # validation ratings of a group; smaller ones take the quantile of all


@dataclass(frozen=True)
class Intervals:
    """Half widths by level and group.

    Attributes:
        half_width: in the data's scale, float64 of shape `(len(LEVELS), len(USER_EDGES), len(ITEM_EDGES))`.
    """

    half_width: Float64s

    def around(
        self, prediction: Floats, user_count: Ints, item_count: Ints, level: float, scale: tuple[float, float]
    ) -> tuple[Floats, Floats]:
        """Lower and upper ends, clipped to the scale, each float64 of shape `(num_pairs,)`.

        Args:
            prediction: predicted ratings, `(num_pairs,)`.
            user_count: training ratings of each pair's user, `(num_pairs,)`.
            item_count: training ratings of each pair's movie, `(num_pairs,)`.
            level: share of ratings that the intervals are to hold, one of `LEVELS`.
            scale: lowest and highest rating.

        Raises:
            ConfigError: if the level is not one of `LEVELS`.
        """
        if level not in LEVELS:
            raise ConfigError(
                f"level: expected one of {', '.join(map(str, LEVELS))}, found {level!r}", "choose one of them"
            )
        half = self.half_width[LEVELS.index(level)][_group(user_count, USER_EDGES), _group(item_count, ITEM_EDGES)]
        return np.clip(prediction - half, *scale), np.clip(prediction + half, *scale)

    def to_json(self) -> list[Any]:
        """The half widths as nested lists."""
        widths: list[Any] = self.half_width.tolist()
        return widths


def calibrate(error: Floats, user_count: Ints, item_count: Ints) -> Intervals | None:
    """Half widths from validation errors.

    Args:
        error: rating minus prediction, `(num_pairs,)`.
        user_count: training ratings of each pair's user, `(num_pairs,)`.
        item_count: training ratings of each pair's movie, `(num_pairs,)`.

    Returns:
        The intervals, or None without errors to learn from.
    """
    if not len(error):
        return None
    size = np.abs(error.astype(np.float64))
    users, items = _group(user_count, USER_EDGES), _group(item_count, ITEM_EDGES)
    half_width = np.empty((len(LEVELS), len(USER_EDGES), len(ITEM_EDGES)))
    for user in range(len(USER_EDGES)):
        for item in range(len(ITEM_EDGES)):
            group = size[(users == user) & (items == item)]
            enough = group if len(group) >= LEAST_PAIRS else size
            half_width[:, user, item] = [_quantile(enough, level) for level in LEVELS]
    return Intervals(half_width)


def intervals_of(entry: Any) -> Intervals | None:
    """The intervals of a manifest's entry; None for none.

    Raises:
        ArtifactError: if the entry is damaged.
    """
    if entry is None:
        return None
    shape = (len(LEVELS), len(USER_EDGES), len(ITEM_EDGES))
    try:
        half_width = np.asarray(entry, np.float64)
    except (TypeError, ValueError):
        half_width = np.empty(0)
    if half_width.shape != shape or not np.isfinite(half_width).all():
        raise ArtifactError(f"manifest.json: expected intervals of shape {shape}, found others", "train again")
    return Intervals(half_width)


def _quantile(size: Floats, level: float) -> float:
    """The smallest error that, with one more rating of the same kind, holds `level` of them at least."""
    rank = min(int(np.ceil(level * (len(size) + 1))), len(size))
    return float(np.partition(size, rank - 1)[rank - 1])


def _group(count: Ints, edges: tuple[int, ...]) -> npt.NDArray[np.intp]:
    return np.searchsorted(edges, count, side="right") - 1

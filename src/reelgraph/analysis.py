"""Where predictions err: by length of history, by genre, by decade, by rating, and calibration. Numpy only."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from reelgraph.metrics import mae, rmse

HISTORY_EDGES = (0, 1, 3, 5, 10, 20, 50)  # fewest training ratings of each group
CALIBRATION_GROUPS = 10
DECADE = 10

Floats = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Group:
    """Errors of some of the pairs, in the data's scale.

    Attributes:
        name: what the pairs have in common.
        pairs: how many they are.
        rmse, mae: over them.
        predicted, actual: mean predicted and mean actual rating; their difference is the bias.
    """

    name: str
    pairs: int
    rmse: float
    mae: float
    predicted: float
    actual: float


def by_group(prediction: Floats, rating: Floats, masks: Iterable[tuple[str, Mask]]) -> list[Group]:
    """Errors of each group that has pairs, in the groups' order.

    Args:
        prediction: predicted ratings, `(num_pairs,)`.
        rating: actual ratings, `(num_pairs,)`.
        masks: name and members of each group, bool `(num_pairs,)`; groups may overlap, as genres do.
    """
    groups = []
    for name, mask in masks:
        if mask.any():
            own, actual = prediction[mask], rating[mask]
            means = float(own.mean(dtype=np.float64)), float(actual.mean(dtype=np.float64))
            groups.append(Group(name, int(mask.sum()), rmse(own, actual), mae(own, actual), *means))
    return groups


def history_groups(count: npt.NDArray[np.integer[Any]]) -> Iterator[tuple[str, Mask]]:
    """Pairs by number of training ratings of their user, or of their movie: 0, 1-2, 3-4, 5-9, 10-19, 20-49, 50+."""
    for low, high in pairwise((*HISTORY_EDGES, np.inf)):
        name = f"{low:g}+" if np.isinf(high) else f"{low:g}" if high == low + 1 else f"{low:g}-{high - 1:g}"
        yield name, (count >= low) & (count < high)


def value_groups(values: Floats) -> Iterator[tuple[str, Mask]]:
    """Pairs by rating value, or in ten equally wide bands where a scale has more values than that."""
    distinct = np.unique(values)
    if len(distinct) <= CALIBRATION_GROUPS:
        yield from ((f"{value:g}", values == value) for value in distinct)
        return
    edges = np.linspace(distinct[0], distinct[-1], CALIBRATION_GROUPS + 1)
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, CALIBRATION_GROUPS - 1)
    for band, (low, high) in enumerate(pairwise(edges)):
        yield f"{low:g}-{high:g}", place == band


def decade_groups(years: Floats) -> Iterator[tuple[str, Mask]]:
    """Pairs by decade of their movie's year, `(num_pairs,)`, NaN where it is not known."""
    for decade in np.unique(years[np.isfinite(years)] // DECADE):
        yield f"{decade * DECADE:.0f}s", years // DECADE == decade


def calibration_groups(prediction: Floats) -> Iterator[tuple[str, Mask]]:
    """Pairs by predicted rating, in ten groups of about equally many."""
    if not len(prediction):
        return
    edges = np.unique(np.quantile(prediction, np.linspace(0, 1, CALIBRATION_GROUPS + 1)))
    for low, high in pairwise(edges):
        last = high == edges[-1]
        yield f"{low:.2f}-{high:.2f}", (prediction >= low) & ((prediction <= high) if last else (prediction < high))

"""How far predictions are from ratings; numpy only."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from reelgraph.arrays import Floats, Ints, Mask


def rmse(prediction: Floats, rating: Floats) -> float:
    """Root of the mean squared error over all pairs, in the data's scale.

    Args:
        prediction: predicted ratings, shape `(num_pairs,)`.
        rating: actual ratings, shape `(num_pairs,)`.

    Returns:
        The error; the denominator is the number of pairs, each counting once. NaN when there are none.
    """
    error = prediction.astype(np.float64) - rating
    return float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")


def mae(prediction: Floats, rating: Floats) -> float:
    """Mean absolute error over all pairs, in the data's scale.

    Args:
        prediction: predicted ratings, shape `(num_pairs,)`.
        rating: actual ratings, shape `(num_pairs,)`.

    Returns:
        The error; the denominator is the number of pairs, each counting once. NaN when there are none.
    """
    error = prediction.astype(np.float64) - rating
    return float(np.mean(np.abs(error))) if len(error) else float("nan")


HISTORY_EDGES = (0, 1, 3, 5, 10, 20, 50)  # fewest training ratings of each group

CALIBRATION_GROUPS = 10

DECADE = 10


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


def history_groups(count: Ints) -> Iterator[tuple[str, Mask]]:
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


@dataclass(frozen=True)
class EvaluationReport:
    """Errors over all test pairs, in the data's scale.

    Attributes:
        pairs: number of pairs, known or not.
        rmse, mae: over all of them; with the time of rating where the pairs have one and the model uses it.
        unknown_users, unknown_movies: how many distinct users and movies of the pairs have no training rating.
        unknown_pairs: how many pairs have such a user or such a movie; they are predicted by what is known.
        rmse_untimed, mae_untimed: without the time of rating; None where it was not used.
        interval: `level`, the `coverage` measured for it and the intervals' `mean_width`; None without intervals.
        groups: errors by `user_ratings` and `movie_ratings` (training ratings of the pair's user and movie), `rating`,
            and where they are known `genre` and `decade`.
        calibration: predicted against actual, in ten groups by predicted rating.
    """

    pairs: int
    rmse: float
    mae: float
    unknown_users: int
    unknown_movies: int
    unknown_pairs: int
    rmse_untimed: float | None = None
    mae_untimed: float | None = None
    interval: dict[str, float] | None = None
    groups: dict[str, list[Group]] = field(default_factory=dict)
    calibration: list[Group] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class RatedPairs:
    """Test ratings; every array is of shape `(num_pairs,)`.

    Attributes:
        users, movies: ids or indices.
        rating: actual ratings.
        user_count, item_count: training ratings of the pair's user and movie, 0 for unknown ones.
    """

    users: npt.NDArray[Any]
    movies: npt.NDArray[Any]
    rating: Floats
    user_count: Ints
    item_count: Ints


def evaluate_predictions(
    judged: RatedPairs,
    prediction: Floats,
    *,
    untimed: Floats | None = None,
    interval: tuple[float, Floats, Floats] | None = None,
    years: Floats | None = None,
    genres: Mapping[str, Mask] | None = None,
) -> EvaluationReport:
    """Judge predictions of pairs.

    Args:
        judged: the pairs.
        prediction: predicted ratings, `(num_pairs,)`.
        untimed: the same without the time of rating.
        interval: a level, and the lower and upper ends of intervals for it.
        years: the year of each pair's movie, NaN where it is not known.
        genres: which pairs' movies are of a genre, by genre.
    """
    rating, unknown_user, unknown_movie = judged.rating, judged.user_count == 0, judged.item_count == 0
    groups = {
        "user_ratings": by_group(prediction, rating, history_groups(judged.user_count)),
        "movie_ratings": by_group(prediction, rating, history_groups(judged.item_count)),
        "rating": by_group(prediction, rating, value_groups(rating)),
        "genre": by_group(prediction, rating, (genres or {}).items()),
        "decade": by_group(prediction, rating, decade_groups(years)) if years is not None else [],
    }
    held = None
    if interval is not None:
        level, low, high = interval
        inside = (rating >= low) & (rating <= high)
        held = {"level": level, "coverage": float(inside.mean()), "mean_width": float((high - low).mean())}
    return EvaluationReport(
        pairs=len(rating),
        rmse=rmse(prediction, rating),
        mae=mae(prediction, rating),
        unknown_users=len(np.unique(judged.users[unknown_user])),
        unknown_movies=len(np.unique(judged.movies[unknown_movie])),
        unknown_pairs=int((unknown_user | unknown_movie).sum()),
        rmse_untimed=None if untimed is None else rmse(untimed, rating),
        mae_untimed=None if untimed is None else mae(untimed, rating),
        interval=held,
        groups={name: found for name, found in groups.items() if found},
        calibration=by_group(prediction, rating, calibration_groups(prediction)),
    )

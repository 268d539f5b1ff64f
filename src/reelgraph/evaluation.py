"""What an evaluation reports."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from reelgraph.analysis import (
    Group,
    by_group,
    calibration_groups,
    decade_groups,
    history_groups,
    value_groups,
)
from reelgraph.metrics import Floats, mae, rmse


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
class Judged:
    """Test ratings; every array is of shape `(num_pairs,)`.

    Attributes:
        users, movies: ids or indices.
        rating: actual ratings.
        user_count, item_count: training ratings of the pair's user and movie, 0 for unknown ones.
    """

    users: npt.NDArray[Any]
    movies: npt.NDArray[Any]
    rating: Floats
    user_count: npt.NDArray[np.integer[Any]]
    item_count: npt.NDArray[np.integer[Any]]


def evaluate_predictions(
    judged: Judged,
    prediction: Floats,
    *,
    untimed: Floats | None = None,
    interval: tuple[float, Floats, Floats] | None = None,
    years: Floats | None = None,
    genres: Mapping[str, npt.NDArray[np.bool_]] | None = None,
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

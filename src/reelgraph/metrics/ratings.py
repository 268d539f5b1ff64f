"""Rating metrics: RMSE, MAE, errors by group, calibration and interval coverage."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reelgraph.arrays import Floats, Ints, Mask
from reelgraph.tabular import Tabular

HISTORY_EDGES = (0, 1, 3, 5, 10, 20, 50)  # lowest number of training ratings in each group
CALIBRATION_GROUPS = 10
DECADE = 10
_REPORT = pa.schema([
    ("by", pa.string()), ("group", pa.string()), ("pairs", pa.int64()),
    *((name, pa.float64()) for name in ("rmse", "mae", "predicted", "actual")),
])  # fmt: skip


def rmse(prediction: Floats, rating: Floats) -> float:
    """Root of the mean squared error in the data's scale; the mean is over all pairs, NaN without any."""
    error = prediction.astype(np.float64) - rating
    return float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")


def mae(prediction: Floats, rating: Floats) -> float:
    """Mean absolute error in the data's scale; the mean is over all pairs, NaN without any."""
    error = prediction.astype(np.float64) - rating
    return float(np.mean(np.abs(error))) if len(error) else float("nan")


@dataclass(frozen=True)
class Group:
    """Errors of a group of pairs, in the data's scale; all means are over the pairs."""

    name: str
    pairs: int
    rmse: float
    mae: float
    predicted: float  # mean predicted rating
    actual: float  # mean actual rating


def by_group(prediction: Floats, rating: Floats, masks: Iterable[tuple[str, Mask]]) -> list[Group]:
    """Errors of each non-empty group, given by name and members, `(num_pairs,)`; groups may overlap, as genres do."""
    groups = []
    for name, mask in masks:
        if mask.any():
            predicted, actual = prediction[mask], rating[mask]
            means = float(predicted.mean(dtype=np.float64)), float(actual.mean(dtype=np.float64))
            groups.append(Group(name, int(mask.sum()), rmse(predicted, actual), mae(predicted, actual), *means))
    return groups


def history_groups(count: Ints) -> Iterator[tuple[str, Mask]]:
    """Groups by number of training ratings of the pair's user or movie: 0, 1-2, 3-4, 5-9, 10-19, 20-49, 50+."""
    for low, high in pairwise((*HISTORY_EDGES, np.inf)):
        name = f"{low:g}+" if np.isinf(high) else f"{low:g}" if high == low + 1 else f"{low:g}-{high - 1:g}"
        yield name, (count >= low) & (count < high)


def value_groups(values: Floats) -> Iterator[tuple[str, Mask]]:
    """Groups by value, or ten equally wide bands if there are more values than that."""
    distinct = np.unique(values)
    if len(distinct) <= CALIBRATION_GROUPS:
        yield from ((f"{value:g}", values == value) for value in distinct)
        return
    edges = np.linspace(distinct[0], distinct[-1], CALIBRATION_GROUPS + 1)
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, CALIBRATION_GROUPS - 1)
    for band, (low, high) in enumerate(pairwise(edges)):
        yield f"{low:g}-{high:g}", place == band


def decade_groups(years: Floats) -> Iterator[tuple[str, Mask]]:
    """Groups by decade of the movie's year, `(num_pairs,)`, NaN where unknown."""
    for decade in np.unique(years[np.isfinite(years)] // DECADE):
        yield f"{decade * DECADE:.0f}s", years // DECADE == decade


def calibration_groups(prediction: Floats) -> Iterator[tuple[str, Mask]]:
    """Ten groups of about the same size by predicted rating."""
    if not len(prediction):
        return
    edges = np.unique(np.quantile(prediction, np.linspace(0, 1, CALIBRATION_GROUPS + 1)))
    for low, high in pairwise(edges):
        last = high == edges[-1]
        yield f"{low:.2f}-{high:.2f}", (prediction >= low) & ((prediction <= high) if last else (prediction < high))


@dataclass(frozen=True, repr=False)
class EvaluationReport(Tabular):
    """Errors on test ratings, in the data's scale, unknown users and movies included.

    `groups` are by `user_ratings` and `movie_ratings` (training ratings of the pair's user and movie), `rating`, and if
    known `genre` and `decade`; `calibration` is ten groups by predicted rating.
    """

    pairs: int  # test ratings, the denominator of `rmse` and `mae`
    rmse: float  # with the time of rating if the model and the ratings have it
    mae: float
    unknown_users: int  # distinct users without training ratings
    unknown_movies: int
    unknown_pairs: int  # pairs with an unknown user or movie, predicted from the known side
    seen_pairs: int = 0  # pairs that the model has ratings of, whose errors are too low
    rmse_untimed: float | None = None  # without the time of rating; None if it was not used
    mae_untimed: float | None = None
    interval: dict[str, float] | None = None  # `level`, measured `coverage` and `mean_width`
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)  # `rmse` and `mae` by name, see `baselines`
    groups: dict[str, list[Group]] = field(default_factory=dict)
    calibration: list[Group] = field(default_factory=list)

    @property
    def warning(self) -> str | None:
        """What makes the errors too low; None if nothing does."""
        if not self.seen_pairs:
            return None
        return (
            f"{self.seen_pairs:,} of {self.pairs:,} test ratings are among the model's own: their errors are too low, "
            "and no list holds their movies; to measure on them, train with --no-use-all (use_all=False)"
        )

    def to_arrow(self) -> pa.Table:
        """The errors of all pairs and of each group: `by`, `group`, `pairs`, `rmse`, `mae`, `predicted`, `actual`."""
        rows: list[dict[str, Any]] = [{"by": "all", "pairs": self.pairs, "rmse": self.rmse, "mae": self.mae}]
        for by, groups in (self.groups | {"calibration": self.calibration}).items():
            rows += [{"by": by, "group": group.name} | asdict(group) for group in groups]
        return pa.Table.from_pylist(rows, _REPORT)

    def _title(self, table: pa.Table) -> str:  # noqa: ARG002
        parts = [f"RMSE {self.rmse:.4f}", f"MAE {self.mae:.4f}"]
        if "bias" in self.baselines:
            parts.append(f"damped biases have RMSE {self.baselines['bias']['rmse']:.4f}")
        if self.interval is not None:
            parts.append(f"{self.interval['level']:.0%} intervals hold {self.interval['coverage']:.1%}")
        return f"EvaluationReport of {self.pairs:,} pairs: {', '.join(parts)}"

    def errors(self) -> dict[str, dict[str, float]]:
        """RMSE and MAE of the baselines and of the model, by the names of `labels.PREDICTORS`."""
        rows = dict(self.baselines)
        if self.rmse_untimed is not None and self.mae_untimed is not None:
            rows["untimed"] = {"rmse": self.rmse_untimed, "mae": self.mae_untimed}
        return rows | {"model": {"rmse": self.rmse, "mae": self.mae}}

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class RatedPairs:
    """Test ratings, all of shape `(num_pairs,)`; users and movies are ids or indices."""

    users: npt.NDArray[Any]
    movies: npt.NDArray[Any]
    rating: Floats
    user_count: Ints  # training ratings of the pair's user
    item_count: Ints


def evaluate_predictions(
    test: RatedPairs,
    prediction: Floats,
    *,
    seen_pairs: int = 0,
    untimed: Floats | None = None,
    interval: tuple[float, Floats, Floats] | None = None,
    baselines: Mapping[str, Floats] | None = None,
    years: Floats | None = None,
    genres: Mapping[str, Mask] | None = None,
) -> EvaluationReport:
    """Errors of predictions; all arrays are of shape `(num_pairs,)`.

    `seen_pairs` is the number of pairs that the model has ratings of; `untimed` is predicted without the time of
    rating; `interval` is the level, lower and upper bounds; `baselines` holds predictions by name; `years` are NaN
    where unknown.
    """
    rating, unknown_user, unknown_movie = test.rating, test.user_count == 0, test.item_count == 0
    groups = {
        "user_ratings": by_group(prediction, rating, history_groups(test.user_count)),
        "movie_ratings": by_group(prediction, rating, history_groups(test.item_count)),
        "rating": by_group(prediction, rating, value_groups(rating)),
        "genre": by_group(prediction, rating, (genres or {}).items()),
        "decade": by_group(prediction, rating, decade_groups(years)) if years is not None else [],
    }
    coverage = None
    if interval is not None:
        level, low, high = interval
        inside = (rating >= low) & (rating <= high)
        coverage = {"level": level, "coverage": float(inside.mean()), "mean_width": float((high - low).mean())}
    return EvaluationReport(
        pairs=len(rating),
        rmse=rmse(prediction, rating),
        mae=mae(prediction, rating),
        unknown_users=len(np.unique(test.users[unknown_user])),
        unknown_movies=len(np.unique(test.movies[unknown_movie])),
        unknown_pairs=int((unknown_user | unknown_movie).sum()),
        seen_pairs=seen_pairs,
        rmse_untimed=None if untimed is None else rmse(untimed, rating),
        mae_untimed=None if untimed is None else mae(untimed, rating),
        interval=coverage,
        baselines={
            name: {"rmse": rmse(line, rating), "mae": mae(line, rating)} for name, line in (baselines or {}).items()
        },
        groups={name: group for name, group in groups.items() if group},
        calibration=by_group(prediction, rating, calibration_groups(prediction)),
    )

"""Differences between methods on the same users, and whether chance explains them."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from reelgraph.arrays import Float64s, Int64s
from reelgraph.bench.methods import TUNES_ITSELF
from reelgraph.evaluation.differences import holm

USERS = "users"  # directory of the errors by user, one file a run
MEASURES = ("rmse", "ndcg", "recall")


class UserErrors(NamedTuple):
    """A run's errors on test ratings, added up by user; NaN for what the method does not do or the user has not."""

    ids: npt.NDArray[np.str_]
    ratings: Int64s  # number of test ratings
    squared: Float64s  # sum of squared errors
    ndcg: Float64s  # of the list of 10
    recall: Float64s  # of the list of 20

    def write(self, path: Path) -> None:
        """Write a compressed npz file."""
        with path.open("wb") as file:
            np.savez_compressed(file, **self._asdict())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read such a file; older ones have no recall, which is NaN then."""
        with np.load(path) as found:
            return cls(*(found[name] if name in found else np.full(len(found["ids"]), np.nan) for name in cls._fields))

    def totals(self, measure: str) -> tuple[Float64s, Float64s]:
        """Sum and number of what is averaged over: squared errors of ratings, or nDCG or recall of lists."""
        if measure == "rmse":
            return self.squared, self.ratings.astype(np.float64)
        value = self.ndcg if measure == "ndcg" else self.recall
        return value, np.isfinite(value).astype(np.float64)


def compare_methods(
    runs: Sequence[dict[str, Any]], folder: Path, before: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Differences of each method from each of ours, by data set and measure, with p-values adjusted by Holm.

    A family of hypotheses is all differences of a data set and a measure.

    Args:
        runs: rows of `results.json`.
        folder: has the errors by user.
        before: earlier differences, kept where errors by user are missing.
    """
    named: dict[tuple[str, str], dict[tuple[str, int], str | None]] = {}
    for run in runs:
        if not run["error"]:
            named.setdefault((run["dataset"], run["method"]), {})[run["part"], run["seed"]] = run.get("users")
    cache: dict[str, UserErrors] = {}
    rows = []
    for (dataset, method), own in product(named, TUNES_ITSELF):
        again = method in TUNES_ITSELF[: TUNES_ITSELF.index(own) + 1]  # itself, or the other way round
        first, second = named[dataset, method], named.get((dataset, own), {})
        files = [(first[key], second[key]) for key in first if key in second]
        if again or not files:
            continue
        if any(name is None or not (folder / name).exists() for pair in files for name in pair):
            rows += [row for row in before if (row["dataset"], row["method"], row["own"]) == (dataset, method, own)]
            continue
        for name in {str(name) for pair in files for name in pair} - cache.keys():
            cache[name] = UserErrors.read(folder / name)
        pairs = [(cache[str(one)], cache[str(other)]) for one, other in files]
        for measure in MEASURES:
            found = difference(pairs, measure)
            if found is not None:
                rows.append({"dataset": dataset, "measure": measure, "method": method, "own": own} | found)
    return adjust(rows)


def difference(pairs: Sequence[tuple[UserErrors, UserErrors]], measure: str) -> dict[str, Any] | None:
    """The first runs' mean less the second's, half width of its 95 % interval, and p-value; None without common lists.

    Users are the pairs: what a user has in all runs counts once, so neither the ratings of a user nor repeated seeds
    are taken for independent. The mean is a ratio of sums over users, its error that of the linearised ratio (Cochran,
    Sampling Techniques, 1977, section 6.4), with Student's t. A difference of squared errors is divided by the sum of
    both RMSE, which makes it that of the RMSE.
    """
    from scipy.stats import t as student  # noqa: PLC0415 (comes with the bench extra)

    parts = []
    for one, other in pairs:
        assert (one.ids == other.ids).all()
        sums, numbers = zip(one.totals(measure), other.totals(measure), strict=True)
        there = np.isfinite(sums).all(0) & (numbers[0] > 0)
        parts.append((one.ids[there], *(column[there] for column in (*sums, numbers[0]))))
    ids, first, second, number = (np.concatenate(column) for column in zip(*parts, strict=True))
    users, place = np.unique(ids, return_inverse=True)
    if len(users) < 2:
        return None
    apart, total = np.bincount(place, first - second), number.sum()
    mean = float(apart.sum() / total)
    rest = apart - mean * np.bincount(place, number)
    error = float(np.sqrt((rest**2).sum() * len(users) / (len(users) - 1)) / total)
    unit = float(np.sqrt(first.sum() / total) + np.sqrt(second.sum() / total)) if measure == "rmse" else 1.0
    degrees = len(users) - 1
    p = float(2 * student.sf(abs(mean) / error, degrees)) if error else float(mean == 0)
    half = float(student.ppf(0.975, degrees)) * error
    return {"difference": mean / unit, "half": half / unit, "p": p, "users": len(users), "runs": len(pairs)}


def adjust(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `p_holm`, the p-value adjusted for all tests of the same data set and measure."""
    adjusted = []
    for family in dict.fromkeys((row["dataset"], row["measure"]) for row in rows):
        tests = sorted((row for row in rows if (row["dataset"], row["measure"]) == family), key=lambda row: row["p"])
        found = holm([row["p"] for row in tests])
        adjusted += [row | {"p_holm": p} for row, p in zip(tests, found, strict=True)]
    return adjusted

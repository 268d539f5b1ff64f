"""How two models differ: in data, settings, versions, metrics, weights, predictions and lists."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reelgraph.arrays import NO_ITEM, Floats
from reelgraph.recommend.recommender import Recommender

PAIRS, USERS, LENGTH = 5000, 500, 10  # compared at most
FLIPS = 9999  # of a paired test
_BLOCK = 1 << 22  # signs drawn at a time

# Entries of the manifest by section.
SECTIONS = {
    "data": ("data", "scale", "seen", "changes"),
    "settings": ("config", "steps", "session"),
    "versions": ("libraries", "machine", "processes"),
    "metrics": ("metrics", "analysis", "ranking"),
}
_NO_DIFFERENCE = {"created", "path"}  # the same files may lie elsewhere

Entries = dict[str, tuple[Any, Any]]  # both values by dotted name; None where a model has no such entry


@dataclass(frozen=True)
class Distance:
    """The difference between the predictions and lists of two models, on the users and movies that both know."""

    pairs: int  # random pairs of users and movies compared
    prediction: float | Any  # root mean squared difference of their predicted ratings; None without stars
    users: int  # random users whose lists were compared
    overlap: float  # share of movies in their lists of 10 that both models list

    def __str__(self) -> str:
        lists = f"lists of 10 share {self.overlap:.0%} of their movies ({self.users:,} users)"
        if self.prediction is None:
            return lists
        return f"predictions differ by {self.prediction:.3g} (root mean square of {self.pairs:,} pairs), and {lists}"


@dataclass(frozen=True)
class Differences:
    """Everything that differs between two models; equal entries are left out."""

    data: Entries
    settings: Entries
    versions: Entries
    metrics: Entries
    weights: dict[str, float | None]  # largest absolute difference by array; None where the shapes differ
    distance: Distance | None  # None if they have no user or no movie in common

    @property
    def same_result(self) -> bool:
        """Whether the two trainings gave identical weights and metrics."""
        return not self.weights and not self.metrics


@dataclass(frozen=True)
class PairedErrors:
    """Mean errors of two models on the same ratings, and whether the second model's are larger by more than chance."""

    ratings: int
    users: int
    first: float
    second: float
    chance: float  # of a second mean at least so much larger, if neither model is worse


def paired(first: Floats, second: Floats, users: Sequence[str], seed: int = 0) -> PairedErrors:
    """Test whether errors are larger than others of the same ratings, given with their users, all `(num_ratings,)`.

    Users' ratings are not independent, so the signs of their summed differences are flipped at random, as any are as
    likely if neither model is worse (Fisher, The Design of Experiments, 1935). The ratings must be new to both models.
    """
    _, user = np.unique(np.asarray(users), return_inverse=True)
    apart = np.bincount(user, np.asarray(second, np.float64) - first)
    rng, as_large, rows = np.random.default_rng(seed), 0, max(1, _BLOCK // max(len(apart), 1))
    for start in range(0, FLIPS, rows):
        signs = rng.integers(0, 2, (min(rows, FLIPS - start), len(apart)), np.int8) * 2 - 1
        as_large += int((signs @ apart >= apart.sum() - 1e-9 * np.abs(apart).sum()).sum())
    chance = (1 + as_large) / (1 + FLIPS)
    return PairedErrors(len(first), len(apart), float(np.mean(first)), float(np.mean(second)), chance)


def holm(chances: Sequence[float]) -> list[float]:
    """P-values adjusted for being tested together, in the order given.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    values = np.asarray(chances, np.float64)
    order = np.argsort(values, kind="stable")
    values[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return [float(value) for value in values]


def compare(one: Recommender, other: Recommender, seed: int = 0) -> Differences:
    """Compare two models, which may know different users and movies."""
    first, second = one.artifact, other.artifact
    sections = {
        name: _changed(*({key: model.manifest.get(key) for key in keys} for model in (first, second)))
        for name, keys in SECTIONS.items()
    }
    weights: dict[str, float | None] = {}
    for name in sorted(first.weights.keys() | second.weights.keys()):
        left, right = first.weights.get(name), second.weights.get(name)
        if left is None or right is None or left.shape != right.shape:
            weights[name] = None
        elif not np.array_equal(left, right):
            weights[name] = float(np.abs(left - right).max())
    return Differences(**sections, weights=weights, distance=distance(one, other, seed))


def distance(one: Recommender, other: Recommender, seed: int = 0) -> Distance | None:
    """Compare predictions of random pairs and lists of random users; None without a common user or movie."""
    rng = np.random.default_rng(seed)
    users, movies = (
        [name for name in getattr(one, side).ids.to_pylist() if name in getattr(other, side)]
        for side in ("users", "items")
    )
    if not users or not movies:
        return None
    readers, films = ([names[place] for place in rng.integers(0, len(names), PAIRS)] for names in (users, movies))
    prediction = None
    if one.predictor.has_stars and other.predictor.has_stars:
        apart = one.predictor.predict(readers, films).astype(np.float64) - other.predictor.predict(readers, films)
        prediction = float(np.sqrt(np.mean(apart**2)))
    readers = [users[place] for place in rng.permutation(len(users))[:USERS]]
    both = [
        len(mine & theirs) / max(len(mine), len(theirs)) if mine or theirs else 1.0
        for mine, theirs in zip(_lists(one, readers), _lists(other, readers), strict=True)
    ]
    return Distance(PAIRS, prediction, len(readers), float(np.mean(both)))


def _lists(model: Recommender, users: list[str]) -> list[set[str]]:
    """The movies in each user's list."""
    lists = model.list_indices(model.users.indices(users)[0], k=min(LENGTH, len(model.items)))
    return [set(model.items.names(line[line != NO_ITEM])) for line in lists]


def _changed(first: Any, second: Any) -> Entries:
    one, other = dict(_flat(first)), dict(_flat(second))
    names = list(dict.fromkeys([*one, *other]))
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}


def _flat(entry: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested objects by dotted name, without those that always differ."""
    if not isinstance(entry, dict):
        yield name, entry
        return
    for key, value in entry.items():
        if key not in _NO_DIFFERENCE:
            yield from _flat(value, f"{name}.{key}" if name else key)

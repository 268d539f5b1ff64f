"""Predicted ratings and intervals of (user id, movie id) pairs, and their evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from reelgraph.arrays import Float32s, Floats, Indices, Int64s, Mask
from reelgraph.artifact import Artifact, numbers
from reelgraph.data.dataset import NO_TIME, Interactions
from reelgraph.data.vocabulary import Vocabulary
from reelgraph.errors import ConfigError, DataError
from reelgraph.metrics.baselines import baselines
from reelgraph.metrics.ratings import EvaluationReport, RatedPairs, evaluate_predictions
from reelgraph.recommend.catalogue import Catalogue
from reelgraph.recommend.ordering import People
from reelgraph.scoring.intervals import read_intervals
from reelgraph.scoring.scorers import ranker_for, scorer_for
from reelgraph.scoring.session import Queries, Residuals, read_effect

BLOCK_FLOATS = 1 << 24  # numbers held at a time, 64 MB


@dataclass(frozen=True)
class Person(People):
    """A training user or a visitor."""

    index: int | None  # None for a visitor
    rated: Indices  # movies, (num_ratings,)
    ratings: Float32s  # in the data's scale


@dataclass(frozen=True)
class _Pairs:
    """Pairs by index, all of shape `(num_pairs,)`; indices of unknown ids are meaningless."""

    user: Indices
    user_known: Mask
    item: Indices
    item_known: Mask
    user_count: Indices
    item_count: Indices


class Predictor:
    """The heads of a trained model with its vocabularies and training ratings."""

    def __init__(self, artifact: Artifact) -> None:
        manifest, seen = artifact.manifest, artifact.seen
        self.users = Vocabulary.of(artifact.users, "user")
        self.catalogue = Catalogue(artifact.items)
        self.items = self.catalogue.items
        self._scale = manifest["scale"]
        self.low, self.high = float(self._scale["low"]), float(self._scale["high"])
        self.mean, self.std = float(manifest["standardise"]["mean"]), float(manifest["standardise"]["std"])
        span = self.high - self.low
        unit = (self.std / span, (self.mean - self.low) / span)
        self.has_stars = artifact.has_stars
        self.scorer = scorer_for(manifest["config"]["model"], artifact.weights, unit)
        self.ranker = ranker_for(artifact.weights)
        self._seen = seen
        self.seen_item, self.seen_user = numbers(seen, "item_index"), numbers(seen, "user_index")
        self.seen_start = np.searchsorted(self.seen_user, np.arange(len(self.users) + 1))
        self.user_counts = np.diff(self.seen_start)
        self.item_counts = _counts(self.seen_item, len(self.items))
        self.session = read_effect(manifest.get("session"))
        entry = manifest.get("intervals") or {}
        self._intervals = {name: read_intervals(entry.get(name)) for name in ("untimed", "timed")}

    def require_stars(self, what: str) -> None:
        """Refuse what needs predicted ratings in a model of views, likes or counts."""
        if not self.has_stars:
            raise ConfigError(
                f"{what}: expected a model of ratings, found one of views, likes or counts, which has no stars",
                "use recommend, similar or explain, or train on ratings",
            )

    @property
    def scale_facts(self) -> dict[str, Any] | None:
        """The scale of the ratings and its step as JSON values; None without stars."""
        return {name: self._scale.get(name) for name in ("low", "high", "step")} if self.has_stars else None

    def as_rating(self, given: Any) -> float | None:
        """A rating that someone has given, or 1 for a like or a count; None unless it is one of this model's."""
        if not isinstance(given, int | float | np.number) or not self.low <= given < np.inf:
            return None
        if not self.has_stars:
            return self.high if given > 0 else None
        return float(given) if given <= self.high else None

    @property
    def expected(self) -> str:
        """What `as_rating` takes."""
        return f"{self.low:g} to {self.high:g}" if self.has_stars else "a count above 0"

    def predict(self, user_ids: Sequence[str], movie_ids: Sequence[str], timestamps: Int64s | None = None) -> Float32s:
        """Predicted ratings in the data's scale, clipped to it, float32 of shape `(num_pairs,)`.

        An unknown user or movie is predicted from the known side of the pair. The times to predict for are in seconds
        since 1970 or `NO_TIME`.
        """
        self.require_stars("predict")
        pairs = self._find(user_ids, movie_ids)
        return self._correct(pairs, self._predict(pairs), timestamps)

    def interval(
        self, user_ids: Sequence[str], movie_ids: Sequence[str], level: float, timestamps: Int64s | None = None
    ) -> tuple[Float32s, Float32s]:
        """Lower and upper bounds of prediction intervals; see `predict` and `intervals.LEVELS`."""
        self.require_stars("interval")
        pairs = self._find(user_ids, movie_ids)
        prediction = self._correct(pairs, self._predict(pairs), timestamps)
        low, high = self._interval(pairs, prediction, level, timestamps)
        return low.astype(np.float32), high.astype(np.float32)

    def around(
        self, prediction: Float32s, item_index: Indices, user_count: int, level: float = 0.9
    ) -> tuple[Float32s, Float32s] | None:
        """Interval bounds of one person's predictions; None for a model without intervals.

        All arrays are `(num_movies,)`; `user_count` is the number of ratings that the predictions are based on.
        """
        untimed = self._intervals["untimed"]
        if untimed is None:
            return None
        counts = np.full(len(item_index), user_count), self.item_counts[item_index]
        low, high = untimed.around(prediction, *counts, level, (self.low, self.high))
        return low.astype(np.float32), high.astype(np.float32)

    def evaluate(
        self,
        user_ids: Sequence[str],
        movie_ids: Sequence[str],
        rating: Floats,
        timestamps: Int64s | None = None,
        level: float = 0.9,
    ) -> EvaluationReport:
        """Prediction errors on test ratings, unknown users and movies included; arrays are `(num_pairs,)`."""
        self.require_stars("evaluate")
        single = rating.astype(np.float32)  # as ratings are stored
        outside = np.flatnonzero(~((single >= np.float32(self.low)) & (single <= np.float32(self.high))))
        if len(outside):
            scale = f"{self.low:g} to {self.high:g}, the scale of the model"
            problem = f"rating {rating[outside[0]]:g} in row {outside[0] + 1:,}: expected {scale}"
            raise DataError(problem, "correct or remove it")
        pairs = self._find(user_ids, movie_ids)
        timed = timestamps is not None and self.session is not None and bool((timestamps != NO_TIME).any())
        untimed = self._predict(pairs)
        prediction = self._correct(pairs, untimed, timestamps)
        interval = None
        if self._intervals["untimed"] is not None and len(rating):
            interval = (level, *self._interval(pairs, prediction, level, timestamps))
        genres = self.catalogue.genre_members.items()
        lines = self._baselines(pairs) if len(self.seen_item) else {}
        return evaluate_predictions(
            RatedPairs(np.asarray(user_ids), np.asarray(movie_ids), rating, pairs.user_count, pairs.item_count),
            prediction,
            seen_pairs=self._count_seen(
                *(index[pairs.user_known & pairs.item_known] for index in (pairs.user, pairs.item))
            ),
            untimed=untimed if timed else None,
            interval=interval,
            baselines=lines,
            years=np.where(pairs.item_known, self.catalogue.years[pairs.item], np.nan),
            genres={name: mask[pairs.item] & pairs.item_known for name, mask in genres},
        )

    def known_pairs(
        self, user_ids: Sequence[str], movie_ids: Sequence[str], rating: Floats | None = None
    ) -> Interactions:
        """Test ratings of known users and movies by index, sorted by user and movie.

        Without `rating`, they are views, likes or counts, of which a pair may have several.
        """
        (user, user_known), (item, item_known) = self.users.indices(user_ids), self.items.indices(movie_ids)
        kept = np.flatnonzero(user_known & item_known)
        kept = kept[np.lexsort((item[kept], user[kept]))]
        if rating is None:
            again = (np.diff(user[kept], prepend=-1) == 0) & (np.diff(item[kept], prepend=-1) == 0)
            kept = kept[~again]
            return Interactions(user[kept], item[kept], np.full(len(kept), self.high, np.float32), None)
        return Interactions(user[kept], item[kept], np.asarray(rating, np.float32)[kept], None)

    def warn_of_seen(self, pairs: Interactions) -> str | None:
        """What makes lists look worse than they are on these known pairs; None if nothing does."""
        seen = self._count_seen(pairs.user_index, pairs.item_index)
        if not seen:
            return None
        return (
            f"{seen:,} of {len(pairs):,} test pairs are among the model's own, and no list holds their movies; to "
            "measure on them, train with --no-use-all (use_all=False)"
        )

    def seen(self, user_index: int) -> tuple[Indices, Float32s]:
        """A user's training ratings: movie indices and ratings in the data's scale, both `(num_ratings,)`."""
        rows = slice(self.seen_start[user_index], self.seen_start[user_index + 1])
        return self.seen_item[rows], self.seen_rating[rows]

    def seen_movies(self, user_index: int) -> Indices:
        """Indices of the movies that a user has rated, `(num_ratings,)`; also in a model opened for lists only."""
        return self.seen_item[self.seen_start[user_index] : self.seen_start[user_index + 1]]

    def raters(self, item_index: int) -> tuple[Indices, Float32s]:
        """A movie's training ratings: user indices and ratings in the data's scale, both `(num_raters,)`."""
        order, start = self._by_item
        rows = order[start[item_index] : start[item_index + 1]]
        return self.seen_user[rows], self.seen_rating[rows]

    def seen_cells(self, users: Indices) -> tuple[npt.NDArray[np.intp], Indices]:
        """Rows and columns of the training ratings in a matrix of these users and all movies."""
        first, count = self.seen_start[users], self.user_counts[users]
        row = np.repeat(np.arange(len(users)), count)
        place = np.arange(len(row)) + np.repeat(first - (np.cumsum(count) - count), count)
        return row, self.seen_item[place]

    @cached_property
    def seen_rating(self) -> Float32s:
        """All training ratings in the data's scale, sorted by user, float32 of shape `(num_ratings,)`."""
        rating: Float32s = numbers(self._seen, "rating")
        return rating

    @cached_property
    def _residuals(self) -> Residuals:
        """Input of the session effect; sorted only when first needed, because that is slow."""
        columns = numbers(self._seen, "timestamp"), numbers(self._seen, "residual")
        return Residuals.of(self.seen_user, self.seen_item, *columns, len(self.users))

    @cached_property
    def _by_item(self) -> tuple[Int64s, Int64s]:
        """Rows of the training ratings sorted by movie, and where each movie's begin."""
        return np.argsort(self.seen_item, kind="stable"), np.concatenate([[0], np.cumsum(self.item_counts)])

    def people(self, users: Indices) -> People:
        """Training users as both heads see them."""
        return People(self.scorer.users(users), None if self.ranker is None else self.ranker.users(users))

    def standardise(self, rating: Float32s) -> Float32s:
        """Ratings in the data's scale as the heads see them."""
        return ((rating - self.mean) / self.std).astype(np.float32)

    def stars(self, standardised: Floats) -> Float32s:
        """Standardised ratings in the data's scale, clipped to it."""
        return np.asarray(np.clip(standardised * self.std + self.mean, self.low, self.high), np.float32)

    def _find(self, user_ids: Sequence[str], movie_ids: Sequence[str]) -> _Pairs:
        (user, user_known), (item, item_known) = self.users.indices(user_ids), self.items.indices(movie_ids)
        counts = np.where(user_known, self.user_counts[user], 0), np.where(item_known, self.item_counts[item], 0)
        return _Pairs(user, user_known, item, item_known, *counts)

    def _count_seen(self, user: Indices, item: Indices) -> int:
        """Number of pairs among the training ratings, by a binary search for all pairs at once."""
        user, item = user[self.user_counts[user] > 0], item[self.user_counts[user] > 0]
        low, high = self.seen_start[user], self.seen_start[user + 1] - 1
        while (low < high).any():
            middle = (low + high) // 2
            before = self.seen_item[middle] < item
            low, high = np.where(before, np.minimum(middle + 1, high), low), np.where(before, high, middle)
        return int((self.seen_item[low] == item).sum())

    def _predict(self, pairs: _Pairs) -> Float32s:
        nobody = self.scorer.visitor(np.empty(0, np.int32), np.empty(0, np.float32))
        result = np.empty(len(pairs.user), np.float32)
        step = max(1, BLOCK_FLOATS // (4 * self.scorer.item_states.shape[1]))
        for start in range(0, len(result), step):
            rows = slice(start, start + step)
            state = self.scorer.users(pairs.user[rows]).where(pairs.user_known[rows], nobody)
            known, unknown = self.scorer.score(state, pairs.item[rows]), self.scorer.without_movie(state)
            result[rows] = np.where(pairs.item_known[rows], known, unknown)
        return self.stars(result)

    def _baselines(self, pairs: _Pairs) -> dict[str, Floats]:
        """Predictions of the baselines, fitted to the training ratings; an unknown user or movie has no bias."""
        nobody, nothing = len(self.users), len(self.items)
        seen = Interactions(self.seen_user, self.seen_item, self.seen_rating, None)
        user, item = np.where(pairs.user_known, pairs.user, nobody), np.where(pairs.item_known, pairs.item, nothing)
        asked = Interactions(user, item, np.empty(0, np.float32), None)
        return {
            line.name: np.clip(line.predict(asked), self.low, self.high)
            for line in baselines(seen, nobody + 1, nothing + 1)
        }

    def _correct(self, pairs: _Pairs, prediction: Float32s, timestamps: Int64s | None) -> Float32s:
        """Predictions with the session effect."""
        if timestamps is None or self.session is None:
            return prediction
        item = np.where(pairs.item_known, pairs.item, -1)
        queries = Queries(pairs.user, item, timestamps, pairs.user_known & (timestamps != NO_TIME))
        timed = np.clip(prediction + self.session.predict(queries, self._residuals), self.low, self.high)
        return timed.astype(np.float32)

    def _interval(
        self, pairs: _Pairs, prediction: Float32s, level: float, timestamps: Int64s | None
    ) -> tuple[Floats, Floats]:
        untimed, timed = self._intervals["untimed"], self._intervals["timed"]
        if untimed is None:
            problem = "interval: expected a model with validation errors, found none"
            raise ConfigError(problem, "train with --valid-share")
        arguments = prediction, pairs.user_count, pairs.item_count, level, (self.low, self.high)
        low, high = untimed.around(*arguments)
        if timestamps is not None and timed is not None:
            timed_low, timed_high = timed.around(*arguments)
            known = timestamps != NO_TIME
            low, high = np.where(known, timed_low, low), np.where(known, timed_high, high)
        return low, high


def _counts(index: Indices, length: int) -> Int64s:
    """`np.bincount` in blocks, because it copies its input."""
    counts = np.zeros(length, np.int64)
    for start in range(0, len(index), 1 << 20):
        counts += np.bincount(index[start : start + (1 << 20)], minlength=length)
    return counts

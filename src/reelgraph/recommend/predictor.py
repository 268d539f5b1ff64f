"""Predicted ratings of pairs, given by ids: with the time of rating, with intervals, and judged. Numpy, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from reelgraph.arrays import Float32s, Floats, Indices, Int64s, Mask
from reelgraph.artifact import Artifact, numbers
from reelgraph.data.dataset import NO_TIME
from reelgraph.data.vocabulary import Vocabulary
from reelgraph.errors import ConfigError
from reelgraph.metrics.ratings import EvaluationReport, Judged, evaluate_predictions
from reelgraph.recommend.catalogue import Catalogue
from reelgraph.scoring.base import UserState
from reelgraph.scoring.intervals import read_intervals
from reelgraph.scoring.scorers import scorer_for
from reelgraph.scoring.session import Queries, Residuals, read_effect

BLOCK_FLOATS = 1 << 24  # 64 MB of numbers at a time


def _counts(index: Indices, length: int) -> Int64s:
    """How often each number occurs; in steps, since `bincount` takes a copy of what it counts."""
    counts = np.zeros(length, np.int64)
    for start in range(0, len(index), 1 << 20):
        counts += np.bincount(index[start : start + (1 << 20)], minlength=length)
    return counts


@dataclass(frozen=True)
class _Pairs:
    """Pairs by index, and what is known of them; all `(num_pairs,)`. An unknown id's index means nothing."""

    user: Indices
    user_known: Mask
    item: Indices
    item_known: Mask
    user_count: Indices
    item_count: Indices


class Predictor:
    """A trained model's predictions.

    Args:
        artifact: what a training run made or `artifact.read_artifact` read.
    """

    def __init__(self, artifact: Artifact) -> None:
        manifest, seen = artifact.manifest, artifact.seen
        self.users = Vocabulary.of(artifact.users, "user")
        self.catalogue = Catalogue(artifact.items)
        self.items = self.catalogue.items
        self.low, self.high = float(manifest["scale"]["low"]), float(manifest["scale"]["high"])
        self.mean, self.std = float(manifest["standardise"]["mean"]), float(manifest["standardise"]["std"])
        span = self.high - self.low
        unit = (self.std / span, (self.mean - self.low) / span)
        self.weights = artifact.weights
        self.scorer = scorer_for(manifest["config"]["model"], artifact.weights, unit, lists_only=artifact.lists_only)
        self._seen = seen
        self.seen_item, self.seen_user = numbers(seen, "item_index"), numbers(seen, "user_index")
        self.seen_start = np.searchsorted(self.seen_user, np.arange(len(self.users) + 1))
        self.user_counts = np.diff(self.seen_start)
        self.item_counts = _counts(self.seen_item, len(self.items))
        self.session = read_effect(manifest.get("session"))
        entry = manifest.get("intervals") or {}
        self._intervals = {name: read_intervals(entry.get(name)) for name in ("untimed", "timed")}

    def predict(self, user_ids: Sequence[str], movie_ids: Sequence[str], timestamps: Int64s | None = None) -> Float32s:
        """Predicted ratings of pairs in the data's scale, clipped to it, float32 of shape `(num_pairs,)`.

        A user or movie that the model does not know is predicted by what is known of the other one.

        Args:
            user_ids: ids as text, `(num_pairs,)`.
            movie_ids: ids as text, `(num_pairs,)`.
            timestamps: for when to predict, seconds since 1970 or `NO_TIME`, int64 `(num_pairs,)`; None for no time.
        """
        pairs = self._find(user_ids, movie_ids)
        return self._for_times(pairs, self._predict(pairs), timestamps)

    def interval(
        self, user_ids: Sequence[str], movie_ids: Sequence[str], level: float, timestamps: Int64s | None = None
    ) -> tuple[Float32s, Float32s]:
        """Ends of intervals that hold a share `level` of ratings, in the data's scale, float32 `(num_pairs,)` each.

        Raises:
            ConfigError: if the level is not one of `intervals.LEVELS`, or the model was trained without validation.
        """
        pairs = self._find(user_ids, movie_ids)
        prediction = self._for_times(pairs, self._predict(pairs), timestamps)
        low, high = self._interval(pairs, prediction, level, timestamps)
        return low.astype(np.float32), high.astype(np.float32)

    def around(
        self, prediction: Float32s, item_index: Indices, user_count: int, level: float = 0.9
    ) -> tuple[Float32s, Float32s] | None:
        """Interval ends of one person's predictions, in the data's scale, float32 `(num_movies,)` each.

        Args:
            prediction: predicted ratings, `(num_movies,)`.
            item_index: the movies, `(num_movies,)`.
            user_count: ratings that the predictions are made from.
            level: share of ratings that the intervals are to hold; see `intervals.LEVELS`.

        Returns:
            Lower and upper ends; None for a model trained without validation ratings.
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
        """Judge predictions of test ratings given as columns of shape `(num_pairs,)`, unknown ids included."""
        pairs = self._find(user_ids, movie_ids)
        timed = timestamps is not None and self.session is not None and bool((timestamps != NO_TIME).any())
        untimed = self._predict(pairs)
        prediction = self._for_times(pairs, untimed, timestamps)
        held = None
        if self._intervals["untimed"] is not None and len(rating):
            held = self._interval(pairs, prediction, level, timestamps)
        genres = self.catalogue.genre_members.items()
        return evaluate_predictions(
            Judged(np.asarray(user_ids), np.asarray(movie_ids), rating, pairs.user_count, pairs.item_count),
            prediction,
            untimed=untimed if timed else None,
            interval=None if held is None else (level, *held),
            years=np.where(pairs.item_known, self.catalogue.years[pairs.item], np.nan),
            genres={name: mask[pairs.item] & pairs.item_known for name, mask in genres},
        )

    def seen(self, user_index: int) -> tuple[Indices, Float32s]:
        """A user's training ratings: movie indices and ratings in the data's scale, each of shape `(num_ratings,)`."""
        rows = slice(self.seen_start[user_index], self.seen_start[user_index + 1])
        return self.seen_item[rows], self.seen_rating[rows]

    def raters(self, item_index: int) -> tuple[Indices, Float32s]:
        """The users who rated a movie and their ratings in the data's scale, each of shape `(num_raters,)`."""
        order, start = self._by_item
        rows = order[start[item_index] : start[item_index + 1]]
        return self.seen_user[rows], self.seen_rating[rows]

    def seen_cells(self, users: Indices) -> tuple[npt.NDArray[np.intp], Indices]:
        """Rows and columns of a matrix of some users and all movies where the users have training ratings."""
        first, count = self.seen_start[users], self.user_counts[users]
        row = np.repeat(np.arange(len(users)), count)
        place = np.arange(len(row)) + np.repeat(first - (np.cumsum(count) - count), count)
        return row, self.seen_item[place]

    @cached_property
    def seen_rating(self) -> Float32s:
        """The training ratings in the data's scale, sorted by user, float32 of shape `(num_ratings,)`."""
        rating: Float32s = numbers(self._seen, "rating")
        return rating

    @cached_property
    def _residuals(self) -> Residuals:
        """What predictions for a time are corrected by; made when the first is asked for, since it takes long."""
        columns = numbers(self._seen, "timestamp"), numbers(self._seen, "residual")
        return Residuals.of(self.seen_user, self.seen_item, *columns, len(self.users))

    @cached_property
    def _by_item(self) -> tuple[Int64s, Int64s]:
        """The training ratings in the order of their movies, and where each movie's begin."""
        return np.argsort(self.seen_item, kind="stable"), np.concatenate([[0], np.cumsum(self.item_counts)])

    def standardise(self, rating: Float32s) -> Float32s:
        """Ratings as the model sees them."""
        return ((rating - self.mean) / self.std).astype(np.float32)

    def stars(self, standardised: Floats) -> Float32s:
        """The model's numbers as ratings, clipped to the scale."""
        return np.asarray(np.clip(standardised * self.std + self.mean, self.low, self.high), np.float32)

    def _find(self, user_ids: Sequence[str], movie_ids: Sequence[str]) -> "_Pairs":
        (user, user_known), (item, item_known) = self.users.indices(user_ids), self.items.indices(movie_ids)
        counts = np.where(user_known, self.user_counts[user], 0), np.where(item_known, self.item_counts[item], 0)
        return _Pairs(user, user_known, item, item_known, *counts)

    def _predict(self, pairs: "_Pairs") -> Float32s:
        nobody = self.scorer.visitor(np.empty(0, np.int32), np.empty(0, np.float32))
        result = np.empty(len(pairs.user), np.float32)
        step = max(1, BLOCK_FLOATS // (4 * self.scorer.item_states.shape[1]))
        for start in range(0, len(result), step):
            rows = slice(start, start + step)
            state = self.scorer.users(pairs.user[rows]).where(pairs.user_known[rows], nobody)
            known, unknown = self.scorer.score(state, pairs.item[rows]), self.scorer.without_movie(state)
            result[rows] = np.where(pairs.item_known[rows], known, unknown)
        return self.stars(result)

    def _for_times(self, pairs: "_Pairs", rating: Float32s, timestamps: Int64s | None) -> Float32s:
        if timestamps is None or self.session is None:
            return rating
        item = np.where(pairs.item_known, pairs.item, -1)
        queries = Queries(pairs.user, item, timestamps, pairs.user_known & (timestamps != NO_TIME))
        timed = np.clip(rating + self.session.predict(queries, self._residuals), self.low, self.high)
        return timed.astype(np.float32)

    def _interval(
        self, pairs: "_Pairs", prediction: Float32s, level: float, timestamps: Int64s | None
    ) -> tuple[Floats, Floats]:
        untimed, timed = self._intervals["untimed"], self._intervals["timed"]
        if untimed is None:
            raise ConfigError(
                "interval: expected a model with validation errors, found none", "train with --valid-share"
            )
        low, high = untimed.around(prediction, pairs.user_count, pairs.item_count, level, (self.low, self.high))
        if timestamps is not None and timed is not None:
            ends = timed.around(prediction, pairs.user_count, pairs.item_count, level, (self.low, self.high))
            known = timestamps != NO_TIME
            low, high = np.where(known, ends[0], low), np.where(known, ends[1], high)
        return low, high


@dataclass(frozen=True)
class Person:
    """Whom a question is about.

    Attributes:
        index: the user's index; None for a visitor.
        state: what predictions are made of.
        rank_state: what ranking scores are made of, `(1, dim)`; None without a ranking head.
        rated: indices of the movies rated, int32 of shape `(num_ratings,)`.
        ratings: these ratings in the data's scale, float32 of shape `(num_ratings,)`.
    """

    index: int | None
    state: UserState
    rank_state: Float32s | None
    rated: Indices
    ratings: Float32s

"""Common types of the numpy scorers, and the folding in of a visitor's ratings."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from reelgraph.arrays import USER_DAMPING, Float32s, Float64s, Floats, Ints, Mask

Ratings = tuple[Ints, Float32s]  # indices of the rated movies or of the users who rated, and the standardised ratings


class FoldIn:
    """Computes the state of a new user from ratings, with the states of the movies fixed.

        rho_i = r_i - mean - b_i - b,   b = sum_i (r_i - mean - b_i) / (n + USER_DAMPING)
        z     = n^-1/2 * sum_i (y_i + rho_i x_i)

    `baseline` holds the `b_i`, `(num_items,)`, `implicit` the `y_i` and `residual` the `x_i`, `(num_items, dim)`.
    """

    def __init__(self, mean: Float32s, baseline: Float32s, implicit: Float32s, residual: Float32s) -> None:
        self.mean, self.baseline, self.implicit, self.residual = mean, baseline, implicit, residual

    def messages(self, items: Ints, ratings: Float32s) -> tuple[Float32s, Float32s]:
        """The user's damped bias `b`, a scalar, and each rating's term of `z`, `(num_ratings, dim)`."""
        deviation = ratings - self.mean - self.baseline[items]
        bias = np.asarray(deviation.sum() / (len(items) + USER_DAMPING), np.float32)
        messages = self.implicit[items] + (deviation - bias)[:, None] * self.residual[items]
        return bias, np.asarray(messages / np.sqrt(np.float32(max(len(items), 1))), np.float32)

    def state(self, items: Ints, ratings: Float32s) -> tuple[Float32s, Float32s]:
        """The user's damped bias `b`, a scalar, and state `z`, `(1, dim)`; there may be no ratings."""
        bias, messages = self.messages(items, ratings)
        return bias, np.asarray(messages.sum(0, keepdims=True))


class RunningState:
    """The sums of `FoldIn`, updated in time that depends only on the ratings added or removed."""

    def __init__(self, fold_in: FoldIn) -> None:
        self.fold_in = fold_in
        self._clear()

    def _clear(self) -> None:
        self.count, self.deviation = 0, 0.0
        self.implicit, self.weighted, self.residual = np.zeros((3, self.fold_in.implicit.shape[1]))

    def add(self, items: Ints, ratings: Floats, sign: int = 1) -> None:
        """Add standardised ratings of different movies, both `(num_ratings,)`, or remove them with sign -1."""
        fold_in = self.fold_in
        self.count += sign * len(items)
        if not self.count:  # Clears what rounding left in the sums.
            self._clear()
            return
        deviation = ratings.astype(np.float64) - float(fold_in.mean) - fold_in.baseline[items]
        residual = fold_in.residual[items].astype(np.float64)
        self.deviation += sign * float(deviation.sum())
        self.implicit = self.implicit + sign * fold_in.implicit[items].sum(0, dtype=np.float64)
        self.weighted = self.weighted + sign * (deviation @ residual)
        self.residual = self.residual + sign * residual.sum(0)

    @property
    def bias(self) -> float:
        """The user's damped bias."""
        return self.deviation / (self.count + USER_DAMPING)

    @property
    def state(self) -> Float32s:
        """The user's state, float32 of shape `(1, dim)`."""
        total = self.implicit + self.weighted - self.bias * self.residual
        return np.asarray(total / np.sqrt(max(self.count, 1)), np.float32)[None]


@dataclass(frozen=True)
class UserState:
    """Users as a rating model sees them."""

    state: Float32s  # (num_users, dim)
    offset: Float32s  # constant part of each user's predictions, (num_users,)

    def where(self, known: Mask, other: "UserState") -> "UserState":
        """These users where `known`, `(num_users,)`, is true, and `other`, one row, elsewhere."""
        state = np.where(known[:, None], self.state, other.state)
        return UserState(state, np.where(known, self.offset, other.offset))


@dataclass(frozen=True)
class Parts:
    """A standardised prediction or a ranking score as two sums; see `recommend.explain.Explanation`."""

    movie: float
    because: Float32s  # for each rated movie
    movie_free: float
    movie_side: float
    neighbours: Float32s  # for each user who rated the movie
    mean: float = 0.0
    user: float = 0.0
    free: float = 0.0
    side: float = 0.0


class Scorer(Protocol):
    """A rating model; ratings and predictions are standardised, as in training."""

    def users(self, user_index: Ints) -> UserState:
        """States of training users, `(num_users,)`."""

    def visitor(self, item_index: Ints, rating: Float32s) -> UserState:
        """State of a visitor, one row, from rated movies, both `(num_ratings,)`; there may be none."""

    @property
    def fold_in(self) -> FoldIn | None:
        """Computes a visitor's state; None for a model in which it is not a sum over ratings."""

    def score(self, user: UserState, item_index: Ints | None = None) -> Float32s:
        """Predictions `(num_users, num_items)` for all movies, or `(num_users,)` for one movie per user."""

    def pairs(self, user: UserState, item_index: Ints) -> Float64s:
        """Float64 predictions for some movies of each user, `(num_users, num_movies)`, bit-identical in any batch."""

    def size(self, user: UserState) -> Float64s:
        """Upper bound of the summed absolute `terms` of any prediction of a user, `(num_users,)`."""

    def without_movie(self, user: UserState) -> Float32s:
        """Predictions `(num_users,)` for an unknown movie."""

    def parts(self, user_index: int | None, item_index: int, user: UserState, own: Ratings, others: Ratings) -> Parts:
        """Decompose a prediction.

        `user_index` is None for a visitor; `own` is the user's ratings of movies, `others` all ratings of the movie.
        """

    @property
    def terms(self) -> int:
        """Number of terms summed for a prediction."""

    @property
    def item_states(self) -> Float32s:
        """States of the movies, float32 of shape `(num_items, dim)`."""

    @property
    def item_offset(self) -> Float32s | None:
        """Constant part of a movie's predictions, `(num_items,)`; None unless predictions are products of states."""

"""What a rating model predicts, from its exported arrays alone, and what `residual` does: numpy, no torch.

A `UserState` is all that a model needs to know of a user; a visitor's is computed from a handful of ratings, with the
movies' states fixed and nothing retrained.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from reelgraph.arrays import USER_DAMPING, Float32s, Float64s, Floats, Ints, Mask


class RunningState:
    """The sums of one head.

    Args:
        mean: mean standardised rating.
        baseline: the movies' baselines, `(num_items,)`.
        implicit, residual: what the movies' messages are made of, `(num_items, dim)`.
    """

    def __init__(self, mean: Any, baseline: Float32s, implicit: Float32s, residual: Float32s) -> None:
        self.mean, self.baseline, self.implicit, self.residual = float(mean), baseline, implicit, residual
        self._clear()

    def _clear(self) -> None:
        zero = np.zeros(self.implicit.shape[1])
        self.count, self.left, self.sums = 0, 0.0, [zero, zero.copy(), zero.copy()]

    def add(self, item: int, rating: float, sign: int = 1) -> None:
        """Add a standardised rating of a movie by its index, or with sign -1 take it away again."""
        left = rating - self.mean - float(self.baseline[item])
        residual = self.residual[item].astype(np.float64)
        self.count += sign
        if not self.count:  # Exactly nothing, whatever rounding has left in the sums.
            self._clear()
            return
        self.left += sign * left
        parts = (self.implicit[item], left * residual, residual)
        self.sums = [total + sign * part for total, part in zip(self.sums, parts, strict=True)]

    def add_all(self, items: Ints, ratings: Floats) -> None:
        """Add standardised ratings of different movies by their indices, each `(num_ratings,)`, at once."""
        left = ratings.astype(np.float64) - self.mean - self.baseline[items].astype(np.float64)
        residual = self.residual[items].astype(np.float64)
        self.count += len(items)
        self.left += float(left.sum())
        parts = (self.implicit[items].sum(0, dtype=np.float64), left @ residual, residual.sum(0))
        self.sums = [total + part for total, part in zip(self.sums, parts, strict=True)]

    @property
    def bias(self) -> float:
        """The damped mean of what the baselines leave over."""
        return self.left / (self.count + USER_DAMPING)

    @property
    def state(self) -> Float32s:
        """The state, float32 of shape `(1, dim)`."""
        implicit, weighted, residual = self.sums
        total = implicit + weighted - self.bias * residual
        return np.asarray(total / np.sqrt(max(self.count, 1)), np.float32)[None]


@dataclass(frozen=True)
class UserState:
    """One or several users as a model sees them.

    Attributes:
        state: float32 of shape `(num_users, dim)`.
        offset: what is added to every prediction of the user, float32 of shape `(num_users,)`.
    """

    state: Float32s
    offset: Float32s

    def where(self, known: Mask, other: "UserState") -> "UserState":
        """These users where known, bool of shape `(num_users,)`, and `other`, one row, elsewhere."""
        state = np.where(known[:, None], self.state, other.state)
        return UserState(state, np.where(known, self.offset, other.offset))


@dataclass(frozen=True)
class Parts:
    """A standardised prediction as two sums.

    They are `mean + user + movie + free + side + because.sum()` and
    `mean + user + movie + movie_free + movie_side + neighbours.sum()`.

    Attributes:
        mean, user, movie: the baseline: mean rating, and what the user and the movie each add to it.
        free, side: what the user's own free state and the user's side features add; 0 for a visitor.
        because: what each rated movie adds, float32 of shape `(num_ratings,)`.
        movie_free, movie_side: what the movie's own free state and the movie's side features add.
        neighbours: what each user who rated the movie adds, float32 of shape `(num_neighbours,)`.
    """

    mean: float
    user: float
    movie: float
    free: float
    side: float
    because: Float32s
    movie_free: float
    movie_side: float
    neighbours: Float32s


class Scorer(Protocol):
    """The two models' common face; every rating and prediction is standardised, as in training."""

    def users(self, user_index: Ints) -> UserState:
        """States of users of the training data, by their indices `(num_users,)`."""

    def visitor(self, item_index: Ints, rating: Float32s) -> UserState:
        """State of a visitor, one row, from movies rated, both of shape `(num_ratings,)`; there may be none."""

    def running(self) -> RunningState | None:
        """A visitor's state that ratings are added to one at a time; None where it has to be made anew."""

    def score(self, user: UserState, item_index: Ints | None = None) -> Float32s:
        """Predictions `(num_users, num_items)` for all movies, or `(num_users,)` for one movie a user."""

    def pairs(self, user: UserState, item_index: Ints) -> Float64s:
        """Predictions in float64 of some movies of each user, both `(num_users, num_movies)`.

        A pair's prediction is the same, to the last digit, whatever others are asked for with it.
        """

    def size(self, user: UserState) -> Float64s:
        """What the `terms` of any prediction of a user sum to at most, by their absolute values, `(num_users,)`."""

    def without_movie(self, user: UserState) -> Float32s:
        """Predictions `(num_users,)` for a movie of which nothing is known."""

    def parts(
        self,
        user_index: int | None,
        item_index: int,
        rated: Ints,
        rating: Float32s,
        user: UserState,
        raters: Ints,
        their_rating: Float32s,
    ) -> Parts:
        """What adds up to a prediction.

        Args:
            user_index: the user; None for a visitor.
            item_index: the movie.
            rated: movies that the user rated, `(num_ratings,)`.
            rating: the user's ratings of them, likewise.
            user: the user's state, one row.
            raters: users who rated the movie, `(num_neighbours,)`.
            their_rating: their ratings of it, likewise.

        Raises:
            ConfigError: if the model's predictions are no sums.
        """

    @property
    def terms(self) -> int:
        """How many numbers are summed for a prediction."""

    @property
    def item_states(self) -> Float32s:
        """States of the movies, float32 of shape `(num_items, dim)`."""

    @property
    def item_offset(self) -> Float32s | None:
        """What a movie adds to predictions that are products of states, `(num_items,)`; None where they are not."""

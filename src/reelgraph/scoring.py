"""What a rating model predicts, from its exported arrays alone, and what `residual` does: numpy, no torch.

A `UserState` is all that a model needs to know of a user; a visitor's is computed from a handful of ratings, with the
movies' states fixed and nothing retrained.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from reelgraph.baselines import USER_DAMPING
from reelgraph.exact import lengths, pair_products
from reelgraph.folding import RunningState

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class UserState:
    """One or several users as a model sees them.

    Attributes:
        state: float32 of shape `(num_users, dim)`.
        offset: what is added to every prediction of the user, float32 of shape `(num_users,)`.
    """

    state: Floats
    offset: Floats

    def where(self, known: npt.NDArray[np.bool_], other: "UserState") -> "UserState":
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
    because: Floats
    movie_free: float
    movie_side: float
    neighbours: Floats


class Scorer(Protocol):
    """The two models' common face; every rating and prediction is standardised, as in training."""

    def users(self, user_index: Indices) -> UserState:
        """States of users of the training data, by their indices `(num_users,)`."""

    def visitor(self, item_index: Indices, rating: Floats) -> UserState:
        """State of a visitor, one row, from movies rated, both of shape `(num_ratings,)`; there may be none."""

    def running(self) -> RunningState | None:
        """A visitor's state that ratings are added to one at a time; None where it has to be made anew."""

    def score(self, user: UserState, item_index: Indices | None = None) -> Floats:
        """Predictions `(num_users, num_items)` for all movies, or `(num_users,)` for one movie a user."""

    def pairs(self, user: UserState, item_index: Indices) -> npt.NDArray[np.float64]:
        """Predictions in float64 of some movies of each user, both `(num_users, num_movies)`.

        A pair's prediction is the same, to the last digit, whatever others are asked for with it.
        """

    def size(self, user: UserState) -> npt.NDArray[np.float64]:
        """What the `terms` of any prediction of a user sum to at most, by their absolute values, `(num_users,)`."""

    def without_movie(self, user: UserState) -> Floats:
        """Predictions `(num_users,)` for a movie of which nothing is known."""

    def parts(
        self,
        user_index: int | None,
        item_index: int,
        rated: Indices,
        rating: Floats,
        user: UserState,
        raters: Indices,
        their_rating: Floats,
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
    def item_states(self) -> Floats:
        """States of the movies, float32 of shape `(num_items, dim)`."""

    @property
    def item_offset(self) -> Floats | None:
        """What a movie adds to predictions that are products of states, `(num_items,)`; None where they are not."""


class ResidualScorer:
    """`residual`: mu + b_u + b_i + c_u + c_i + <z_u, z_i>."""

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self.weights = weights
        self.item_offset = weights["item.bias"] + weights["item.offset"]
        self.terms = weights["item.state"].shape[1] + 2

    def users(self, user_index: Indices) -> UserState:
        """States of users of the training data."""
        weights = self.weights
        offset = weights["mean"] + weights["user.bias"][user_index] + weights["user.offset"][user_index]
        return UserState(weights["user.state"][user_index], offset)

    def visitor(self, item_index: Indices, rating: Floats) -> UserState:
        """The formula of a user's state without the free part and side features, which a visitor does not have."""
        bias, messages = self.messages(item_index, rating)
        return UserState(messages.sum(0, keepdims=True), np.atleast_1d(self.weights["mean"] + bias))

    def running(self) -> RunningState | None:
        """Sums over a visitor's ratings."""
        weights = self.weights
        return RunningState(weights["mean"], weights["item.bias"], weights["item.implicit"], weights["item.residual"])

    def messages(self, item_index: Indices, rating: Floats) -> tuple[Floats, Floats]:
        """A user's damped bias, scalar, and what each rated movie adds to the state, `(num_ratings, dim)`."""
        weights, count = self.weights, len(rating)
        left_over = rating - weights["mean"] - weights["item.bias"][item_index]
        bias = np.float32(left_over.sum() / (count + USER_DAMPING))
        rho = (left_over - bias)[:, None]
        messages = weights["item.implicit"][item_index] + rho * weights["item.residual"][item_index]
        return np.asarray(bias), np.asarray(messages / np.sqrt(np.float32(max(count, 1))), np.float32)

    def score(self, user: UserState, item_index: Indices | None = None) -> Floats:
        """Predictions of all movies or of one movie a user."""
        item = self.weights["item.state"]
        if item_index is None:
            return np.asarray(user.state @ item.T + user.offset[:, None] + self.item_offset)
        product: Floats = np.einsum("nd,nd->n", user.state, item[item_index])
        return product + user.offset + self.item_offset[item_index]

    def pairs(self, user: UserState, item_index: Indices) -> npt.NDArray[np.float64]:
        """The formula in float64."""
        offset = user.offset[:, None] + self.item_offset[item_index].astype(np.float64)
        return pair_products(user.state, self.weights["item.state"], item_index) + offset

    def size(self, user: UserState) -> npt.NDArray[np.float64]:
        """By Cauchy and Schwarz."""
        offsets = np.abs(user.offset) + np.abs(self.item_offset).max(initial=0)
        return np.asarray(lengths(user.state) * self._longest + offsets)

    @cached_property
    def _longest(self) -> float:
        return float(lengths(self.weights["item.state"]).max(initial=0))

    def without_movie(self, user: UserState) -> Floats:
        """Mean and the user's bias: a movie without ratings and features has no bias and no state."""
        return user.offset

    def parts(
        self,
        user_index: int | None,
        item_index: int,
        rated: Indices,
        rating: Floats,
        user: UserState,
        raters: Indices,
        their_rating: Floats,
    ) -> Parts:
        """The formula, term by term."""
        weights = self.weights
        bias, messages = self.messages(rated, rating)
        item, state = weights["item.state"][item_index], user.state[0]
        free = side = offset = 0.0
        if user_index is not None:
            bias, offset = weights["user.bias"][user_index], float(weights["user.offset"][user_index])
            free, side = (float(weights[f"user.{name}"][user_index] @ item) for name in ("free", "side"))
        rho = their_rating - weights["mean"] - weights["item.bias"][item_index] - weights["user.bias"][raters]
        theirs = weights["user.implicit"][raters] + rho[:, None] * weights["user.residual"][raters]
        return Parts(
            mean=float(weights["mean"]),
            user=float(bias) + offset,
            movie=float(self.item_offset[item_index]),
            free=free,
            side=side,
            because=messages @ item,
            movie_free=float(weights["item.free"][item_index] @ state),
            movie_side=float(weights["item.side"][item_index] @ state) * (1 if len(raters) else float(weights["gain"])),
            neighbours=np.asarray(theirs @ state / np.sqrt(np.float32(max(len(raters), 1)))),
        )

    @property
    def item_states(self) -> Floats:
        """States of the movies."""
        return self.weights["item.state"]

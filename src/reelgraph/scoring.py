"""What the two models predict, from their exported arrays alone: numpy, no torch.

A `UserState` is all that a model needs to know of a user; a visitor's is computed from a handful of ratings, with the
movies' states fixed and nothing retrained.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from reelgraph.baselines import USER_DAMPING
from reelgraph.errors import ConfigError
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
    def item_states(self) -> Floats:
        """States of the movies, float32 of shape `(num_items, dim)`."""


class ResidualScorer:
    """`residual`: mu + b_u + b_i + c_u + c_i + <z_u, z_i>."""

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self.weights = weights
        self.item_offset = weights["item.bias"] + weights["item.offset"]

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


class GCNScorer:
    """`gcn`: a fully connected head on the two final states.

    Args:
        weights: the exported arrays.
        unit: turns a standardised rating into one scaled to [0, 1], the edge weight: `(gain, shift)`.
    """

    def __init__(self, weights: Mapping[str, Floats], unit: tuple[float, float]) -> None:
        self.weights, self.unit = weights, unit
        dim = weights["item.state"].shape[1]
        self.user_head, item_head = weights["head.hidden.weight"][:dim], weights["head.hidden.weight"][dim:]
        self.item_part = weights["item.state"] @ item_head + weights["head.hidden.bias"]

    def users(self, user_index: Indices) -> UserState:
        """States of users of the training data."""
        return UserState(self.weights["user.state"][user_index], np.zeros(len(user_index), np.float32))

    def visitor(self, item_index: Indices, rating: Floats) -> UserState:
        """The three layers for one more user with the mean user's features; the movies' states stay as they are."""
        return UserState(self.fold(self.weights["visitor.feature"], item_index, rating)[None], np.zeros(1, np.float32))

    def running(self) -> RunningState | None:
        """None: three nonlinear layers are no sums."""
        return None

    def fold(self, feature: Floats, item_index: Indices, rating: Floats) -> Floats:
        """A user's final state, `(dim,)`, from the user's features `(dim,)` and ratings."""
        weights, state = self.weights, feature
        edge = rating * self.unit[0] + self.unit[1]
        degree = 1 + edge.sum()
        norm = (edge / np.sqrt(degree * weights["item.degree"][item_index]))[:, None]
        layer = 0
        while f"layer{layer}.weight" in weights:
            message = (norm * weights[f"item.layer{layer}"][item_index]).sum(0) + state / degree
            state = np.maximum(message @ weights[f"layer{layer}.weight"] + weights[f"layer{layer}.bias"], 0)
            layer += 1
        return state.astype(np.float32)

    def score(self, user: UserState, item_index: Indices | None = None) -> Floats:
        """Predictions of all movies or of one movie a user."""
        user_part = user.state @ self.user_head
        hidden = (
            user_part + self.item_part[item_index] if item_index is not None else user_part[:, None] + self.item_part
        )
        score: Floats = np.maximum(hidden, 0) @ self.weights["head.out.weight"] + self.weights["head.out.bias"]
        return score[..., 0]

    def without_movie(self, user: UserState) -> Floats:
        """The mean: the head knows no state for a movie that was not part of the graph."""
        return np.zeros(len(user.offset), np.float32)

    def parts(self, *_: object) -> Parts:
        """Refused: a fully connected head adds nothing up."""
        raise ConfigError("explain: expected a model whose predictions are sums, found gcn", "train --model residual")

    @property
    def item_states(self) -> Floats:
        """States of the movies."""
        return self.weights["item.state"]

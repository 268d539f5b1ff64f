"""Numpy twin of models/residual.py."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from reelgraph.arrays import USER_DAMPING, Float32s, Float64s, Ints, lengths, pair_products
from reelgraph.scoring.base import Parts, RunningState, UserState


class ResidualScorer:
    """`residual`: mu + b_u + b_i + c_u + c_i + <z_u, z_i>."""

    def __init__(self, weights: Mapping[str, Float32s]) -> None:
        self.weights = weights
        self.item_offset = weights["item.bias"] + weights["item.offset"]
        self.terms = weights["item.state"].shape[1] + 2

    def users(self, user_index: Ints) -> UserState:
        """States of users of the training data."""
        weights = self.weights
        offset = weights["mean"] + weights["user.bias"][user_index] + weights["user.offset"][user_index]
        return UserState(weights["user.state"][user_index], offset)

    def visitor(self, item_index: Ints, rating: Float32s) -> UserState:
        """The formula of a user's state without the free part and side features, which a visitor does not have."""
        bias, messages = self.messages(item_index, rating)
        return UserState(messages.sum(0, keepdims=True), np.atleast_1d(self.weights["mean"] + bias))

    def running(self) -> RunningState | None:
        """Sums over a visitor's ratings."""
        weights = self.weights
        return RunningState(weights["mean"], weights["item.bias"], weights["item.implicit"], weights["item.residual"])

    def messages(self, item_index: Ints, rating: Float32s) -> tuple[Float32s, Float32s]:
        """A user's damped bias, scalar, and what each rated movie adds to the state, `(num_ratings, dim)`."""
        weights, count = self.weights, len(rating)
        left_over = rating - weights["mean"] - weights["item.bias"][item_index]
        bias = np.float32(left_over.sum() / (count + USER_DAMPING))
        rho = (left_over - bias)[:, None]
        messages = weights["item.implicit"][item_index] + rho * weights["item.residual"][item_index]
        return np.asarray(bias), np.asarray(messages / np.sqrt(np.float32(max(count, 1))), np.float32)

    def score(self, user: UserState, item_index: Ints | None = None) -> Float32s:
        """Predictions of all movies or of one movie a user."""
        item = self.weights["item.state"]
        if item_index is None:
            return np.asarray(user.state @ item.T + user.offset[:, None] + self.item_offset)
        product: Float32s = np.einsum("nd,nd->n", user.state, item[item_index])
        return product + user.offset + self.item_offset[item_index]

    def pairs(self, user: UserState, item_index: Ints) -> Float64s:
        """The formula in float64."""
        offset = user.offset[:, None] + self.item_offset[item_index].astype(np.float64)
        return pair_products(user.state, self.weights["item.state"], item_index) + offset

    def size(self, user: UserState) -> Float64s:
        """By Cauchy and Schwarz."""
        offsets = np.abs(user.offset) + np.abs(self.item_offset).max(initial=0)
        return np.asarray(lengths(user.state) * self._longest + offsets)

    @cached_property
    def _longest(self) -> float:
        return float(lengths(self.weights["item.state"]).max(initial=0))

    def without_movie(self, user: UserState) -> Float32s:
        """Mean and the user's bias: a movie without ratings and features has no bias and no state."""
        return user.offset

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
    def item_states(self) -> Float32s:
        """States of the movies."""
        return self.weights["item.state"]

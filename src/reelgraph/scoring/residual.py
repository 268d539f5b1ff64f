"""Numpy twin of `models.residual`."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from reelgraph.arrays import Float32s, Float64s, Ints, lengths, pair_products
from reelgraph.scoring.base import FoldIn, Parts, Ratings, UserState


class ResidualScorer:
    """Predicts mu + b_u + b_i + c_u + c_i + <z_u, z_i>."""

    def __init__(self, weights: Mapping[str, Float32s]) -> None:
        self.weights, self.item_states = weights, weights["item.state"]
        self.item_offset = weights["item.bias"] + weights["item.offset"]
        self.terms = self.item_states.shape[1] + 2

    def users(self, user_index: Ints) -> UserState:
        """States of training users."""
        weights = self.weights
        offset = weights["mean"] + weights["user.bias"][user_index] + weights["user.offset"][user_index]
        return UserState(weights["user.state"][user_index], offset)

    def visitor(self, item_index: Ints, rating: Float32s) -> UserState:
        """A visitor's state: that of a training user without the free part and side features."""
        bias, state = self.fold_in.state(item_index, rating)
        return UserState(state, np.atleast_1d(self.weights["mean"] + bias))

    @cached_property
    def fold_in(self) -> FoldIn:
        """Computes a visitor's state."""
        return FoldIn(*(self.weights[name] for name in ("mean", "item.bias", "item.implicit", "item.residual")))

    def score(self, user: UserState, item_index: Ints | None = None) -> Float32s:
        """Predictions for all movies or for one movie per user."""
        if item_index is None:
            return np.asarray(user.state @ self.item_states.T + user.offset[:, None] + self.item_offset)
        product: Float32s = np.einsum("nd,nd->n", user.state, self.item_states[item_index])
        return product + user.offset + self.item_offset[item_index]

    def pairs(self, user: UserState, item_index: Ints) -> Float64s:
        """Predictions for some movies of each user in float64."""
        offset = user.offset[:, None] + self.item_offset[item_index].astype(np.float64)
        return pair_products(user.state, self.item_states, item_index) + offset

    def size(self, user: UserState) -> Float64s:
        """Upper bound of the terms by the Cauchy-Schwarz inequality."""
        offsets = np.abs(user.offset) + np.abs(self.item_offset).max(initial=0)
        return np.asarray(lengths(user.state) * self._longest + offsets)

    @cached_property
    def _longest(self) -> float:
        return float(lengths(self.item_states).max(initial=0))

    def without_movie(self, user: UserState) -> Float32s:
        """Mean and user bias: a movie without ratings and features has no bias and no state."""
        return user.offset

    def parts(self, user_index: int | None, item_index: int, user: UserState, own: Ratings, others: Ratings) -> Parts:
        """Decompose a prediction; see `Scorer.parts`."""
        weights, (raters, their_rating) = self.weights, others
        bias, messages = self.fold_in.messages(*own)
        item, state = self.item_states[item_index], user.state[0]
        free = side = offset = 0.0
        if user_index is not None:
            bias, offset = weights["user.bias"][user_index], float(weights["user.offset"][user_index])
            free, side = (float(weights[f"user.{name}"][user_index] @ item) for name in ("free", "side"))
        rho = their_rating - weights["mean"] - weights["item.bias"][item_index] - weights["user.bias"][raters]
        neighbours = weights["user.implicit"][raters] + rho[:, None] * weights["user.residual"][raters]
        return Parts(
            mean=float(weights["mean"]),
            user=float(bias) + offset,
            movie=float(self.item_offset[item_index]),
            free=free,
            side=side,
            because=messages @ item,
            movie_free=float(weights["item.free"][item_index] @ state),
            movie_side=float(weights["item.side"][item_index] @ state) * (1 if len(raters) else float(weights["gain"])),
            neighbours=np.asarray(neighbours @ state / np.sqrt(np.float32(max(len(raters), 1)))),
        )

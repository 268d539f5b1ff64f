"""Numpy twin of `models.ranking_head`, and what stands for the rating model where there is none."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from reelgraph.arrays import Float32s, Float64s, Ints, lengths, pair_products
from reelgraph.scoring.base import FoldIn, Parts, Ratings, UserState


class Ranker:
    """Scores by <z_u, z_i> + bias_i; z_i includes the temperature, ratings are standardised as in training."""

    def __init__(self, weights: Mapping[str, Float32s]) -> None:
        self.weights = weights
        self.item_states, self.item_bias = weights["rank.item.state"], weights["rank.item.bias"]

    def users(self, user_index: Ints) -> Float32s:
        """States of training users, `(num_users, dim)`."""
        return self.weights["rank.user.state"][user_index]

    @cached_property
    def fold_in(self) -> FoldIn:
        """Computes a visitor's state."""
        names = ("mean", "item.baseline", "item.implicit", "item.residual")
        return FoldIn(*(self.weights[f"rank.{name}"] for name in names))

    def score(self, state: Float32s) -> Float32s:
        """Scores of all movies, `(num_users, num_items)`."""
        return np.asarray(state @ self.item_states.T + self.item_bias)

    def pairs(self, state: Float32s, item_index: Ints) -> Float64s:
        """Scores in float64 of some movies of each user, both `(num_users, num_movies)`; see `Scorer.pairs`."""
        return pair_products(state, self.item_states, item_index) + self.item_bias[item_index]

    def size(self, state: Float32s) -> Float64s:
        """Upper bound of a score's summed absolute terms, `(num_users,)`; see `Scorer.size`."""
        return np.asarray(lengths(state) * self._longest + np.abs(self.item_bias).max(initial=0))

    @cached_property
    def _longest(self) -> float:
        return float(lengths(self.item_states).max(initial=0))

    def parts(self, item_index: int, own: Ratings, others: Ratings) -> Parts:
        """Decompose a score; see `Scorer.parts`."""
        weights, (raters, their_rating) = self.weights, others
        _, messages = self.fold_in.messages(*own)
        user = messages.sum(0)
        rho = their_rating - weights["rank.mean"] - weights["rank.item.baseline"][item_index]
        rho = (rho - weights["rank.user.baseline"][raters])[:, None]
        neighbours = weights["rank.user.implicit"][raters] + rho * weights["rank.user.residual"][raters]
        free, side = (float(weights[f"rank.item.{name}"][item_index] @ user) for name in ("free", "side"))
        return Parts(
            movie=float(self.item_bias[item_index]),
            because=messages @ self.item_states[item_index],
            movie_free=free,
            movie_side=side,
            neighbours=np.asarray(neighbours @ user / np.sqrt(max(len(raters), 1)), np.float32),
        )


class NoRatingModel:
    """Stands for the rating model where the ranking head is alone: states without numbers, all predictions 0."""

    fold_in, terms = None, 0

    def __init__(self, num_items: int) -> None:
        self.item_states, self.item_offset = np.zeros((num_items, 0), np.float32), np.zeros(num_items, np.float32)

    def users(self, user_index: Ints) -> UserState:
        """Empty states."""
        return UserState(np.zeros((len(user_index), 0), np.float32), np.zeros(len(user_index), np.float32))

    def visitor(self, item_index: Ints, rating: Float32s) -> UserState:  # noqa: ARG002
        """One empty state."""
        return self.users(np.zeros(1, np.int32))

    def score(self, user: UserState, item_index: Ints | None = None) -> Float32s:
        """Zeros; see `Scorer.score`."""
        shape = (len(user.offset), len(self.item_offset)) if item_index is None else (len(user.offset),)
        return np.zeros(shape, np.float32)

    def pairs(self, user: UserState, item_index: Ints) -> Float64s:  # noqa: ARG002
        """Zeros, `(num_users, num_movies)`."""
        return np.zeros(item_index.shape)

    def size(self, user: UserState) -> Float64s:
        """Zeros, `(num_users,)`."""
        return np.zeros(len(user.offset))

    def without_movie(self, user: UserState) -> Float32s:
        """Zeros, `(num_users,)`."""
        return user.offset

    def parts(self, user_index: int | None, item_index: int, user: UserState, own: Ratings, others: Ratings) -> Parts:  # noqa: ARG002
        """No contributions."""
        nothing = np.empty(0, np.float32)
        return Parts(movie=0.0, because=nothing, movie_free=0.0, movie_side=0.0, neighbours=nothing)

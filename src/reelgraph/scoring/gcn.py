"""Numpy twin of `models.gcn`."""

from collections.abc import Mapping

import numpy as np

from reelgraph.arrays import Float32s, Float64s, Ints, lengths
from reelgraph.errors import ConfigError
from reelgraph.scoring.base import Parts, UserState


class GCNScorer:
    """Predicts by a fully connected head on the states of the pair; `unit` scales ratings to edge weights in [0, 1]."""

    fold_in = None  # Three nonlinear layers are not a sum over ratings.
    item_offset = None

    def __init__(self, weights: Mapping[str, Float32s], unit: tuple[float, float]) -> None:
        self.weights, self.unit, self.item_states = weights, unit, weights["item.state"]
        dim = self.item_states.shape[1]
        self.user_head, item_head = weights["head.hidden.weight"][:dim], weights["head.hidden.weight"][dim:]
        self.item_part = self.item_states @ item_head + weights["head.hidden.bias"]
        self.terms = dim + len(weights["head.hidden.bias"]) + 1

    def users(self, user_index: Ints) -> UserState:
        """States of training users."""
        return UserState(self.weights["user.state"][user_index], np.zeros(len(user_index), np.float32))

    def visitor(self, item_index: Ints, rating: Float32s) -> UserState:
        """State of a visitor with the mean user's features; the states of the movies stay fixed."""
        state = self.propagate(self.weights["visitor.feature"], item_index, rating)
        return UserState(state[None], np.zeros(1, np.float32))

    def propagate(self, feature: Float32s, item_index: Ints, rating: Float32s) -> Float32s:
        """The three layers for one user, from features `(dim,)` and ratings to the state `(dim,)`."""
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

    def score(self, user: UserState, item_index: Ints | None = None) -> Float32s:
        """Predictions for all movies or for one movie per user."""
        user_part = user.state @ self.user_head
        hidden = user_part[:, None] + self.item_part if item_index is None else user_part + self.item_part[item_index]
        score: Float32s = np.maximum(hidden, 0) @ self.weights["head.out.weight"] + self.weights["head.out.bias"]
        return score[..., 0]

    def pairs(self, user: UserState, item_index: Ints) -> Float64s:
        """Predictions for some movies of each user in float64."""
        user_part = np.einsum("nd,dh->nh", user.state.astype(np.float64), self.user_head.astype(np.float64))
        hidden = np.maximum(user_part[:, None] + self.item_part[item_index], 0)
        out = self.weights["head.out.weight"][:, 0].astype(np.float64)
        return np.asarray(np.einsum("nph,h->np", hidden, out) + self.weights["head.out.bias"])

    def size(self, user: UserState) -> Float64s:
        """Upper bound of the terms by the Cauchy-Schwarz inequality, layer by layer."""
        hidden = lengths(user.state) * np.linalg.norm(self.user_head) + lengths(self.item_part).max(initial=0)
        out = np.linalg.norm(self.weights["head.out.weight"])
        return np.asarray(hidden * out + np.abs(self.weights["head.out.bias"]))

    def without_movie(self, user: UserState) -> Float32s:
        """The mean rating: an unknown movie has no state."""
        return np.zeros(len(user.offset), np.float32)

    def parts(self, *_: object) -> Parts:
        """Refused: the head is nonlinear."""
        raise ConfigError("explain: expected a model whose predictions are sums, found gcn", "train --model residual")

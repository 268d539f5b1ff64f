"""What `gcn` predicts, from its exported arrays alone: numpy, no torch."""

from collections.abc import Mapping

import numpy as np

from reelgraph.arrays import Float32s, Float64s, Ints, lengths
from reelgraph.errors import ConfigError
from reelgraph.scoring.base import Parts, RunningState, UserState


class GCNScorer:
    """`gcn`: a fully connected head on the two final states.

    Args:
        weights: the exported arrays.
        unit: turns a standardised rating into one scaled to [0, 1], the edge weight: `(gain, shift)`.
    """

    def __init__(self, weights: Mapping[str, Float32s], unit: tuple[float, float]) -> None:
        self.weights, self.unit = weights, unit
        dim = weights["item.state"].shape[1]
        self.user_head, item_head = weights["head.hidden.weight"][:dim], weights["head.hidden.weight"][dim:]
        self.item_part = weights["item.state"] @ item_head + weights["head.hidden.bias"]
        self.item_offset, self.terms = None, dim + len(weights["head.hidden.bias"]) + 1

    def users(self, user_index: Ints) -> UserState:
        """States of users of the training data."""
        return UserState(self.weights["user.state"][user_index], np.zeros(len(user_index), np.float32))

    def visitor(self, item_index: Ints, rating: Float32s) -> UserState:
        """The three layers for one more user with the mean user's features; the movies' states stay as they are."""
        return UserState(self.fold(self.weights["visitor.feature"], item_index, rating)[None], np.zeros(1, np.float32))

    def running(self) -> RunningState | None:
        """None: three nonlinear layers are no sums."""
        return None

    def fold(self, feature: Float32s, item_index: Ints, rating: Float32s) -> Float32s:
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

    def score(self, user: UserState, item_index: Ints | None = None) -> Float32s:
        """Predictions of all movies or of one movie a user."""
        user_part = user.state @ self.user_head
        hidden = (
            user_part + self.item_part[item_index] if item_index is not None else user_part[:, None] + self.item_part
        )
        score: Float32s = np.maximum(hidden, 0) @ self.weights["head.out.weight"] + self.weights["head.out.bias"]
        return score[..., 0]

    def pairs(self, user: UserState, item_index: Ints) -> Float64s:
        """The head in float64."""
        user_part = np.einsum("nd,dh->nh", user.state.astype(np.float64), self.user_head.astype(np.float64))
        hidden = np.maximum(user_part[:, None] + self.item_part[item_index], 0)
        out = self.weights["head.out.weight"][:, 0].astype(np.float64)
        return np.asarray(np.einsum("nph,h->np", hidden, out) + self.weights["head.out.bias"])

    def size(self, user: UserState) -> Float64s:
        """By Cauchy and Schwarz, layer by layer."""
        hidden = lengths(user.state) * np.linalg.norm(self.user_head) + lengths(self.item_part).max(initial=0)
        out = np.linalg.norm(self.weights["head.out.weight"])
        return np.asarray(hidden * out + np.abs(self.weights["head.out.bias"]))

    def without_movie(self, user: UserState) -> Float32s:
        """The mean: the head knows no state for a movie that was not part of the graph."""
        return np.zeros(len(user.offset), np.float32)

    def parts(self, *_: object) -> Parts:
        """Refused: a fully connected head adds nothing up."""
        raise ConfigError("explain: expected a model whose predictions are sums, found gcn", "train --model residual")

    @property
    def item_states(self) -> Float32s:
        """States of the movies."""
        return self.weights["item.state"]

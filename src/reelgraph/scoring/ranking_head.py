"""What the ranking head says, from its exported arrays alone: numpy, no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reelgraph.arrays import USER_DAMPING, Float32s, Float64s, Ints, lengths, pair_products
from reelgraph.scoring.base import RunningState

# As in `scorers`; r is the ranking head's dim.
SHAPES = (
    {"rank.mean": "", "rank.item.bias": "i", "rank.user.baseline": "u", "rank.item.baseline": "i"}
    | {f"rank.user.{name}": "ur" for name in ("state", "implicit", "residual", "own", "channel")}
    | {f"rank.item.{name}": "ir" for name in ("state", "implicit", "residual", "own", "channel", "free", "side")}
)


@dataclass(frozen=True)
class RankParts:
    """A ranking score as sums: `movie + because.sum()` and `movie + free + side + neighbours.sum()`.

    Attributes:
        movie: what the movie adds for everyone.
        because: what each rated movie adds, float32 of shape `(num_ratings,)`.
        free, side: what the movie's own state and its side features add.
        neighbours: what each user who rated the movie adds, float32 of shape `(num_neighbours,)`.
    """

    movie: float
    because: Float32s
    free: float
    side: float
    neighbours: Float32s


class Ranker:
    """score = <z_u, z_i> + bias_i, the temperature being part of z_i; ratings are standardised, as in training."""

    def __init__(self, weights: Mapping[str, Float32s]) -> None:
        self.weights = weights

    def users(self, user_index: Ints) -> Float32s:
        """States of users of the training data, `(num_users, dim)`."""
        return self.weights["rank.user.state"][user_index]

    def visitor(self, item_index: Ints, rating: Float32s) -> Float32s:
        """State of a visitor, `(1, dim)`, from movies rated; there may be none."""
        return np.asarray(self.messages(item_index, rating).sum(0, keepdims=True))

    def running(self) -> RunningState:
        """A visitor's state that ratings are added to one at a time."""
        weights = self.weights
        names = ("item.baseline", "item.implicit", "item.residual")
        return RunningState(weights["rank.mean"], *(weights[f"rank.{name}"] for name in names))

    def messages(self, item_index: Ints, rating: Float32s) -> Float32s:
        """What each rated movie adds to a user's state, `(num_ratings, dim)`."""
        weights, count = self.weights, len(rating)
        left_over = rating - weights["rank.mean"] - weights["rank.item.baseline"][item_index]
        rho = (left_over - left_over.sum() / (count + USER_DAMPING))[:, None]
        messages = weights["rank.item.implicit"][item_index] + rho * weights["rank.item.residual"][item_index]
        return np.asarray(messages / np.sqrt(np.float32(max(count, 1))), np.float32)

    def score(self, state: Float32s) -> Float32s:
        """Scores of all movies, `(num_users, num_items)`."""
        return np.asarray(state @ self.weights["rank.item.state"].T + self.weights["rank.item.bias"])

    def pairs(self, state: Float32s, item_index: Ints) -> Float64s:
        """Scores in float64 of some movies of each user, both `(num_users, num_movies)`; see `scoring.Scorer.pairs`."""
        return pair_products(state, self.item_states, item_index) + self.item_bias[item_index]

    def size(self, state: Float32s) -> Float64s:
        """A bound of a score's terms, `(num_users,)`; see `scoring.Scorer.size`."""
        return np.asarray(lengths(state) * self._longest + np.abs(self.item_bias).max(initial=0))

    @cached_property
    def _longest(self) -> float:
        return float(lengths(self.item_states).max(initial=0))

    def parts(
        self, item_index: int, rated: Ints, rating: Float32s, neighbour: Ints, their_rating: Float32s
    ) -> RankParts:
        """What adds up to a score.

        Args:
            item_index: the movie.
            rated: movies that the user rated, `(num_ratings,)`.
            rating: their ratings, `(num_ratings,)`.
            neighbour: users who rated the movie, `(num_neighbours,)`.
            their_rating: their ratings of it, `(num_neighbours,)`.
        """
        weights = self.weights
        messages = self.messages(rated, rating)
        user, item = messages.sum(0), weights["rank.item.state"][item_index]
        rho = their_rating - weights["rank.mean"] - weights["rank.item.baseline"][item_index]
        rho = (rho - weights["rank.user.baseline"][neighbour])[:, None]
        theirs = weights["rank.user.implicit"][neighbour] + rho * weights["rank.user.residual"][neighbour]
        free, side = (float(weights[f"rank.item.{name}"][item_index] @ user) for name in ("free", "side"))
        return RankParts(
            float(weights["rank.item.bias"][item_index]),
            messages @ item,
            free,
            side,
            np.asarray(theirs @ user / np.sqrt(max(len(neighbour), 1)), np.float32),
        )

    @property
    def item_states(self) -> Float32s:
        """States of the movies, `(num_items, dim)`."""
        return self.weights["rank.item.state"]

    @property
    def item_bias(self) -> Float32s:
        """What a movie adds for everyone, `(num_items,)`."""
        return self.weights["rank.item.bias"]


def ranker_for(weights: Mapping[str, Float32s]) -> Ranker | None:
    """The ranking head of an artifact; None where it has none. `scoring.check_arrays` has seen the arrays."""
    return Ranker(weights) if "rank.item.state" in weights else None

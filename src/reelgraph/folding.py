"""A user's state as running sums, so that ratings come and go one at a time. Numpy only.

Both heads make a user's state of sums over the user's ratings,

    left_j = r_j - mu - b_j,   b = sum_j left_j / (n + damping),   z = n^-1/2 * sum_j ( y_j + (left_j - b) x_j )

so that a rating is added or taken away in a time that depends on neither the others nor the catalogue.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from reelgraph.baselines import USER_DAMPING

Floats = npt.NDArray[np.float32]


class RunningState:
    """The sums of one head.

    Args:
        mean: mean standardised rating.
        baseline: the movies' baselines, `(num_items,)`.
        implicit, residual: what the movies' messages are made of, `(num_items, dim)`.
    """

    def __init__(self, mean: Any, baseline: Floats, implicit: Floats, residual: Floats) -> None:
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

    def add_all(self, items: npt.NDArray[np.integer[Any]], ratings: npt.NDArray[np.floating[Any]]) -> None:
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
    def state(self) -> Floats:
        """The state, float32 of shape `(1, dim)`."""
        implicit, weighted, residual = self.sums
        total = implicit + weighted - self.bias * residual
        return np.asarray(total / np.sqrt(max(self.count, 1)), np.float32)[None]

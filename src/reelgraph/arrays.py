"""Products of states whose digits do not depend on what else is multiplied with them. Numpy only."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]  # of either width
Indices = npt.NDArray[np.int32]  # of users or movies, counted from 0
Int64s = npt.NDArray[np.int64]
Ints = npt.NDArray[np.integer[Any]]  # of any width
Mask = npt.NDArray[np.bool_]

# The damped biases that baselines, graph and scoring share. They are not in config.py, because that imports pydantic,
# which the workers of a Spark cluster need not have.
USER_DAMPING, ITEM_DAMPING = 5.0, 10.0
BIAS_SWEEPS = 4


def pair_products(left: Floats, right: Floats, index: Ints) -> Float64s:
    """The product of each row of `left` with some rows of `right`, summed in float64.

    A matrix product's last digits depend on the number of rows, the threads and the machine's BLAS; these do not.

    Args:
        left: `(num_left, dim)`.
        right: `(num_right, dim)`.
        index: rows of `right`, `(num_left, num_each)`.

    Returns:
        float64 of the shape of `index`.
    """
    # Converted before it is multiplied: einsum would convert through a buffer, whose ends would cut sums in two.
    rows = right[index].astype(np.float64)
    return np.asarray(np.einsum("nd,npd->np", left.astype(np.float64), rows))


def lengths(rows: Floats) -> Float64s:
    """The Euclidean lengths of rows `(num_rows, dim)`, float64 of shape `(num_rows,)`."""
    return np.asarray(np.linalg.norm(rows, axis=1), np.float64)


NO_ITEM = -1  # where a list is shorter than asked for; never leaves this module's callers

_LEAST_GROUP = 8  # columns; to look at the best of fewer of them saves nothing


def unit_states(states: Floats) -> Floats:
    """States of length 1, or 0 where there is none."""
    norm = np.linalg.norm(states, axis=1, keepdims=True)
    return np.asarray(states / np.maximum(norm, np.finfo(np.float32).tiny))


def top_k(scores: Floats, k: int) -> Indices:
    """The up to `k` best columns of each row, best first; ties go to the lower index.

    Args:
        scores: `(num_rows, num_columns)`; what is -inf is in no list.
        k: length of the lists.

    Returns:
        Column numbers, int32 `(num_rows, min(k, num_columns))`, `NO_ITEM` after the end of a list.
    """
    best = _highest(scores, min(k, scores.shape[1]))
    value = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-value, axis=1, kind="stable")
    there = np.isfinite(np.take_along_axis(value, order, axis=1))
    return np.where(there, np.take_along_axis(best, order, axis=1), NO_ITEM).astype(np.int32)


def _highest(scores: Floats, k: int) -> npt.NDArray[np.intp]:
    """The `k` best columns of each row in the order of their numbers, `(num_rows, k)`; ties go to the lower index."""
    rows, columns = scores.shape
    if k >= columns:
        return np.tile(np.arange(columns), (rows, 1))
    width = math.isqrt(columns // k)
    groups = columns // width
    if width >= _LEAST_GROUP:
        # The k best are in the k groups of neighbours whose best are highest, or after the last group: a group that is
        # not among them has k groups before it whose best is higher, or as high at a lower index.
        group = _highest(scores[:, : groups * width].reshape(rows, groups, width).max(2), k)
        inside = (group[:, :, None] * width + np.arange(width)).reshape(rows, -1)
        after = np.tile(np.arange(groups * width, columns), (rows, 1))
        places = np.concatenate([inside, after], axis=1)
        best = _highest(np.take_along_axis(scores, places, axis=1), k)
        return np.take_along_axis(places, best, axis=1)
    least = np.partition(scores, columns - k, axis=1)[:, columns - k, None]
    keep = scores >= least
    tied = np.flatnonzero(keep.sum(1) > k)
    if len(tied):  # Of what ties with the last of a list, the lowest indices.
        above, level = scores[tied] > least[tied], scores[tied] == least[tied]
        keep[tied] = above | (level & (np.cumsum(level, axis=1) <= k - above.sum(1, keepdims=True)))
    return np.nonzero(keep)[1].reshape(rows, k)

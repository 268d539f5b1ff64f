"""Array types, exact products of states and top-k selection."""

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

# Damping of biases, shared by baselines, graph and scoring. Not in config.py, which imports pydantic: the workers of a
# Spark cluster need not have it.
USER_DAMPING, ITEM_DAMPING = 5.0, 10.0
BIAS_SWEEPS = 4
NO_ITEM = -1  # fills the rest of a list that is shorter than requested
_LEAST_GROUP = 8  # columns; smaller groups save no time


def pair_products(left: Floats, right: Floats, index: Ints) -> Float64s:
    """Products of each row of `left`, `(num_left, dim)`, with rows `index` of `right`, both `(num_left, num_each)`.

    Summed in float64 and, unlike a matrix product, bit-identical for any number of rows and threads and any BLAS.
    """
    # Converted before multiplication, because einsum would convert through a buffer, whose ends would split sums.
    rows = right[index].astype(np.float64)
    return np.asarray(np.einsum("nd,npd->np", left.astype(np.float64), rows))


def lengths(rows: Floats) -> Float64s:
    """Euclidean lengths of rows, float64 of shape `(num_rows,)`."""
    return np.asarray(np.linalg.norm(rows, axis=1), np.float64)


def unit_states(states: Floats) -> Floats:
    """States scaled to length 1; zeros stay zeros."""
    norm = np.linalg.norm(states, axis=1, keepdims=True)
    return np.asarray(states / np.maximum(norm, np.finfo(np.float32).tiny))


def top_k(scores: Floats, k: int) -> Indices:
    """The `k` best columns of each row, best first, then `NO_ITEM`, `(num_rows, min(k, num_columns))`.

    Ties go to the lower index and -inf is never listed.
    """
    best = _highest(scores, min(k, scores.shape[1]))
    value = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-value, axis=1, kind="stable")
    finite = np.isfinite(np.take_along_axis(value, order, axis=1))
    return np.where(finite, np.take_along_axis(best, order, axis=1), NO_ITEM).astype(np.int32)


def _highest(scores: Floats, k: int) -> npt.NDArray[np.intp]:
    """The `k` best columns of each row in ascending order, `(num_rows, k)`; ties go to the lower index."""
    rows, columns = scores.shape
    if k >= columns:
        return np.tile(np.arange(columns), (rows, 1))
    width = math.isqrt(columns // k)
    groups = columns // width
    if width >= _LEAST_GROUP:
        # The k best columns are in the k groups with the highest maxima or after the last group: for any other group
        # there are k groups whose maximum is higher, or equal at a lower index.
        group = _highest(scores[:, : groups * width].reshape(rows, groups, width).max(2), k)
        inside = (group[:, :, None] * width + np.arange(width)).reshape(rows, -1)
        after = np.tile(np.arange(groups * width, columns), (rows, 1))
        places = np.concatenate([inside, after], axis=1)
        best = _highest(np.take_along_axis(scores, places, axis=1), k)
        return np.take_along_axis(places, best, axis=1)
    least = np.partition(scores, columns - k, axis=1)[:, columns - k, None]
    keep = scores >= least
    tied = np.flatnonzero(keep.sum(1) > k)
    if len(tied):  # Of the columns that tie with the last one, keep the lowest indices.
        above, level = scores[tied] > least[tied], scores[tied] == least[tied]
        keep[tied] = above | (level & (np.cumsum(level, axis=1) <= k - above.sum(1, keepdims=True)))
    return np.nonzero(keep)[1].reshape(rows, k)

"""Products of states whose digits do not depend on what else is multiplied with them. Numpy only."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


def pair_products(left: Floats, right: Floats, index: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float64]:
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


def lengths(rows: Floats) -> npt.NDArray[np.float64]:
    """The Euclidean lengths of rows `(num_rows, dim)`, float64 of shape `(num_rows,)`."""
    return np.asarray(np.linalg.norm(rows, axis=1), np.float64)

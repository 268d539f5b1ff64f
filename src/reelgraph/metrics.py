"""How far predictions are from ratings; numpy only."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def rmse(prediction: Floats, rating: Floats) -> float:
    """Root of the mean squared error over all pairs, in the data's scale.

    Args:
        prediction: predicted ratings, shape `(num_pairs,)`.
        rating: actual ratings, shape `(num_pairs,)`.

    Returns:
        The error; the denominator is the number of pairs, each counting once. NaN when there are none.
    """
    error = prediction.astype(np.float64) - rating
    return float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")


def mae(prediction: Floats, rating: Floats) -> float:
    """Mean absolute error over all pairs, in the data's scale.

    Args:
        prediction: predicted ratings, shape `(num_pairs,)`.
        rating: actual ratings, shape `(num_pairs,)`.

    Returns:
        The error; the denominator is the number of pairs, each counting once. NaN when there are none.
    """
    error = prediction.astype(np.float64) - rating
    return float(np.mean(np.abs(error))) if len(error) else float("nan")

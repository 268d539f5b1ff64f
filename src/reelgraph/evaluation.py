"""What an evaluation reports."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reelgraph.metrics import Floats, mae, rmse


@dataclass(frozen=True)
class EvaluationReport:
    """Errors over all test pairs, in the data's scale.

    Attributes:
        pairs: number of pairs, known or not.
        rmse, mae: over all of them.
        unknown_users, unknown_movies: how many distinct users and movies of the pairs have no training rating.
        unknown_pairs: how many pairs have such a user or such a movie; they are predicted by what is known.
    """

    pairs: int
    rmse: float
    mae: float
    unknown_users: int
    unknown_movies: int
    unknown_pairs: int

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def evaluate_predictions(
    prediction: Floats,
    rating: Floats,
    users: npt.NDArray[Any],
    movies: npt.NDArray[Any],
    user_known: npt.NDArray[np.bool_],
    movie_known: npt.NDArray[np.bool_],
) -> EvaluationReport:
    """Judge predictions of pairs; every array is of shape `(num_pairs,)`.

    Args:
        prediction: predicted ratings.
        rating: actual ratings.
        users: the pairs' users, ids or indices.
        movies: the pairs' movies, ids or indices.
        user_known: whether the user has a training rating.
        movie_known: whether the movie has a training rating.
    """
    return EvaluationReport(
        pairs=len(rating),
        rmse=rmse(prediction, rating),
        mae=mae(prediction, rating),
        unknown_users=len(np.unique(users[~user_known])),
        unknown_movies=len(np.unique(movies[~movie_known])),
        unknown_pairs=int((~user_known | ~movie_known).sum()),
    )

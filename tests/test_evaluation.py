"""Reports against counting by hand."""

import numpy as np
import pytest

from reelgraph.evaluation import EvaluationReport, evaluate_predictions


def report(prediction: list[float], rating: list[float], strangers: tuple[str, str] = ("b", "y")) -> EvaluationReport:
    users, movies = np.asarray(["a", "b", "b", "c", "a"]), np.asarray(["x", "x", "y", "y", "z"])
    known = users != strangers[0], movies != strangers[1]
    return evaluate_predictions(np.asarray(prediction), np.asarray(rating), users, movies, *known)


def test_pairs_of_strangers_count_among_the_errors() -> None:
    found = report([0, 0, 0, 0, 0], [1, 1, 1, 3, 2])
    assert found.pairs == 5
    assert found.rmse == pytest.approx((16 / 5) ** 0.5)
    assert found.mae == pytest.approx(8 / 5)


def test_strangers_count_once_and_their_pairs_always() -> None:
    found = report([0] * 5, [1] * 5)
    assert (found.unknown_users, found.unknown_movies, found.unknown_pairs) == (1, 1, 3)
    found = report([0] * 5, [1] * 5, strangers=("nobody", "nothing"))
    assert (found.unknown_users, found.unknown_movies, found.unknown_pairs) == (0, 0, 0)


def test_json_holds_every_number() -> None:
    assert report([2] * 5, [1] * 5).to_json() == {
        "pairs": 5,
        "rmse": 1.0,
        "mae": 1.0,
        "unknown_users": 1,
        "unknown_movies": 1,
        "unknown_pairs": 3,
    }

"""Evaluation reports, checked by hand."""

import json
from typing import Any

import numpy as np
import pytest

from reelgraph.metrics.ratings import EvaluationReport, RatedPairs, evaluate_predictions


def report(
    prediction: list[float], rating: list[float], strangers: tuple[str, str] = ("b", "y"), **more: Any
) -> EvaluationReport:
    users, movies = np.asarray(["a", "b", "b", "c", "a"]), np.asarray(["x", "x", "y", "y", "z"])
    counts = np.where(users == strangers[0], 0, 7), np.where(movies == strangers[1], 0, 60)
    return evaluate_predictions(
        RatedPairs(users, movies, np.asarray(rating, float), *counts), np.asarray(prediction), **more
    )


def test_unknown_users_and_movies_count() -> None:
    found = report([0, 0, 0, 0, 0], [1, 1, 1, 3, 2])
    assert found.pairs == 5
    assert found.rmse == pytest.approx((16 / 5) ** 0.5)
    assert found.mae == pytest.approx(8 / 5)


def test_unknown_ids_are_counted_once() -> None:
    found = report([0] * 5, [1] * 5)
    assert (found.unknown_users, found.unknown_movies, found.unknown_pairs) == (1, 1, 3)
    found = report([0] * 5, [1] * 5, strangers=("nobody", "nothing"))
    assert (found.unknown_users, found.unknown_movies, found.unknown_pairs) == (0, 0, 0)


def test_groups_intervals_and_untimed_errors() -> None:
    found = report(
        [2, 3, 2, 2, 5],
        [1, 1, 2, 3, 5],
        untimed=np.asarray([1, 1, 2, 3, 4]),
        interval=(0.9, np.asarray([1, 2, 2, 3, 4]), np.asarray([3, 4, 3, 4, 5])),
        years=np.asarray([1994, 1994, 2001, 2001, np.nan]),
        genres={"Drama": np.asarray([1, 1, 0, 0, 0], bool), "War": np.zeros(5, bool)},
    )
    assert found.rmse == pytest.approx((6 / 5) ** 0.5)
    assert found.rmse_untimed == pytest.approx((1 / 5) ** 0.5)
    assert found.mae_untimed == 1 / 5
    assert found.interval == {"level": 0.9, "coverage": 0.8, "mean_width": pytest.approx(7 / 5)}
    pairs = {name: {group.name: group.pairs for group in groups} for name, groups in found.groups.items()}
    assert pairs == {
        "user_ratings": {"0": 2, "5-9": 3},
        "movie_ratings": {"0": 2, "50+": 3},
        "rating": {"1": 2, "2": 1, "3": 1, "5": 1},
        "genre": {"Drama": 2},
        "decade": {"1990s": 2, "2000s": 2},
    }
    drama = found.groups["genre"][0]
    assert (drama.predicted, drama.actual, drama.mae) == (2.5, 1, 1.5)
    assert sum(group.pairs for group in found.calibration) == 5


def test_json() -> None:
    found = json.loads(json.dumps(report([2] * 5, [1] * 5).to_json()))
    assert {
        "pairs": 5,
        "rmse": 1.0,
        "mae": 1.0,
        "unknown_users": 1,
        "unknown_movies": 1,
        "unknown_pairs": 3,
    }.items() <= (found.items())
    assert found["groups"]["rating"] == [
        {"name": "1", "pairs": 5, "rmse": 1.0, "mae": 1.0, "predicted": 2.0, "actual": 1.0}
    ]
    assert found["interval"] is found["rmse_untimed"] is None

"""Metrics, baselines and reports against loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import noisy

from reelgraph.baselines import BIAS_SWEEPS, ITEM_DAMPING, USER_DAMPING, baselines
from reelgraph.evaluation import evaluate_predictions
from reelgraph.metrics import mae, rmse

STARS = st.floats(-100, 100, width=32)


@given(st.lists(st.tuples(STARS, STARS), min_size=1, max_size=40))
def test_rmse_and_mae_equal_the_loops(pairs: list[tuple[float, float]]) -> None:
    prediction, rating = (np.asarray(column) for column in zip(*pairs, strict=True))
    assert rmse(prediction, rating) == pytest.approx(math.sqrt(sum((p - r) ** 2 for p, r in pairs) / len(pairs)))
    assert mae(prediction, rating) == pytest.approx(sum(abs(p - r) for p, r in pairs) / len(pairs))


def test_no_pairs_have_no_error() -> None:
    assert math.isnan(rmse(np.empty(0), np.empty(0)))
    assert math.isnan(mae(np.empty(0), np.empty(0)))


def test_baselines_equal_the_loops() -> None:
    train = noisy()
    rows = list(zip(train.user_index.tolist(), train.item_index.tolist(), train.rating.tolist(), strict=True))
    mean_line, popularity_line, bias_line = baselines(train, 30, 25)
    mean = sum(r for _, _, r in rows) / len(rows)
    np.testing.assert_allclose(mean_line.predict(train), mean)
    counts = [sum(i == item for _, i, _ in rows) for item in range(25)]
    slope, intercept = np.polyfit([math.log1p(counts[i]) for _, i, _ in rows], [r for _, _, r in rows], 1)
    expected = [intercept + slope * math.log1p(counts[i]) for _, i, _ in rows]
    np.testing.assert_allclose(popularity_line.predict(train), expected, atol=1e-8)
    user_bias, item_bias = [0.0] * 30, [0.0] * 25
    for _ in range(BIAS_SWEEPS):
        for item in range(25):
            left = [r - mean - user_bias[u] for u, i, r in rows if i == item]
            item_bias[item] = sum(left) / (len(left) + ITEM_DAMPING)
        for user in range(30):
            left = [r - mean - item_bias[i] for u, i, r in rows if u == user]
            user_bias[user] = sum(left) / (len(left) + USER_DAMPING)
    np.testing.assert_allclose(bias_line.predict(train), [mean + user_bias[u] + item_bias[i] for u, i, _ in rows])
    assert (bias_line.user[0], bias_line.item[0]) == (0, 0), "nothing is known of nodes without ratings"


def test_the_report_counts_strangers_once_and_pairs_always() -> None:
    users, movies = np.asarray(["a", "b", "b", "c"]), np.asarray(["x", "x", "y", "y"])
    known_user, known_movie = users != "b", movies != "y"
    report = evaluate_predictions(np.zeros(4), np.asarray([1.0, 1, 1, 3]), users, movies, known_user, known_movie)
    assert (report.pairs, report.unknown_users, report.unknown_movies, report.unknown_pairs) == (4, 1, 1, 3)
    assert report.rmse == pytest.approx(math.sqrt(12 / 4))
    assert report.to_json()["mae"] == pytest.approx(6 / 4)

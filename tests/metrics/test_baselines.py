"""Baselines against loops."""

import math

import numpy as np
import pytest

from reelgraph.arrays import BIAS_SWEEPS, ITEM_DAMPING, USER_DAMPING
from reelgraph.data.dataset import Interactions
from reelgraph.metrics.baselines import Baseline, baselines
from tests.support.worlds import interactions, noisy

USERS, ITEMS = 30, 25


def by_name(train: Interactions) -> dict[str, Baseline]:
    return {line.name: line for line in baselines(train, USERS, ITEMS)}


def rows_of(train: Interactions) -> list[tuple[int, int, float]]:
    return list(zip(train.user_index.tolist(), train.item_index.tolist(), train.rating.tolist(), strict=True))


def test_mean() -> None:
    train = noisy()
    mean = sum(r for _, _, r in rows_of(train)) / len(train)
    np.testing.assert_allclose(by_name(train)["mean"].predict(train), mean)


def test_popularity_is_the_least_squares_line() -> None:
    train = noisy()
    rows = rows_of(train)
    count = [sum(i == item for _, i, _ in rows) for item in range(ITEMS)]
    slope, intercept = np.polyfit([math.log1p(count[i]) for _, i, _ in rows], [r for _, _, r in rows], 1)
    line = by_name(train)["popularity"]
    assert abs(slope) > 0.01, "a flat line would prove nothing"
    np.testing.assert_allclose(line.mean + line.item, intercept + slope * np.log1p(count), atol=1e-8)


def test_bias_equals_damped_means_in_loops() -> None:
    train = noisy()
    rows = rows_of(train)
    mean = sum(r for _, _, r in rows) / len(rows)
    user_bias, item_bias = [0.0] * USERS, [0.0] * ITEMS
    for _ in range(BIAS_SWEEPS):
        for item in range(ITEMS):
            left = [r - mean - user_bias[u] for u, i, r in rows if i == item]
            item_bias[item] = sum(left) / (len(left) + ITEM_DAMPING)
        for user in range(USERS):
            left = [r - mean - item_bias[i] for u, i, r in rows if u == user]
            user_bias[user] = sum(left) / (len(left) + USER_DAMPING)
    line = by_name(train)["bias"]
    np.testing.assert_allclose(line.user, user_bias, atol=1e-12)
    np.testing.assert_allclose(line.item, item_bias, atol=1e-12)
    np.testing.assert_allclose(line.predict(train), [mean + user_bias[u] + item_bias[i] for u, i, _ in rows])


def test_biases_without_ratings_are_zero() -> None:
    line = by_name(noisy())["bias"]
    assert (line.user[0], line.item[0]) == (0, 0)
    stranger = interactions([0], [0], [3])
    assert line.predict(stranger) == pytest.approx(line.mean)


def test_popularity_with_equal_counts_is_the_mean() -> None:
    train = interactions([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 4, 2])
    popularity = next(line for line in baselines(train, 2, 2) if line.name == "popularity")
    np.testing.assert_allclose(popularity.predict(train), 3.0)

"""Metrics of predictions and lists that are given as tables."""

import math

import pandas as pd
import pytest

import reelgraph as rg
from reelgraph.errors import DataError

RATINGS = pd.DataFrame({
    "userId": [1, 1, 1, 2, 2, 3], "movieId": ["a", "b", "c", "a", "d", "a"], "rating": [5, 2, 4, 4, 5, 1],
})  # fmt: skip
LISTS = pd.DataFrame({
    "userId": [1, 1, 1, 2, 2], "movieId": ["c", "x", "a", "y", "a"], "rank": [3, 2, 1, 1, 2],
})  # fmt: skip
# User 1 likes a and c, listed 1st and 3rd; user 2 likes a and d, of which a is listed 2nd; user 3 likes nothing.
BEST = 1 + 1 / math.log2(3)


def test_errors_are_those_of_the_joined_pairs() -> None:
    predictions = RATINGS.assign(prediction=RATINGS["rating"] + [1, -1, 0, 2, 0, 0], userId=["1 ", 1, 1, 2, "2", 3])
    shuffled = predictions.sample(frac=1, random_state=0)
    more = pd.concat([shuffled, pd.DataFrame({"userId": ["9"], "movieId": ["z"], "prediction": [3.0]})])
    assert rg.metrics.rmse(more, RATINGS) == pytest.approx(1)
    assert rg.metrics.mae(more, RATINGS) == pytest.approx(4 / 6)
    as_tuples = [tuple(row) for row in predictions[["userId", "movieId", "prediction"]].itertuples(index=False)]
    assert rg.metrics.rmse(as_tuples, RATINGS) == pytest.approx(1)


def test_a_rating_without_a_prediction_is_refused() -> None:
    predictions = RATINGS.rename(columns={"rating": "prediction"})[1:]
    with pytest.raises(DataError, match="found none for 1, such as user 1, movie a"):
        rg.metrics.rmse(predictions, RATINGS)


def test_lists_are_measured_over_the_users_who_like_something() -> None:
    by_hand = {
        "ndcg": ((1 + 1 / 2) / BEST + (1 / math.log2(3)) / BEST) / 2,
        "recall": (2 / 2 + 1 / 2) / 2,
        "precision": (2 / 10 + 1 / 10) / 2,
        "average_precision": ((1 + 2 / 3) / 2 + (1 / 2) / 2) / 2,
        "reciprocal_rank": (1 + 1 / 2) / 2,
        "hit_rate": 1.0,
    }
    for name, value in by_hand.items():
        assert getattr(rg.metrics, name)(LISTS, RATINGS) == pytest.approx(value), name
    in_order = LISTS.sort_values("rank").drop(columns="rank")
    report = rg.metrics.list_report(in_order, RATINGS)
    assert report.users == 2
    assert report.ndcg == pytest.approx(by_hand["ndcg"])
    assert report.coverage == pytest.approx(4 / 6)


def test_the_length_of_lists_and_what_is_liked_are_options() -> None:
    assert rg.metrics.hit_rate(LISTS, RATINGS, k=1) == 0.5
    assert rg.metrics.recall(LISTS, RATINGS, k=2) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert rg.metrics.recall(LISTS, RATINGS, liked=1) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert math.isnan(rg.metrics.ndcg(LISTS, RATINGS, liked=6))


def test_the_metrics_list_themselves() -> None:
    assert {"rmse", "mae", "ndcg", "recall", "precision", "hit_rate"} <= set(dir(rg.metrics))
    with pytest.raises(AttributeError, match="no attribute 'rsme'"):
        _ = rg.metrics.rsme

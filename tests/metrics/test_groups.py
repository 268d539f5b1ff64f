"""Errors by group, checked by hand."""

import numpy as np
import pytest

from reelgraph.metrics.ratings import (
    Group,
    RatedPairs,
    by_group,
    calibration_groups,
    decade_groups,
    evaluate_predictions,
    history_groups,
    value_groups,
)  # fmt: skip


def test_errors_of_overlapping_groups() -> None:
    prediction, rating = np.array([3.0, 4.0, 1.0, 2.0]), np.array([4.0, 4.0, 3.0, 5.0])
    masks = [
        ("first", np.array([1, 1, 0, 0], bool)),
        ("none", np.zeros(4, bool)),
        ("last", np.array([0, 0, 0, 1], bool)),
    ]
    first, last = by_group(prediction, rating, masks)
    assert first == Group("first", 2, 0.5**0.5, 0.5, 3.5, 4.0)
    assert last == Group("last", 1, 3.0, 3.0, 2.0, 5.0)


def test_means_of_groups_are_float64() -> None:
    whole = np.array([2**24, 1, 1, 1], np.float32)
    (group,) = by_group(whole, whole, [("all", np.ones(4, bool))])
    assert group.predicted == group.actual == (2**24 + 3) / 4


def test_groups_by_number_of_ratings() -> None:
    counts = np.array([0, 1, 2, 3, 4, 5, 9, 10, 19, 20, 49, 50, 5000])
    groups = {name: counts[mask].tolist() for name, mask in history_groups(counts)}
    assert groups == {
        "0": [0], "1-2": [1, 2], "3-4": [3, 4], "5-9": [5, 9], "10-19": [10, 19], "20-49": [20, 49], "50+": [50, 5000],
    }  # fmt: skip


def test_groups_by_rating() -> None:
    stars = np.array([1.0, 5.0, 4.5, 1.0])
    assert {name: int(mask.sum()) for name, mask in value_groups(stars)} == {"1": 2, "4.5": 1, "5": 1}
    percent = np.arange(0, 101, dtype=float)
    bands = list(value_groups(percent))
    assert [name for name, _ in bands][::9] == ["0-10", "90-100"]
    assert sum(int(mask.sum()) for _, mask in bands) == 101


def test_groups_by_decade() -> None:
    years = np.array([1999.0, 1990.0, np.nan, 2003.0])
    assert {name: int(mask.sum()) for name, mask in decade_groups(years)} == {"1990s": 2, "2000s": 1}


@pytest.mark.parametrize("rows", [0, 1, 7, 1000])
def test_every_prediction_is_in_one_calibration_group(rows: int) -> None:
    prediction = np.round(np.random.default_rng(0).normal(3, 1, rows), 1)
    masks = [mask for _, mask in calibration_groups(prediction)]
    counted = np.sum(masks, axis=0) if masks else np.zeros(0)
    assert rows <= 1 or (counted == 1).all()


def test_many_values_fall_into_ten_bands_of_equal_width() -> None:
    percent = np.arange(0, 101, dtype=float)
    bands = {name: percent[mask].tolist() for name, mask in value_groups(percent)}
    expected = {f"{low}-{low + 10}": list(range(low, low + 10)) for low in range(0, 100, 10)}
    expected["90-100"].append(100)
    assert bands == expected
    ten = np.arange(1.0, 11.0)
    assert [name for name, _ in value_groups(ten)] == [f"{value:g}" for value in ten]


def test_calibration_groups_are_tenths_of_the_predictions() -> None:
    prediction = np.random.default_rng(0).permutation(1000) / 1000
    groups = list(calibration_groups(prediction))
    assert [int(mask.sum()) for _, mask in groups] == [100] * 10
    assert [float(prediction[mask].min()) for _, mask in groups] == [place / 10 for place in range(10)]


def test_pairs_that_the_model_has_seen_are_reported() -> None:
    ids, one = np.array(["a"]), np.array([1])
    pairs = RatedPairs(ids, ids, np.array([4.0]), one, one)
    plain = evaluate_predictions(pairs, np.array([3.0]))
    warned = evaluate_predictions(pairs, np.array([3.0]), seen_pairs=1)
    assert (plain.seen_pairs, plain.warning) == (0, None)
    assert warned.seen_pairs == 1
    assert "1 of 1 test ratings" in str(warned.warning)

"""Errors by group, checked by hand."""

import numpy as np
import pytest

from reelgraph.metrics.ratings import Group, by_group, calibration_groups, decade_groups, history_groups, value_groups


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

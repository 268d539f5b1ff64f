"""Conformal intervals: coverage, groups and errors."""

import numpy as np
import pytest

from reelgraph.errors import ConfigError
from reelgraph.scoring.intervals import LEVELS, MIN_PAIRS, Intervals, calibrate, read_intervals

SCALE = (-100.0, 100.0)


def draw(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Skewed errors with heavy tails, smaller for users and movies with more ratings."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 200, rows), rng.integers(0, 200, rows)
    spread = 1 + 2 * (user < 10) + 1 * (item < 20)
    return spread * (rng.standard_t(4, rows) + 0.3), user, item


@pytest.mark.parametrize("level", LEVELS)
def test_intervals_have_the_requested_coverage(level: float) -> None:
    intervals = calibrate(*draw(20_000, 0))
    assert intervals is not None
    error, user, item = draw(20_000, 1)
    low, high = intervals.around(np.zeros(len(error)), user, item, level, SCALE)
    inside = (low <= error) & (error <= high)
    assert inside.mean() == pytest.approx(level, abs=0.015)
    few = user < 10
    assert inside[few].mean() == pytest.approx(level, abs=0.05), "also for users with a short history"
    assert (high - low)[few].mean() > 1.5 * (high - low)[~few].mean()


def test_small_groups_use_the_quantile_of_all_errors() -> None:
    error = np.arange(1.0, 10.0)
    intervals = calibrate(error, np.arange(9), np.arange(9))
    assert intervals is not None
    low, high = intervals.around(np.zeros(1), np.array([5]), np.array([500]), 0.5, SCALE)
    assert (low[0], high[0]) == (-5, 5)
    low, high = intervals.around(np.full(1, 4.0), np.array([5]), np.array([0]), 0.95, (1.0, 5.0))
    assert (low[0], high[0]) == (1, 5), "no interval leaves the scale"


@pytest.mark.parametrize(("pairs", "half"), [(MIN_PAIRS - 1, 90), (MIN_PAIRS, 51)])
def test_a_group_with_enough_errors_has_a_quantile_of_its_own(pairs: int, half: float) -> None:
    error = np.concatenate([np.arange(1.0, pairs + 1), np.full(1000, -90.0)])
    few = np.arange(len(error)) < pairs
    intervals = calibrate(error, np.where(few, 5, 50), np.where(few, 500, 50))
    assert intervals is not None
    low, high = intervals.around(np.zeros(1), np.array([5]), np.array([500]), 0.5, SCALE)
    assert (low[0], high[0]) == (-half, half), "the 51st of 100: 101 / 2, rounded up"


def test_intervals_are_those_of_the_pairs_group() -> None:
    intervals = Intervals(np.arange(64.0).reshape(4, 4, 4))
    users, items = np.array([0, 9, 10, 29, 30, 99, 100, 101]), np.array([0, 4, 5, 19, 20, 99, 100, 101])
    _, high = intervals.around(np.zeros(8), users, items, 0.8, SCALE)
    assert high.tolist() == [16, 16, 21, 21, 26, 26, 31, 31]
    _, high = intervals.around(np.zeros(8), users, items[::-1], 0.95, SCALE)
    assert high.tolist() == [51, 51, 54, 54, 57, 57, 60, 60]


def test_no_errors_give_no_intervals() -> None:
    assert calibrate(np.empty(0), np.empty(0, int), np.empty(0, int)) is None


def test_other_levels_are_refused() -> None:
    intervals = calibrate(*draw(1000, 0))
    assert intervals is not None
    with pytest.raises(ConfigError, match=r"one of 0.5, 0.8, 0.9, 0.95, found 0.7"):
        intervals.around(np.zeros(1), np.zeros(1, int), np.zeros(1, int), 0.7, SCALE)


def test_manifest_entries() -> None:
    intervals = calibrate(*draw(1000, 0))
    assert intervals is not None
    again = read_intervals(intervals.half_width.tolist())
    assert isinstance(again, Intervals)
    assert (again.half_width == intervals.half_width).all()
    assert read_intervals(None) is None

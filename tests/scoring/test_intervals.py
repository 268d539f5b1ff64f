"""Conformal intervals: coverage, groups and errors."""

import numpy as np
import pytest

from reelgraph.errors import ConfigError
from reelgraph.scoring.intervals import LEVELS, Intervals, calibrate, read_intervals

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

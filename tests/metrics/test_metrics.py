"""Metrics against loops."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelgraph.metrics.ratings import mae, rmse

STARS = st.floats(-100, 100, width=32)


@given(st.lists(st.tuples(STARS, STARS), min_size=1, max_size=40))
def test_rmse_and_mae_equal_the_loops(pairs: list[tuple[float, float]]) -> None:
    prediction, rating = (np.asarray(column) for column in zip(*pairs, strict=True))
    assert rmse(prediction, rating) == pytest.approx(math.sqrt(sum((p - r) ** 2 for p, r in pairs) / len(pairs)))
    assert mae(prediction, rating) == pytest.approx(sum(abs(p - r) for p, r in pairs) / len(pairs))


def test_no_pairs_give_nan() -> None:
    with warnings.catch_warnings(action="error"):
        assert math.isnan(rmse(np.empty(0), np.empty(0)))
        assert math.isnan(mae(np.empty(0), np.empty(0)))

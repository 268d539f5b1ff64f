"""Times of every usual form as seconds since 1970."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelgraph.data.dataset import NO_TIME
from reelgraph.data.times import UNITS, count_units, parse_times, read_seconds, seconds_of, unit_of
from reelgraph.errors import DataError

SECONDS = [1_500_021_190, 1_599_310_656, 1_262_304_000]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", [pa.string(), pa.int64(), pa.float64()])
def test_a_column_of_numbers_has_the_unit_of_most_of_them(unit: str, kind: pa.DataType) -> None:
    numbers = [second * UNITS[unit] for second in SECONDS]
    column = pa.array([*numbers, None, 5 * UNITS[unit]]).cast(pa.int64()).cast(kind, safe=False)
    assert read_seconds(column).tolist() == [*SECONDS, NO_TIME, 5], "small numbers have the unit of the others"
    assert unit_of(count_units(parse_times(column).number)) == unit


def test_numbers_of_another_unit_are_missing() -> None:
    assert read_seconds(pa.array([*SECONDS, SECONDS[0] * 1000])).tolist() == [*SECONDS, NO_TIME]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2012-06-05", "2012-06-05T00:00:00"), ("2012-06-05 10:20", "2012-06-05T10:20:00"),
        ("2012-06-05T10:20:30", "2012-06-05T10:20:30"), ("2012-06-05 10:20:30.999", "2012-06-05T10:20:30"),
        ("2012-06-05T10:20:30Z", "2012-06-05T10:20:30"), ("2012-06-05 10:20:30 UTC", "2012-06-05T10:20:30"),
        ("2012-06-05T10:20:30+02:00", "2012-06-05T08:20:30"), ("2012-06-05T10:20-0530", "2012-06-05T15:50:00"),
        ("2012-06-05 00:10:00+01", "2012-06-04T23:10:00"), ("2012/06/05", "2012-06-05T00:00:00"),
        (" 2012-06-05 ", "2012-06-05T00:00:00"), ("2012-02-29", "2012-02-29T00:00:00"),
        ("1969-12-31 23:59:58.5", "1969-12-31T23:59:58"),
    ],
)  # fmt: skip
def test_dates_may_have_a_zone_and_need_no_seconds(cell: str, expected: str) -> None:
    moment = int(datetime.fromisoformat(expected).replace(tzinfo=UTC).timestamp())
    assert read_seconds(pa.array([cell])).tolist() == [moment]
    assert read_seconds(pa.array(["x", cell, "2000-01-01"])).tolist() == [NO_TIME, moment, 946_684_800]


@pytest.mark.parametrize(
    "cell",
    ["", "nan", "soon", "2012-13-05", "2013-02-29", "2012-06-05 24:00:00", "2012-06-05 10:60", "1e99", "5/6/2012"],
)
def test_other_text_is_missing(cell: str) -> None:
    assert read_seconds(pa.array([cell, "10"])).tolist() == [NO_TIME, 10]


@settings(deadline=None)
@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)), st.integers(-840, 840))
def test_any_date_with_an_offset_is_that_moment(moment: datetime, minutes: int) -> None:
    local = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    assert read_seconds(pa.array([local.isoformat(), "?"])).tolist() == [int(local.timestamp()), NO_TIME]


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("ns", "Asia/Tokyo"), pa.date32()])
def test_timestamps_of_arrow_are_taken_as_they_are(kind: pa.DataType) -> None:
    column = pa.array([datetime(2018, 1, 1, tzinfo=UTC), None]).cast(kind)
    assert read_seconds(column).tolist() == [1_514_764_800, NO_TIME]


@pytest.mark.parametrize(
    "value",
    [
        1_514_764_800, 1_514_764_800_000, 1_514_764_800_000_000.0, np.int64(1_514_764_800), "1514764800", "2018-01-01",
        date(2018, 1, 1), datetime(2018, 1, 1), datetime(2018, 1, 1, 9, tzinfo=timezone(timedelta(hours=9))),
        pd.Timestamp("2018-01-01"), pd.Timestamp("2018-01-01 09:00", tz="Asia/Tokyo"), np.datetime64("2018-01-01"),
        np.datetime64(1_514_764_800_000_000_000, "ns"),
    ],
)  # fmt: skip
def test_times_in_python_follow_the_same_rule(value: Any) -> None:
    assert seconds_of([value], 1).tolist() == [1_514_764_800]


def test_columns_of_times_in_python() -> None:
    expected = [1_514_764_800, NO_TIME]
    series = pd.Series([pd.Timestamp("2018-01-01"), pd.NaT])
    for values in (
        series,
        series.to_numpy(),
        pa.array(series),
        np.array([1_514_764_800, np.nan]),
        [1_514_764_800, None],
    ):
        assert seconds_of(values, 2).tolist() == expected
    with pytest.raises(DataError, match="one for each of 2 pairs, found 1"):
        seconds_of([1], 2)
    with pytest.raises(DataError, match="'soon' at place 1"):
        seconds_of([1, "soon"], 2)


def test_one_time_is_no_list_of_them() -> None:
    single: Any = 1_500_021_190
    with pytest.raises(DataError, match="expected a list of times"):
        seconds_of(single, 1)

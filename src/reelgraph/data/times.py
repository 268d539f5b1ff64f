"""Times of rating: text, numbers and timestamps as seconds since 1970."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from reelgraph.arrays import Int64s
from reelgraph.data.dataset import NO_TIME
from reelgraph.data.vocabulary import canonical_id
from reelgraph.errors import DataError

UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
LATEST = 10**11  # seconds; the year 5138, past which a number must have a smaller unit
_WHOLE = "^(0|-?[1-9][0-9]{0,17}|-?[1-8][0-9]{18})$"  # fits into 64 bits and comes back as it is written
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"

_DATE = (
    r"^(?P<year>[0-9]{4})[-/](?P<month>[0-9]{2})[-/](?P<day>[0-9]{2})"
    r"(?:(?:[Tt]| +)(?P<hour>[0-9]{2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,][0-9]+)?)?)?"
    r" *(?P<zone>[Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?)?$"
)


class Times(NamedTuple):
    """A column of times, all `(num_rows,)`; a cell without a time is null in all three.

    Attributes:
        number: numbers in the unit of the column, int64; null where the cell is not a number.
        moment: seconds since 1970 of dates, int64; null where the cell is not a date.
        time_text: the cell as text, null where it is a plain whole number or a timestamp.
    """

    number: pa.Array
    moment: pa.Array
    time_text: pa.Array


def parse_times(column: pa.Array) -> Times:
    """Read a column of integers, floats, timestamps or text."""
    kind, count = column.type, len(column)
    no_number, no_text = pa.nulls(count, pa.int64()), pa.nulls(count, pa.string())
    if pa.types.is_null(kind):
        return Times(no_number, no_number, no_text)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Times(no_number, _seconds_of_timestamps(column), no_text)
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return Times(pc.cast(column, pa.int64()), no_number, no_text)
    text = pc.cast(column, pa.string())
    whole = pc.fill_null(pc.match_substring_regex(text, _WHOLE), False)
    number = pc.cast(pc.if_else(whole, text, None), pa.int64())
    rest = pc.and_(pc.invert(whole), pc.is_valid(text))
    if not pc.any(rest).as_py():
        return Times(number, no_number, no_text)
    cells = pc.utf8_trim_whitespace(text.filter(rest))
    number = pc.replace_with_mask(number, rest, _rounded_numbers(cells))
    moment = pc.replace_with_mask(no_number, rest, _seconds_of_dates(cells))
    return Times(number, moment, pc.if_else(rest, text, None))


def _seconds_of_timestamps(column: pa.Array) -> pa.Array:
    # Flooring first: a cast would refuse fractions of seconds or truncate them towards 1970.
    times = column if pa.types.is_timestamp(column.type) else pc.cast(column, pa.timestamp("ms"))
    seconds = pc.cast(pc.floor_temporal(times, unit="second"), pa.timestamp("s", times.type.tz))
    return pc.cast(seconds, pa.int64())


def _rounded_numbers(cells: pa.Array) -> pa.Array:
    """Numbers with a fraction, an exponent or blanks, rounded down."""
    is_number = pc.match_substring_regex(cells, _NUMBER)
    floats = np.asarray([float(cell) for cell in cells.filter(is_number).to_pylist()])
    fits = np.abs(floats) < 9e18
    whole = np.floor(np.where(fits, floats, 0)).astype(np.int64)
    numbers = pa.array(whole, mask=~fits) if len(whole) else pa.nulls(0, pa.int64())
    return pc.replace_with_mask(pa.nulls(len(cells), pa.int64()), is_number, numbers)


def _seconds_of_dates(cells: pa.Array) -> pa.Array:
    """Dates as in ISO 8601, with or without time of day, seconds and zone; without a zone in UTC."""
    try:
        return pc.cast(pc.cast(cells, pa.timestamp("s")), pa.int64())  # fast, but takes no zones and fractions
    except pa.ArrowInvalid:
        parts = pc.extract_regex(cells, _DATE)

    def part(name: str) -> Int64s:
        texts = pc.struct_field(parts, name)
        digits = pc.if_else(pc.equal(texts, ""), "0", texts)
        return np.asarray(pc.fill_null(pc.cast(digits, pa.int64()), 0).to_numpy(zero_copy_only=False), np.int64)

    year, month, day, hour, minute, second = map(part, ("year", "month", "day", "hour", "minute", "second"))
    zones = pc.fill_null(pc.struct_field(parts, "zone"), "").dictionary_encode()
    offset = np.asarray([_offset(zone) for zone in zones.dictionary.to_pylist()], np.int64)[zones.indices.to_numpy()]
    is_month = (month >= 1) & (month <= 12)
    months = ((year - 1970) * 12 + np.where(is_month, month - 1, 0)).astype("datetime64[M]")
    days_in_month = ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64)
    days = months.astype("datetime64[D]").astype(np.int64) + day - 1
    valid = is_month & (day >= 1) & (day <= days_in_month) & (hour < 24) & (minute < 60) & (second < 60)
    valid &= pc.is_valid(parts).to_numpy(zero_copy_only=False) & (np.abs(offset) < 86_400)
    return pa.array(days * 86_400 + hour * 3600 + minute * 60 + second - offset, mask=~valid)


def _offset(zone: str) -> int:
    """Seconds east of Greenwich, such as 7200 of "+02:00"."""
    if zone[:1] not in {"+", "-"}:
        return 0
    seconds = int(zone[1:3]) * 3600 + int(zone[3:].removeprefix(":") or 0) * 60
    return seconds if zone[0] == "+" else -seconds


def count_units(number: pa.Array) -> Int64s:
    """How many numbers have the size that times of today have in each of `UNITS`, int64 `(4,)`."""
    sizes = np.abs(number.drop_null().to_numpy())
    edges = np.asarray([LATEST * unit for unit in UNITS.values()][:-1], np.int64)
    return np.bincount(np.searchsorted(edges, sizes[sizes != 0], side="left"), minlength=len(UNITS)).astype(np.int64)


def unit_of(counts: Sequence[int] | npt.NDArray[Any]) -> str | None:
    """The unit of a column: that of most of its numbers; None without numbers."""
    return list(UNITS)[int(np.argmax(counts))] if sum(counts) else None


def read_seconds(column: pa.Array) -> Int64s:
    """A column of times as seconds since 1970, int64 with `NO_TIME` for cells that have none.

    The numbers of a column are in one unit: seconds, milliseconds, microseconds or nanoseconds, as most of them are.
    """
    times = parse_times(column)
    unit = UNITS[unit_of(count_units(times.number)) or "seconds"]
    number = times.number.fill_null(0).to_numpy() // unit
    known = times.number.is_valid().to_numpy(zero_copy_only=False) & (np.abs(number) < LATEST)
    moment = times.moment.fill_null(NO_TIME).to_numpy()
    return np.where(moment != NO_TIME, moment, np.where(known, number, NO_TIME))


def seconds_of(timestamps: Iterable[Any], count: int) -> Int64s:
    """Times given in Python as seconds since 1970, int64 with `NO_TIME` for None, NaN and NaT.

    Args:
        timestamps: numbers in one unit (see `read_seconds`), `datetime`s, dates, text, or values of numpy, pandas or
            Arrow.
        count: the number expected.
    """
    try:
        values = timestamps.to_pylist() if isinstance(timestamps, pa.Array | pa.ChunkedArray) else list(timestamps)
    except TypeError:
        raise DataError(f"timestamps: expected a list of times, found {timestamps!r}", "put it into a list") from None
    if len(values) != count:
        raise DataError(
            f"timestamps: expected one for each of {count:,} pairs, found {len(values):,}", "use None for no time"
        )
    cells = [_plain_time(value) for value in values]
    seconds = read_seconds(pa.array(cells, pa.string()))
    unread = next((place for place, cell in enumerate(cells) if cell is not None and seconds[place] == NO_TIME), None)
    if unread is not None:
        raise DataError(
            f"timestamps: expected seconds since 1970 or a date such as 2012-06-05 10:20:30, found {values[unread]!r} "
            f"at place {unread}",
            "correct it, or use None for no time",
        )
    return seconds


def _plain_time(value: object) -> str | None:
    """A time as text that `parse_times` reads; None if it is missing."""
    if isinstance(value, np.datetime64):
        value = None if np.isnat(value) else value.astype("datetime64[s]").item()
    if value is None or canonical_id(value) is None:
        return None
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return value.isoformat() if isinstance(value, date) else str(value)

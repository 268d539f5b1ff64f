"""Parquet files, directories of them, and typed columns as text."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelgraph.data.parquet_files import as_text, as_words, is_parquet, schemas_of
from reelgraph.data.sources import choose_columns, read_all
from reelgraph.data.table_files import open_table
from reelgraph.errors import DataError


def read_parquet(path: Path) -> pa.Table:
    table = open_table(path)
    return read_all(table, choose_columns(table, {}, ()))[0]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * 3, ["userId", "x", "x"]), tmp_path / "f.parquet")
    with pytest.raises(DataError, match="expected columns of different names, found 'x' twice"):
        schemas_of(tmp_path / "f.parquet")


def test_a_directory_of_parts_is_one_table(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"userId": [7.0, None], "x": ["a", "b"]}), tmp_path / "t" / "part-2.parquet")
    pq.write_table(pa.table({"x": pa.array(["c"]).dictionary_encode(), "userId": [1]}), tmp_path / "t" / "part-1.pq")
    pq.write_table(pa.table({"userId": ["hidden"], "x": ["z"]}), tmp_path / "t" / "_part.parquet")
    (tmp_path / "t" / "_SUCCESS").touch()
    assert is_parquet(tmp_path / "t")
    assert read_parquet(tmp_path / "t").to_pydict() == {"x": ["c", "a", "b"], "userId": ["1", "7", None]}


def test_directories_without_a_table_are_refused(tmp_path: Path) -> None:
    assert not is_parquet(tmp_path)
    (tmp_path / "t.parquet").mkdir()
    with pytest.raises(DataError, match=r"t\.parquet: expected Parquet files in the directory, found none"):
        read_parquet(tmp_path / "t.parquet")
    pq.write_table(pa.table({"userId": [1], "x": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"movieId": [1], "x": [1]}), tmp_path / "2.parquet")
    with pytest.raises(DataError, match=r"2\.parquet: expected the columns .* \(userId, x\), found movieId, x"):
        read_parquet(tmp_path)
    (tmp_path / "2.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"2\.parquet: expected a Parquet file, found a damaged one"):
        read_parquet(tmp_path)


def test_members_of_structs_are_columns(tmp_path: Path) -> None:
    rows = [{"user": {"id": 1, "at": {"zip": "x"}}, "movie": [{"id": 7}]}, {"user": None, "movie": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    expected = {"user.id": ["1", None], "user.at.zip": ["x", None], "movie": ['[{"id": 7}]', None]}
    assert read_parquet(tmp_path / "r.parquet").to_pydict() == expected


NOON = datetime(1997, 12, 4, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([1, None, -(2**63)]), ["1", None, "-9223372036854775808"]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([1.0, 4.5, None, -0.25, 2.0**52]), ["1", "4.5", None, "-0.25", "4503599627370496"]),
        (pa.array([4.1, 3.0], pa.float32()), ["4.1", "3"]),
        (pa.array([float("nan"), float("inf")]), ["nan", "inf"]),
        (pa.array([Decimal("4.50")]), ["4.50"]),
        (pa.array(["007", " x ", "é"], pa.large_string()), ["007", " x ", "é"]),
        (pa.array(["b", "a", "b"]).dictionary_encode(), ["b", "a", "b"]),
        (pa.array([b"\x12" * 16], pa.binary(16)), ["12121212-1212-1212-1212-121212121212"]),
        (pa.array([b"\x12" * 16], pa.uuid()), ["12121212-1212-1212-1212-121212121212"]),
        (pa.array([["War", "Drama"], [], ["War"], None]), ['["War", "Drama"]', "[]", '["War"]', None]),
        (pa.array([[1, 2]], pa.large_list(pa.int8())), ["[1, 2]"]),
        (pa.array([date(1970, 1, 2), date(1969, 12, 31)]), ["86400", "-86400"]),
        (pa.array([NOON], pa.timestamp("s", "UTC")), ["881236800"]),
        (pa.array([NOON], pa.timestamp("us", "America/New_York")), ["881236800"]),
        (pa.array([881236800_999_999_999, -1], pa.timestamp("ns")), ["881236800", "-1"]),
    ],
)
def test_typed_columns_become_text(column: pa.Array, text: list[str | None]) -> None:
    assert as_text(column).to_pylist() == text
    words = as_words(column)
    assert pa.array(words.to_pylist(), pa.string()).to_pylist() == text, (
        "converting each distinct value once gives the same text"
    )


def test_a_type_without_text_is_refused() -> None:
    column = pa.array([pa.MonthDayNano([1, 2, 3])])
    with pytest.raises(DataError, match="expected a column of text, numbers or times, found month_day_nano_interval"):
        as_text(column)

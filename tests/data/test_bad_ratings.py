"""Ratings that preparation must refuse as a whole, with one line and nothing left behind."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelgraph.config import DataConfig
from reelgraph.data.prepare.prepare import prepare
from reelgraph.data.sources import find
from reelgraph.errors import ConfigError, DataError, OutputError, ReelgraphError

HEADER = "userId,movieId,rating\n"
GOOD = HEADER + "a,1,3\nb,2,4\na,2,5\n"


def refused(path: Path, error: type[ReelgraphError], **config: Any) -> str:
    """The message of the error; sees that nothing was written."""
    out = path.parent / "prepared"
    with pytest.raises(error) as caught:
        prepare(find(path), DataConfig(**config), out, lambda line: None)
    assert not [entry for entry in path.parent.iterdir() if "prepared" in entry.name]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "r.csv: expected rows, found an empty file"),
        (HEADER, "expected rows below the header, found none"),
        ("userId,film,stars\na,1,3\n", "r.csv: expected a column movieId, found userId, film, stars"),
        (HEADER + "a,1,good\nb,2,bad\n", "found none of 2: rating is not a number in 2 (first in row 1)"),
        (HEADER + "a,1,NaN\nb,2,nan\nb,3,NAN\n", "found none of 3: rating is NaN in 3 (first in row 1)"),
        (HEADER + "a,1,inf\nb,2,-Infinity\n", "found none of 2: rating is infinite in 2 (first in row 1)"),
        (HEADER + "a,1,\nb,2,x\nb,3,y\n", "found none of 3: rating is not a number in 2 (first in row 2)"),
        (HEADER + "a,1,3\na,2,4\n", "expected at least two users, found one"),
        (HEADER + "a,1,3\nb,1,4\n", "expected at least two movies, found one"),
        (HEADER + "a,1,3\nb,2,3\n", "expected ratings that differ, found 3 in every row"),
        (HEADER + "a,1,3\n", "expected at least two ratings, found one"),
        (b"\x7fELF\x00\x01" * 99, "found binary data"),
    ],
)
def test_unusable_text_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    (tmp_path / "r.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in refused(tmp_path / "r.csv", DataError)


def test_unusable_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    table = pa.table({"userId": range(5000), "movieId": range(5000), "rating": [1.0, 2.0] * 2500})
    pq.write_table(table, path)
    whole = path.read_bytes()
    path.write_bytes(b"")
    assert "r.parquet: expected rows, found an empty file" in refused(path, DataError)
    middle = whole[:4] + b"\xff" * (len(whole) // 2) + whole[4 + len(whole) // 2 :]
    for damaged in (whole[:10], whole[: len(whole) // 2], whole[:-1], middle):
        path.write_bytes(damaged)
        assert "r.parquet: expected a Parquet file, found a damaged one" in refused(path, DataError)
    pq.write_table(table.drop_columns(["rating"]), path)
    assert "expected a column rating, found userId, movieId" in refused(path, DataError)
    pq.write_table(table.slice(0, 0), path)
    assert "found none" in refused(path, DataError)
    pq.write_table(table.set_column(2, "rating", pa.array(["good"] * 5000)), path)
    assert "rating is not a number in 5,000" in refused(path, DataError)


def test_paths_without_ratings_are_refused(tmp_path: Path) -> None:
    assert "none.csv: expected a file, found none" in refused(tmp_path / "none.csv", DataError)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("x")
    message = refused(tmp_path / "folder", DataError)
    assert "expected a MovieLens folder with one of ratings.csv, ratings.dat, u.data, ratings.parquet" in message


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"columns": {"user": "who"}}, ConfigError, "(userId, movieId, rating), found 'who'"),
        ({"columns": {"person": "userId"}}, ConfigError, "roles user, item, rating, timestamp, found 'person'"),
        ({"engine": "flink"}, ConfigError, "--engine: expected duckdb, spark, local[N]"),
        ({"split": "given"}, ConfigError, "--split given: expected test ratings, found none"),
        ({"split": "time"}, ConfigError, "--split time: expected timestamps, found none"),
        ({"scale": (6, 10)}, DataError, "found none of 3: rating is outside the scale 6-10 (given by --scale) in 3"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused(
    tmp_path: Path, config: dict[str, Any], error: type[ReelgraphError], message: str
) -> None:
    (tmp_path / "r.csv").write_text(GOOD)
    assert message in refused(tmp_path / "r.csv", error, **config)


def test_strict_refuses_any_refused_row(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(GOOD + "c,1,oops\nc,2,nan\n")
    message = refused(tmp_path / "r.csv", DataError, strict=True)
    assert "r.csv: expected no row to be refused (--strict), found 2, the first in row 4: rating is not a number" in (
        message
    )
    (tmp_path / "r.csv").write_text(GOOD)
    assert prepare(find(tmp_path / "r.csv"), DataConfig(strict=True), tmp_path / "p", lambda line: None).is_dir()


def test_existing_output_is_kept(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(GOOD)
    out = tmp_path / "p"
    prepare(find(tmp_path / "r.csv"), DataConfig(), out, lambda line: None)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    (tmp_path / "r.csv").write_text(HEADER + "a,1,x\n")
    with pytest.raises(DataError):
        prepare(find(tmp_path / "r.csv"), DataConfig(), out, lambda line: None)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(OutputError, match="found other files there"):
        prepare(find(tmp_path / "r.csv"), DataConfig(), tmp_path / "thesis", lambda line: None)
    assert [file.name for file in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]

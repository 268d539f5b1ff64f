"""Staged files hold the cells of their sources, and columns and files are found."""

import csv
import gzip
import io
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelgraph.data.load import load
from reelgraph.data.prepare.stage import Staged, stage_ratings
from reelgraph.data.sources import find
from reelgraph.data.vocabulary import spell_ids
from reelgraph.errors import ConfigError, DataError

Cells = list[tuple[str | None, str | None, str | None]]
# Any cell on one line; an empty cell would be null.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=8)


def staged(path: Path, columns: Mapping[str, str] | None = None) -> tuple[Staged, list[dict[str, object]]]:
    out = path.with_name("staged.parquet")
    report = stage_ratings(path, columns or {}, out, path.name)
    rows = pq.read_table(out).to_pylist()
    for row in rows:
        moments = (row.pop(name) for name in ("number", "moment", "time_text"))
        row["timestamp"] = next((moment for moment in moments if moment is not None), None)
    return report, rows


def cells(rows: list[dict[str, object]]) -> list[tuple[object, object, object]]:
    return [(row["userId"], row["movieId"], row["rating"]) for row in rows]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(TEXT, TEXT, st.integers(1, 5).map(str)), min_size=1, max_size=30),
    separator=st.sampled_from([",", ";", "\t"]),
    header=st.booleans(),
)
def test_quoted_cells_are_staged_unchanged(
    tmp_path: Path, rows: list[tuple[str, str, str]], separator: str, header: bool
) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("userId", "movieId", "rating"), *rows] if header else rows)
    path = tmp_path / "r.csv"
    path.write_text(buffer.getvalue(), encoding="utf-8")
    columns = {} if header else {"user": "1", "item": "2", "rating": "3"}
    _, found = staged(path, columns)
    users, movies = (spell_ids(pa.array([row[place] for row in rows])).to_pylist() for place in (0, 1))
    assert cells(found) == [(user, movie, row[2]) for user, movie, row in zip(users, movies, rows, strict=True)]
    assert [row["row"] for row in found] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::"])
@pytest.mark.parametrize("header", [True, False])
def test_every_separator_with_and_without_header(tmp_path: Path, separator: str, header: bool) -> None:
    lines = ["userId{0}movieId{0}rating{0}timestamp"] * header + [
        "007{0}b c{0}4.5{0}1500000010",
        "x{0}Y{0}{0}",
        "z{0}7{0}1{0}1500000012",
    ]
    path = tmp_path / "r.txt"
    path.write_text("\n".join(line.format(separator) for line in lines) + "\n")
    report, found = staged(path)
    assert cells(found) == [("007", "b c", "4.5"), ("x", "Y", None), ("z", "7", "1")]
    assert [row["timestamp"] for row in found] == [1500000010, None, 1500000012]
    assert report.header is header
    assert separator in {"::": report.form}.get(separator, separator)


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("user_id,item_id,score", {}),
        ("UserID,MovieID,Rating", {}),
        ("rating,who,movie", {"user": "who"}),
        ("a,b,c", {"user": "a", "item": "b", "rating": "c"}),
    ],
)
def test_columns_are_inferred_from_names_or_given(tmp_path: Path, header: str, columns: dict[str, str]) -> None:
    path = tmp_path / "r.csv"
    path.write_text(f"{header}\n1,2,3\n")
    report, found = staged(path, columns)
    names = header.split(",")
    for role, column in (("user", "userId"), ("item", "movieId"), ("rating", "rating")):
        assert found[0][column] == str(names.index(report.columns[role]) + 1)


def test_encodings_and_gzip(tmp_path: Path) -> None:
    text = "userId,movieId,rating\nJosé,Amélie,4\n"
    for name, data, encoding in (
        ("latin.csv", text.encode("latin-1"), "latin-1"),
        ("mark.csv", text.encode("utf-8-sig"), "utf-8"),
        ("small.csv.gz", gzip.compress(text.encode()), "utf-8"),
    ):
        (tmp_path / name).write_bytes(data)
        report, found = staged(tmp_path / name)
        assert cells(found) == [("José", "Amélie", "4")], name
        assert report.encoding == encoding


def test_malformed_rows_do_not_shift_row_numbers(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    lines = ["userId,movieId,rating", "1,2,3", "4,5", "6,7,4", "8,9,1,2", "", "10,11,5"]
    path.write_text("\n".join(lines) + "\n")
    _, found = staged(path)
    good = {row["row"]: row["userId"] for row in found if row["malformed"] is None}
    bad = {row["row"]: (row["raw"], row["malformed"]) for row in found if row["malformed"] is not None}
    assert good == {1: "1", 3: "6", 5: "10"}
    assert bad == {2: ("4,5", "expected 3 cells, found 2"), 4: ("8,9,1,2", "expected 3 cells, found 4")}


def test_row_numbers_are_right_across_blocks(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    bad = {70_000, 200_000, 200_001}
    with path.open("w") as file:
        file.write("userId,movieId,rating\n")
        for row in range(1, 300_001):
            file.write("oops\n" if row in bad else f"u{row},m{row % 97},{row % 5 + 1}\n")
    _, found = staged(path)
    assert {row["row"] for row in found if row["malformed"] is not None} == bad
    assert all(row["userId"] == f"u{row['row']}" for row in found if row["malformed"] is None)
    assert len(found) == 300_000


def test_typed_parquet_columns_become_text(tmp_path: Path) -> None:
    ids = [uuid.UUID(int=n) for n in (1, 2**100)]
    columns = {
        "int": (pa.array([7, -3]), ["7", "-3"]),
        "float": (pa.array([7.0, None]), ["7", None]),
        "nan": (pa.array([7.0, float("nan")]), ["7", None]),
        "text": (pa.array(["007", "é"]), ["007", "é"]),
        "category": (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        "uuid": (pa.array([x.bytes for x in ids], pa.binary(16)), [str(x) for x in ids]),
    }
    for name, (column, expected) in columns.items():
        path = tmp_path / f"{name}.parquet"
        times = pa.array([datetime(1997, 12, 4, 15, 55, 49), None], pa.timestamp("us"))
        pq.write_table(pa.table({"user": column, "item": column, "rating": [4.5, 3.0], "date": times}), path)
        report, found = staged(path)
        assert [row["userId"] for row in found] == expected, name
        assert [row["movieId"] for row in found] == expected, name
        assert [row["rating"] for row in found] == ["4.5", "3"]
        assert [row["timestamp"] for row in found] == [881250949, None]
        assert report.id_types["user"] == str(column.type)


@pytest.mark.parametrize(
    ("content", "columns", "error", "message"),
    [
        ("a,b,c\n1,2,3\n", {}, DataError, "expected a column userId, movieId, rating, found a, b, c"),
        ("userId,movieId,rating\n1,2,3\n", {"user": "x"}, ConfigError, "expected a column of .*found 'x'"),
        ("userId,movieId,rating\n1,2,3\n", {"stars": "rating"}, ConfigError, "expected roles user"),
        ("1,2\n", {}, DataError, "expected columns userId, movieId, rating, found 2 columns"),
        ("1,2,3\n", {"user": "4", "item": "1", "rating": "2"}, ConfigError, "found '4'"),
    ],
)
def test_missing_columns_are_refused(
    tmp_path: Path, content: str, columns: dict[str, str], error: type[Exception], message: str
) -> None:
    (tmp_path / "r.csv").write_text(content)
    with pytest.raises(error, match=message):
        staged(tmp_path / "r.csv", columns)


def test_files_are_looked_up_in_the_working_directory_then_beside_the_ratings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "here").mkdir()
    for name in ("u1.base", "u1.test", "u.item"):
        (tmp_path / "data" / name).write_text("x")
    monkeypatch.chdir(tmp_path / "here")
    found = find(Path("../data/u1.base"), items=Path("u.item"), test=Path("u1.test"))
    assert (found.items, found.test) == (Path("../data/u.item"), Path("../data/u1.test"))
    (tmp_path / "here" / "u1.test").write_text("mine")
    assert find(Path("../data/u1.base"), test=Path("u1.test")).test == Path("u1.test")
    assert find(Path("../data/u1.base"), test=Path("no")).test == Path("no"), (
        "a missing file keeps its path for the error message"
    )


@pytest.mark.parametrize(
    "names",
    [("u.data", "u.item", "u.user"), ("ratings.dat", "movies.dat", "users.dat"), ("ratings.csv", "movies.csv", None)],
)
def test_the_three_generations_of_movielens_folders(tmp_path: Path, names: tuple[str, str, str | None]) -> None:
    for name in names:
        if name:
            (tmp_path / name).write_text("x")
    found = find(tmp_path)
    assert (found.ratings.name, found.items and found.items.name) == names[:2]
    assert (found.users and found.users.name) == names[2]
    (tmp_path / "mine.csv").write_text("x")
    assert find(tmp_path, items=tmp_path / "mine.csv").items == tmp_path / "mine.csv"


def test_the_bundled_sample_is_ml_latest_small(movielens: Path) -> None:
    source = find()
    mine = pq.read_table(source.ratings).to_pydict()
    with (movielens / "ml-latest-small" / "ratings.csv").open(newline="") as file:
        rows = [(int(u), int(m), float(r), int(t)) for u, m, r, t in list(csv.reader(file))[1:]]
    columns = (mine["userId"], mine["movieId"], mine["rating"], mine["timestamp"])
    assert sorted(zip(*columns, strict=True)) == sorted(rows)
    assert source.items is not None
    assert sum(file.stat().st_size for file in source.ratings.parent.iterdir()) < 1_500_000
    assert "Harper" in (source.ratings.parent / "LICENSE").read_text()


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("userId,movieId,timestamp\n1,2,1500000000\n2,3,1500000001\n", "NAME"),
        ("user,item,plays\na,b,3\nb,c,9\n", "plays"),
    ],
)
def test_a_file_without_ratings_says_what_can_be_done(tmp_path: Path, text: str, column: str) -> None:
    (tmp_path / "views.csv").write_text(text)
    with pytest.raises(DataError) as refused:
        load(tmp_path / "views.csv")
    assert f"rating={column}" in str(refused.value)
    assert "--implicit" in str(refused.value)

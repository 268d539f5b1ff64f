"""Ratings in every format come in as the same ratings."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelgraph.config import DataConfig
from reelgraph.data.dataset import Dataset, load_prepared, merge
from reelgraph.data.prepare.prepare import prepare
from reelgraph.data.side_tables import read_items
from reelgraph.data.sources import NEEDED, choose_columns, find, read_all
from reelgraph.data.table_files import open_table
from reelgraph.errors import ConfigError, DataError
from tests.support.inputs import HEAD, INPUTS, MOVIES, PLAIN, ROWS, WITH_TITLES, expected, lines, write_input


def loaded(path: Path, out: Path, **config: Any) -> Dataset:
    return load_prepared(prepare(find(path), DataConfig(**config), out, lambda line: None))


def ratings(data: Dataset) -> set[tuple[str, str, float]]:
    every = merge(merge(data.train, data.valid), data.test)
    rows = zip(every.user_index.tolist(), every.item_index.tolist(), every.rating.tolist(), strict=True)
    return {(data.users.id(user), data.items.id(item), rating) for user, item, rating in rows}


@pytest.mark.parametrize("name", INPUTS)
def test_every_format_holds_the_same_ratings(tmp_path: Path, name: str) -> None:
    data = loaded(write_input(tmp_path, name), tmp_path / "out")
    assert ratings(data) == expected(name)
    assert data.rejects.num_rows == 0
    titles = data.item_table["title"].to_pylist() if "title" in data.item_table.column_names else []
    assert sorted(titles) == (sorted(f"Film, {movie}" for movie in range(1, 21)) if name in WITH_TITLES else [])


def read(path: Path, **options: Any) -> tuple[list[tuple[str | None, ...]], list[tuple[int, str]]]:
    """The cells of the columns that are needed, and the malformed rows."""
    table = open_table(path, **options)
    chosen = choose_columns(table, {}, NEEDED)
    cells, _, malformed = read_all(table, chosen)
    columns = [cells[chosen.roles[role]].to_pylist() for role in NEEDED]
    return list(zip(*columns, strict=True)), [(row.row, row.text) for row in malformed]


def test_a_malformed_json_line_costs_that_line(tmp_path: Path) -> None:
    text = [*(json.dumps({"user": n, "movie": "x", "stars": 4.5}) for n in range(3)), '{"user": 1, "mo', "[1, 2]", "7"]
    (tmp_path / "r.jsonl").write_text("\n".join(text))
    rows, malformed = read(tmp_path / "r.jsonl")
    assert rows == [("0", "x", "4.5"), ("1", "x", "4.5"), ("2", "x", "4.5")]
    assert malformed == [(4, '{"user": 1, "mo'), (5, "[1, 2]"), (6, "7")]


def test_nested_and_missing_keys_of_json(tmp_path: Path) -> None:
    rows = [
        {"user": {"id": 1}, "item": "a", "rating": 3},
        {"item": "b", "rating": None, "user": {"id": True}},
        {"item": "c"},
    ]
    (tmp_path / "r.json").write_text(json.dumps(rows))
    table = open_table(tmp_path / "r.json")
    chosen = choose_columns(table, {"user": "user.id"}, NEEDED)
    cells, *_ = read_all(table, chosen)
    assert cells.to_pydict() == {"user.id": ["1", "true", None], "item": ["a", "b", "c"], "rating": ["3", None, None]}


JESTER = [["2", "-9.5", "99", "3.25"], ["1", "99", "0", "99"], ["0", "99", "99", "99"]]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        (lines(JESTER), [("1", "1", "-9.5"), ("1", "3", "3.25"), ("2", "2", "0")]),
        ("user;a;b\nx;1,5;\ny;;2\n", [("x", "a", "1.5"), ("y", "b", "2")]),
        (",a,b\n7,1.5,\n9,99,2\n", [("7", "a", "1.5"), ("9", "b", "2")]),
        ("userId,10,20,30\n7,1.5,,3\n9,,2,\n", [("7", "10", "1.5"), ("7", "30", "3"), ("9", "20", "2")]),
        ("a,b,c\n1,2,3\n4,,5\n", [("1", "a", "1"), ("1", "b", "2"), ("1", "c", "3"), ("2", "a", "4"), ("2", "c", "5")]),
        ("u1,5,3\nu2,,4\n", [("u1", "1", "5"), ("u1", "2", "3"), ("u2", "2", "4")]),
    ],
)
def test_matrices(tmp_path: Path, text: str, cells: list[tuple[str, str, str]]) -> None:
    (tmp_path / "m.csv").write_text(text)
    assert read(tmp_path / "m.csv", matrix=True) == (cells, [])


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("matrix.csv", lines([[str(3), *[f"{n}.5" for n in range(9)]]] * 5), "--matrix"),
        ("time.csv", lines((u, m, t) for u, m, _, t in ROWS), "'1,1,1500001001'"),
        ("more.csv", lines((*row, "x") for row in ROWS), "'1,1,"),
        ("words.csv", "a,b,c\nd,e,f\n", "'a,b,c'"),
        ("votes.csv", lines((u, m, int(r), n % 7) for n, (u, m, r, _) in enumerate(ROWS)), "--columns"),
        ("continuous.csv", lines((u, 1000 + m, u % 5, m % 4) for u, m, _, _ in ROWS), "--columns"),
    ],
)
def test_headerless_files_in_doubt_are_refused(tmp_path: Path, name: str, text: str, shown: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert shown in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "roles"),
    [
        ([(f"B00{m:07d}", f"A{u:013d}", r, t) for u, m, r, t in ROWS], ("2", "1", "3")),
        ([(f"tt{m:07d}", u, r) for u, m, r, _ in ROWS], ("2", "1", "3")),
        ([(u, m, t, r) for u, m, r, t in ROWS], ("1", "2", "4")),
        ([(r, f"u{u}", f"m{m}") for u, m, r, _ in ROWS], ("2", "3", "1")),
        ([(u, m, r, "2018-01-02 10:00:00") for u, m, r, _ in ROWS], ("1", "2", "3")),
    ],
)
def test_headerless_columns_are_told_apart(tmp_path: Path, rows: list[Any], roles: tuple[str, ...]) -> None:
    (tmp_path / "r.csv").write_text(lines(rows))
    chosen = choose_columns(open_table(tmp_path / "r.csv"), {}, NEEDED)
    assert tuple(chosen.roles[role] for role in NEEDED) == roles


def test_netflix_titles_may_hold_commas(tmp_path: Path) -> None:
    titles = '1,2003,Dinosaur Planet\n72,NULL,At Home, Among Strangers\n3,1997,"Character" and more\n'
    (tmp_path / "movie_titles.csv").write_bytes(titles.encode("latin-1"))
    rows = {row["movieId"]: row["title"] for row in read_items(tmp_path / "movie_titles.csv").to_pylist()}
    assert rows == {"1": "Dinosaur Planet", "72": "At Home, Among Strangers", "3": '"Character" and more'}


def test_several_netflix_files_are_one_table(tmp_path: Path) -> None:
    for number, text in enumerate(("1:\n5,3,2005-09-06\n2:\n6,4,2005-09-07\n", "3:\r\n5,1,2005-09-08\r\n"), start=1):
        (tmp_path / f"combined_data_{number}.txt").write_bytes(text.encode())
    (tmp_path / "movie_titles.csv").write_text("1,2003,A\n2,2004,B, C\n3,NULL,D\n")
    source = find(tmp_path)
    assert read(source.ratings)[0] == [("5", "1", "3"), ("6", "2", "4"), ("5", "3", "1")]
    assert source.items == tmp_path / "movie_titles.csv"


def test_parts_with_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "part-0.csv").write_text(PLAIN)
    (tmp_path / "part-1.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"part-1\.csv: expected 4 columns .* found 2"):
        open_table(tmp_path)


def test_parts_may_have_no_header(tmp_path: Path) -> None:
    (tmp_path / "part-0.csv").write_text(HEAD + "\n" + lines(ROWS[:50]))
    (tmp_path / "part-1.csv").write_text(lines(ROWS[50:]))
    assert len(read(tmp_path)[0]) == len(ROWS)


def test_an_archive_without_a_table_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.md", "x")
    with pytest.raises(DataError, match=r"a\.zip"):
        find(tmp_path / "a.zip")
    with pytest.raises(DataError, match=r"a\.zip: expected a table in it"):
        open_table(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("text", "found"), [("{}", "none"), ('[{"user": 1, "movie": 2, "rating": 3}, {"user": x}]', "Expecting value")]
)
def test_json_without_objects_is_refused(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(DataError, match=rf"r\.json: expected JSON objects, found {found}"):
        loaded(tmp_path / "r.json", tmp_path / "p")


def test_tables_that_are_no_matrices_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("user,x\na,1\nb,2\n")
    with pytest.raises(DataError, match=r"m\.csv: expected a column for each item"):
        loaded(tmp_path / "m.csv", tmp_path / "p", matrix=True)
    pq.write_table(pa.table({"x": [1], "y": [2]}), tmp_path / "m.parquet")
    with pytest.raises(ConfigError, match="--matrix: expected a text file"):
        open_table(tmp_path / "m.parquet", matrix=True)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.csv.gz"
    data = bytearray(gzip.compress(PLAIN.encode()))
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"r\.csv\.gz: "):
        read(path)


def test_a_damaged_zip_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ratings.csv", PLAIN)
    path.write_bytes(path.read_bytes().replace(b"PK\1\2", b"PK\1\3"))  # its table of contents
    with pytest.raises(DataError, match=r"a\.zip: expected a zip archive that can be read"):
        find(path)


def test_the_movies_of_an_archive_can_be_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, text in (("x/ratings.csv", PLAIN), ("x/my.csv", MOVIES)):
            archive.writestr(name, text)
    source = find(tmp_path / "a.zip", items=Path("x/my.csv"))
    assert source.items is not None
    assert read_items(source.items).num_rows == 20


RECORDS = [{"user_id": n % 3, "movie_id": n, "rating": 4.5} for n in range(6)]
TABLES: dict[str, object] = {
    "objects": RECORDS,
    "columns of lists": {name: [record[name] for record in RECORDS] for name in RECORDS[0]},
    "columns of objects": {name: {str(n): row[name] for n, row in enumerate(RECORDS)} for name in RECORDS[0]},
    "names and rows": {"columns": list(RECORDS[0]), "index": [0], "data": [list(row.values()) for row in RECORDS]},
    "table": {"schema": {"fields": [{"name": "user_id"}]}, "data": RECORDS},
    "typed": [row | {"user_id": {"$oid": str(row["user_id"])}, "movie_id": {"$numberInt": str(row["movie_id"])}}
              for row in RECORDS],
    "lists of objects": [row | {"tags": [{"id": 1}, {"id": 2}]} for row in RECORDS],
}  # fmt: skip


@pytest.mark.parametrize("form", TABLES)
def test_json_tables_as_libraries_write_them(form: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(TABLES[form]))
    assert read(tmp_path / "r.json")[0] == [(str(n % 3), str(n), "4.5") for n in range(6)]


def test_several_files_of_ratings_are_parts_or_refused(tmp_path: Path) -> None:
    header, text = "userId,movieId,rating\n", "1,2,3\n"
    for name in ("ratings_1.csv", "ratings_2.csv", "movies.csv"):
        (tmp_path / name).write_text(header + text)
    assert read(tmp_path)[0] == [("1", "2", "3")] * 2
    (tmp_path / "ratings_new.csv").write_text(header)
    with pytest.raises(DataError, match=r"one file of ratings, found ratings_1\.csv, ratings_2\.csv, ratings_new\.csv"):
        read(tmp_path)
    (tmp_path / "ratings.csv").write_text(header + text)
    assert read(tmp_path)[0] == [("1", "2", "3")]


def test_exact_names_of_columns_come_first(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("user,score,rating,movie,userId\nann,9,4.5,x,1\nbob,8,3.5,x,2\n")
    assert read(tmp_path / "r.csv")[0] == [("1", "x", "4.5"), ("2", "x", "3.5")]

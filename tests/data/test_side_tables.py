"""Movie and user tables of every kind."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelgraph.config import DataConfig
from reelgraph.data.dataset import load_prepared
from reelgraph.data.prepare.prepare import prepare
from reelgraph.data.rows import Malformed
from reelgraph.data.side_features import encode
from reelgraph.data.side_tables import add_links, ignore, read_items, read_users
from reelgraph.data.sources import find
from reelgraph.errors import DataError


def row(table: pa.Table, **wanted: str) -> dict[str, object]:
    ((key, value),) = wanted.items()
    return next(dict(line) for line in table.to_pylist() if line[key] == value)


def test_movielens_movie_tables(movielens: Path) -> None:
    oldest = read_items(movielens / "ml-100k" / "u.item")
    assert oldest.num_rows == 1682
    assert row(oldest, movieId="1") == {
        "movieId": "1", "title": "Toy Story", "year": 1995, "genres": "Animation|Children's|Comedy",
    }  # fmt: skip
    assert row(oldest, movieId="1633")["title"] == "Á köldum klaka (Cold Fever)", "latin-1"
    assert row(oldest, movieId="267") == {"movieId": "267", "title": "unknown", "year": None, "genres": None}
    middle = read_items(movielens / "ml-1m" / "movies.dat")
    assert middle.num_rows == 3883
    assert row(middle, movieId="2")["genres"] == "Adventure|Children's|Fantasy"
    newest = read_items(movielens / "ml-latest-small" / "movies.csv")
    assert newest.num_rows == 9125
    assert row(newest, movieId="1")["year"] == 1995
    assert "(no genres listed)" not in newest["genres"].to_pylist()


def test_movielens_user_tables(movielens: Path) -> None:
    oldest = read_users(movielens / "ml-100k" / "u.user")
    assert row(oldest, userId="1") == {
        "userId": "1",
        "age": "24",
        "gender": "M",
        "occupation": "technician",
        "zip": "85711",
    }
    middle = read_users(movielens / "ml-1m" / "users.dat")
    assert row(middle, userId="1") == {"userId": "1", "gender": "F", "age": "1", "occupation": "10", "zip": "48067"}


def test_any_table_with_ids_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_text('item_id,title,studio\n007,"Matrix, The (1999)",W\n8,Untitled,\n007,Again,X\n')
    table = read_items(tmp_path / "films.csv")
    assert table.to_pylist() == [
        {"movieId": "007", "title": "The Matrix", "year": 1999, "studio": "W"},
        {"movieId": "8", "title": "Untitled", "year": None, "studio": None},
    ]  # fmt: skip
    pq.write_table(pa.table({"movieId": [1, 2], "year": [1999.0, None], "length": [90, 120]}), tmp_path / "f.parquet")
    assert read_items(tmp_path / "f.parquet").to_pylist() == [
        {"movieId": "1", "year": 1999, "length": "90"}, {"movieId": "2", "year": None, "length": "120"},
    ]  # fmt: skip


GENRES = [["Crime", "Drama"], ["War"], None]
STRUCTS: dict[str, Sequence[object]] = {
    "texts": GENRES,
    "objects": [names and [{"id": n, "name": name} for n, name in enumerate(names)] for names in GENRES],
    "elements": [names and [{"element": {"id": 1, "name": name}} for name in names] for names in GENRES],
    "list within": [names and {"list": [{"id": 1, "name": name} for name in names]} for names in GENRES],
    "single": [{"id": 3, "name": "Drama"}, {"id": 4, "name": "War"}, None],
    "with null": [["Crime", "Drama", None], ["War"], []],
}


@pytest.mark.parametrize("ending", ["parquet", "json", "jsonl"])
@pytest.mark.parametrize("form", STRUCTS)
def test_genres_in_nested_columns(form: str, ending: str, tmp_path: Path) -> None:
    rows = [{"movieId": n, "genres": cell} for n, cell in enumerate(STRUCTS[form])]
    path = tmp_path / f"movies.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if ending == "json" else "".join(json.dumps(row) + "\n" for row in rows))
    expected = ["Drama" if form == "single" else "Crime|Drama", "War", None]
    assert read_items(path)["genres"].to_pylist() == expected


def test_unusable_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,title\nx,y\n")
    with pytest.raises(DataError, match="expected a column movieId, found name, title"):
        read_items(tmp_path / "a.csv")
    with pytest.raises(DataError, match="found none"):
        read_users(tmp_path / "no.csv")


def test_a_malformed_row_costs_that_row(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text('movieId,title\n1,"A, B"\n2,C,D\n3,"E\n4,F\n')
    malformed: list[Malformed] = []
    assert read_items(tmp_path / "b.csv", malformed.append).select(["movieId", "title"]).to_pylist() == [
        {"movieId": "1", "title": "A, B"},
        {"movieId": "3", "title": '"E'},
        {"movieId": "4", "title": "F"},
    ]
    assert [(row.row, row.text) for row in malformed] == [(2, "2,C,D")]


def test_malformed_rows_of_side_tables_are_rejects(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("userId,movieId,rating\na,1,3\nb,2,4\na,2,x\nb,1,5\n")
    (tmp_path / "m.csv").write_text("movieId,title\n1,A\n2,B,C\n")
    (tmp_path / "u.csv").write_text("userId,age\na\nb,7\n")
    source = find(tmp_path / "r.csv", tmp_path / "m.csv", tmp_path / "u.csv")
    lines: list[str] = []
    data = load_prepared(prepare(source, DataConfig(), tmp_path / "p", lines.append))
    rows = [(row["file"], row["row"], row["raw"]) for row in data.rejects.to_pylist()]
    assert rows == [("m.csv", 2, "2,B,C"), ("r.csv", 3, None), ("u.csv", 1, "a")]
    assert (data.manifest["counts"]["rows"], data.manifest["counts"]["rejected"]) == (4, 1)
    assert any("m.csv row 2: 2,B,C" in line for line in lines)
    with pytest.raises(DataError, match="--strict"):
        prepare(source, DataConfig(strict=True), tmp_path / "p", lambda line: None)


def test_imdb_and_tmdb_ids_come_from_the_links(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title\n3,A\n1,B\n2,C\n")
    (tmp_path / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0114709,862\n3,0113228,\n9,0000001,1\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating\n1,1,4\n")
    links = find(tmp_path).links
    assert links == tmp_path / "links.csv"
    lines: list[str] = []
    items = add_links(read_items(tmp_path / "movies.csv"), links, ignore, lines.append)
    assert items["movieId"].to_pylist() == ["3", "1", "2"]
    assert items["imdbId"].to_pylist() == ["0113228", "0114709", None]
    assert items["tmdbId"].to_pylist() == [None, "862", None]
    assert "2 of 3" in lines[0]
    assert encode(items) is None, "ids are no features"
    (tmp_path / "links.csv").write_text("from,to\na,b\n")
    assert "imdbId" not in add_links(read_items(tmp_path / "movies.csv"), links, ignore, lines.append).column_names
    assert "links.csv" in lines[-1]


def test_the_year_of_the_title_precedes_a_later_release(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        "movieId,title,release_date\n1,Heavy (1995),01-Jan-1996\n2,Fargo,1997-02-14\n3,Heat,\n"
    )
    assert read_items(tmp_path / "m.csv")["year"].to_pylist() == [1995, 1997, None]


def test_an_occupation_of_none_is_a_value(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("userId,occupation\n1,none\n2,None\n3,artist\n")
    assert read_users(tmp_path / "u.csv")["occupation"].to_pylist() == ["none", None, "artist"]

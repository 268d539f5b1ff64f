"""Files of a trained model's daily work: pairs, tests, a visitor's ratings, predictions and lists."""

import csv
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelgraph.config import DataConfig
from reelgraph.data.dataset import NO_TIME
from reelgraph.data.pair_files import read_movies, read_pairs, read_ratings, read_visitor
from reelgraph.data.personal_exports import read_films, read_upload
from reelgraph.data.vocabulary import canonical_id
from reelgraph.errors import ConfigError, DataError, OutputError
from reelgraph.recommend.output import as_type, write_lists, write_predictions
from tests.support.worlds import prepare_rows

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=8)
PLAIN, SCALE = DataConfig(), (0.0, 10.0)
ID = TEXT.filter(lambda text: canonical_id(text) is not None)


def test_pairs_keep_their_order_and_their_other_columns(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("note,movieId,userId\nx,2,b\n,1,a\nx,2,b\n")
    rows = read_pairs(tmp_path / "p.csv", PLAIN)
    assert (rows.user_ids, rows.movie_ids) == (["b", "a", "b"], ["2", "1", "2"])
    write_predictions(rows, {"prediction": np.array([4.25, 3.0, 1 / 3], np.float32)}, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == (
        "note,movieId,userId,prediction\nx,2,b,4.25\n,1,a,3\nx,2,b,0.333333\n"
    )


def test_an_earlier_prediction_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("userId,prediction,movieId\na,9,1\n")
    write_predictions(
        read_pairs(tmp_path / "p.csv", PLAIN), {"prediction": np.array([2.5], np.float32)}, tmp_path / "p.csv"
    )
    assert (tmp_path / "p.csv").read_text() == "userId,movieId,prediction\na,1,2.5\n"


def test_files_without_a_header_get_one(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("a\t1\t4\t1500000000\nb\t2\t5\t1500000001\n")
    rows = read_ratings(tmp_path / "p.tsv", PLAIN, SCALE)
    assert (rows.user_ids, rows.movie_ids, rows.rating.tolist()) == (["a", "b"], ["1", "2"], [4, 5])
    assert rows.table.column_names == ["userId", "movieId", "rating", "timestamp"]
    turned = read_ratings(tmp_path / "p.tsv", DataConfig(columns={"user": "2", "item": "1", "rating": "3"}), SCALE)
    assert (turned.user_ids, turned.movie_ids) == (["1", "2"], ["a", "b"])
    assert turned.table.column_names == ["movieId", "userId", "rating", "column4"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(ID, ID, TEXT), min_size=1, max_size=15))
def test_predictions_keep_the_spelling_of_ids(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    with (tmp_path / "p.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([("userId", "movieId", "note"), *rows])
    found = read_pairs(tmp_path / "p.csv", PLAIN)
    write_predictions(found, {"prediction": np.ones(len(rows), np.float32)}, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1:] == [[*row, "1"] for row in rows]


def test_ids_are_canonical_and_come_back_as_they_went_in(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("userId, movieId\n1.0, 7\n007,7.0\n")
    rows = read_pairs(tmp_path / "p.csv", PLAIN)
    assert (rows.user_ids, rows.movie_ids) == (["1", "007"], ["7", "7"])
    write_predictions(rows, {"prediction": np.ones(2, np.float32)}, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[1:] == ["1.0, 7,1", "007,7.0,1"]


def test_parquet_pairs(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user": [7, 8], "item": ["x", "y"], "score": [4.5, 3.0]}), tmp_path / "p.parquet")
    rows = read_ratings(tmp_path / "p.parquet", PLAIN, SCALE)
    assert (rows.user_ids, rows.movie_ids, rows.rating.tolist()) == (["7", "8"], ["x", "y"], [4.5, 3.0])


def test_the_last_rating_of_a_movie_counts(tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("movieId,rating\n1,2\n007,4.5\n1, 3 \n")
    films = read_films(tmp_path / "my.csv")
    assert {film.ids["movie"]: film.rating for film in films} == {"1": 3, "007": 4.5}
    (tmp_path / "bare.csv").write_text("1;2\n7;4.5\n")
    rows = read_visitor(tmp_path / "bare.csv", PLAIN)
    assert (rows.movie_ids, rows.rating.tolist()) == (["1", "7"], [2, 4.5])


BAD_ROWS = {
    "a,2": "malformed row: expected 3 cells, found 2",
    "a,2,4,5": "malformed row: expected 3 cells, found 4",
    ",2,4": "user id is missing",
    "NULL,2,4": "user id is missing",
    "a,\\N,4": "movie id is missing",
    "a,2,x": "rating is not a number",
    "a,2,": "rating is missing",
    "a,2,nan": "rating is NaN",
    "a,2,1e999": "rating is infinite",
    "a,2,-inf": "rating is infinite",
    "a,2,1_0": "rating is not a number",
    "a,2,11": "rating is outside the scale 0-10 of the model",
}


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS.items())
def test_a_row_that_cannot_be_used_costs_that_row(tmp_path: Path, row: str, reason: str) -> None:
    (tmp_path / "t.csv").write_text(f"userId,movieId,rating\na,1,4\n{row}\nb,3,+5\n")
    rows = read_ratings(tmp_path / "t.csv", PLAIN, SCALE)
    assert (rows.user_ids, rows.movie_ids, rows.rating.tolist()) == (["a", "b"], ["1", "3"], [4, 5])
    assert rows.numbers.tolist() == [1, 3]
    assert [(refused.row, refused.reason) for refused in rows.refused] == [(2, reason)]
    (line,) = rows.report()
    assert "t.csv: refused 1 of 3 rows: " + reason in line
    with pytest.raises(DataError, match=r"t\.csv: expected only usable rows, found 1 of 3 refused, the first in row 2"):
        read_ratings(tmp_path / "t.csv", DataConfig(strict=True), SCALE)


def test_a_file_of_rows_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("userId,movieId,rating\n" + "".join(f"{row}\n" for row in BAD_ROWS) + "a,1,4\n")
    with pytest.raises(DataError, match=rf"expected mostly usable rows, found {len(BAD_ROWS)} of {len(BAD_ROWS) + 1}"):
        read_ratings(tmp_path / "t.csv", PLAIN, SCALE)
    (tmp_path / "p.csv").write_text("userId,movieId\n,1\n")
    with pytest.raises(DataError, match="user id is missing"):
        read_pairs(tmp_path / "p.csv", PLAIN)


def test_codes_are_dropped_and_reported_even_if_strict(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("userId,movieId,rating\na,1,99\na,2,4\nb,1,99\nb,3,99\n")
    for strict in (False, True):
        config = DataConfig(missing=(99,), strict=strict)
        rows = read_ratings(tmp_path / "t.csv", config, (1, 5))
        assert rows.rating.tolist() == [4]
        assert "refused 3 of 4 rows: rating is a code for no rating (99)" in rows.report()[0]
        assert read_pairs(tmp_path / "t.csv", config).movie_ids == ["2"]


def test_a_matrix_of_test_ratings(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("userId,10,20,30\na,4,,99\nb,-1,2,3.5\n")
    rows = read_ratings(tmp_path / "m.csv", DataConfig(matrix=True, missing=(-1,)), (0, 5))
    found = list(zip(rows.user_ids, rows.movie_ids, rows.rating, strict=True))
    assert found == [("a", "10", 4), ("b", "20", 2), ("b", "30", 3.5)]


def test_unreadable_times_are_reported(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("userId,movieId,rating,timestamp\na,1,4,soon\na,2,4,\nb,1,4,1500000000\n")
    (line,) = read_ratings(tmp_path / "t.csv", PLAIN, SCALE).report()
    assert "timestamp is not a number or date in 1 rows (first row 1: soon)" in line


def test_columns_of_ratings_do_not_concern_a_list_of_movies(tmp_path: Path) -> None:
    (tmp_path / "deny.csv").write_text("movieId\n10\n")
    config = DataConfig(columns={"item": "film", "rating": "stars"})
    assert read_movies(tmp_path / "deny.csv", config).movie_ids == ["10"]
    (tmp_path / "deny.csv").write_text("film,title\n20,A\n")
    assert read_movies(tmp_path / "deny.csv", config).movie_ids == ["20"]


@pytest.mark.parametrize(
    ("content", "columns", "error", "message"),
    [
        ("userId,movieId,rating\n", {}, DataError, "rows below the header, found none"),
        ("userId,film,rating\na,1,4\n", {}, DataError, "a column movieId, found userId, film, rating"),
        ("userId,movieId,rating\na,1,4\n", {"item": "film"}, ConfigError, "found 'film'"),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, content: str, columns: dict[str, str], error: type[Exception], message: str
) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(error) as caught:
        read_ratings(tmp_path / "t.csv", DataConfig(columns=columns), SCALE)
    assert message in str(caught.value)


def test_damaged_parquet_files_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"userId": range(999), "movieId": range(999)}), tmp_path / "p.parquet")
    whole = (tmp_path / "p.parquet").read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "p.parquet").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"p\.parquet: expected .*, found (a damaged one|an empty file)"):
            read_pairs(tmp_path / "p.parquet", PLAIN)
    pq.write_table(pa.table({"userId": [1], "movieId": [2]}).slice(0, 0), tmp_path / "p.parquet")
    with pytest.raises(DataError, match="expected rows"):
        read_pairs(tmp_path / "p.parquet", PLAIN)
    (tmp_path / "p.parquet").write_bytes(whole[:4] + b"\xff" * (len(whole) // 2) + whole[4 + len(whole) // 2 :])
    with pytest.raises(DataError, match=r"p\.parquet: expected a Parquet file, found a damaged one"):
        read_pairs(tmp_path / "p.parquet", PLAIN)


def lists(*users: str) -> list[pa.Table]:
    return [
        pa.table({"userId": [user] * 2, "movieId": ["10", "9"], "rank": pa.array([1, 2], pa.int32())}) for user in users
    ]


def test_lists_keep_the_types_of_ids(tmp_path: Path) -> None:
    assert write_lists(lists("7", "12"), {"user": "int64", "item": "string"}, tmp_path / "l.parquet") == 4
    found = pq.read_table(tmp_path / "l.parquet")
    assert found["userId"].to_pylist() == [7, 7, 12, 12]
    assert found["movieId"].to_pylist() == ["10", "9"] * 2
    assert found["rank"].to_pylist() == [1, 2] * 2


def test_lists_have_large_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelgraph.recommend.output.GROUP_ROWS", 5)
    users = [str(user) for user in range(7)]
    assert write_lists(iter(lists(*users)), {}, tmp_path / "l.parquet") == 14
    file = pq.ParquetFile(tmp_path / "l.parquet")
    assert [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)] == [6, 6, 2]
    assert file.read()["userId"].to_pylist() == [user for user in users for _ in range(2)]


@pytest.mark.parametrize(
    ("kind", "ids", "expected"),
    [
        ("int32", ["1", "-5"], [1, -5]),
        ("uint64", ["18446744073709551615"], [2**64 - 1]),
        ("double", ["3", "4.5"], [3.0, 4.5]),
        ("string", ["007"], ["007"]),
        ("fixed_size_binary[16]", ["12121212-1212-1212-1212-121212121212"], ["12121212-1212-1212-1212-121212121212"]),
        ("dictionary<values=string, indices=int32, ordered=0>", ["a"], ["a"]),
    ],
)
def test_ids_go_back_to_numbers_where_they_were_numbers(kind: str, ids: list[str], expected: list[object]) -> None:
    assert as_type(pa.chunked_array([ids]), kind).to_pylist() == expected


def test_failed_lists_keep_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "l.parquet").write_text("older")

    def broken() -> object:
        yield from lists("1")
        raise KeyError

    with pytest.raises(KeyError):
        write_lists(broken(), {}, tmp_path / "l.parquet")  # type: ignore[arg-type]
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("l.parquet", "older")]
    with pytest.raises(OutputError, match="cannot be written"):
        write_lists(lists("1"), {}, tmp_path / "no" / "l.parquet")


@pytest.mark.parametrize(
    "cell",
    ["0", "1260759144", "1260759144.9", "1260759144123", "-5.5", "2012-06-05", "2012-06-05 10:20:30",
     "2012-06-05T10:20:30.999Z", "1e9", " 12 ", "2012-06-05 10:20", "2012-06-05T10:20:30+02:00", "1260759144123456"],
)  # fmt: skip
def test_times_are_read_as_preparation_reads_them(cell: str, tmp_path: Path) -> None:
    prepared = prepare_rows(tmp_path, [("1", "2", "3", cell), ("1", "3", "4", ""), ("2", "3", "4", "")])
    expected = pq.read_table(prepared / "ratings.parquet").to_pandas().set_index("rating")["timestamp"][3.0]
    times = read_ratings(tmp_path / "r.csv", PLAIN, SCALE).timestamps
    assert times is not None
    assert times[0] == expected


@pytest.mark.parametrize("cell", ["", "soon", "2012-13-05", "2012-06-05T25:20:30+02:00", "1e30", "nan", "20120605x"])
def test_unreadable_times_are_missing(cell: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(f"userId,movieId,timestamp\n1,2,{cell}\n1,3,5\n")
    times = read_pairs(tmp_path / "p.csv", PLAIN).timestamps
    assert times is not None
    assert times.tolist() == [NO_TIME, 5]
    (tmp_path / "q.csv").write_text("userId,movieId\n1,2\n")
    assert read_pairs(tmp_path / "q.csv", PLAIN).timestamps is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("movieId\n10\n20\n", ["10", "20"]),
        ("10\n20\n", ["10", "20"]),
        ("movieId,title\n10,A\n20,B\n", ["10", "20"]),
        ('movieId\n"a,b"\n', ["a,b"]),
        ("title\tmovieId\nA\t10\n", ["10"]),
        ("movieId\n", []),
    ],
)
def test_movie_ids_of_a_list(text: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "allow.csv").write_text(text)
    assert read_movies(tmp_path / "allow.csv", PLAIN).movie_ids == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"hello\nworld\n", "an export of Letterboxd"), (b"movieId,rating\n1,x\n", "rating in row 1, found '1,x'"),
        (b"movieId,rating\n" + b"1" * 200_000 + b",3\n", "a CSV file"),
        (b"Date,Name,Year,Letterboxd URI,Rating\n2020-01-01," + b"A" * 200_000 + b",1999,x,4\n", "a CSV file"),
    ],
)  # fmt: skip
def test_uploads_of_other_files_are_refused(content: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=f"ratings.csv: expected .*{problem}"):
        read_upload("ratings.csv", content)


def test_an_export_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("movieId,rating\n1,4\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # Root may open every file, but not more than this.
    try:
        with pytest.raises(DataError, match=r"ratings.csv: expected a readable file"):
            read_films(tmp_path / "ratings.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

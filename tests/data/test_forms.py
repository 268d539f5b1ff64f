"""MovieLens folders, ids of every type and files of one name, through the whole preparation."""

import hashlib
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelgraph.config import DataConfig
from reelgraph.data.dataset import Dataset, load_prepared, merge
from reelgraph.data.prepare.prepare import prepare
from reelgraph.data.sources import Source, find
from reelgraph.recommend.output import as_type

Rating = tuple[str, str, float]
RATINGS: list[tuple[str, str, str, int]] = [
    ("1", "10", "5", 881250949), ("1", "20", "3", 881250950), ("7", "10", "1", 881250951), ("7", "267", "4", 881250952),
]  # fmt: skip
FLAGS = "|".join("0" * 19)


def loaded(source: Source, out: Path, **config: Any) -> Dataset:
    return load_prepared(prepare(source, DataConfig(**config), out, lambda line: None))


def ratings(data: Dataset) -> set[Rating]:
    """All ratings of the three splits, by raw ids."""
    every = merge(merge(data.train, data.valid), data.test)
    rows = zip(every.user_index.tolist(), every.item_index.tolist(), every.rating.tolist(), strict=True)
    return {(data.users.id(user), data.items.id(item), rating) for user, item, rating in rows}


def lines(separator: str, header: str = "") -> str:
    return header + "".join(separator.join(map(str, row)) + "\n" for row in RATINGS)


FOLDERS = {
    "ml-100k": {
        "u.data": lines("\t"),
        "u.item": f"10|Misérables, Les (1995)|01-Jan-1995||http://x|{FLAGS.replace('0', '1', 9)}\n"
        f"20|Heat (1995)|01-Jan-1996||http://y|{FLAGS}\n267|unknown||||1{FLAGS[1:]}\n".replace(
            FLAGS.replace("0", "1", 9), "|".join("0000010010000000000")
        ),
        "u.user": "1|24|M|technician|85711\n7|57|F|other|T8H1N\n",
    },
    "ml-1m": {
        "ratings.dat": lines("::"),
        "movies.dat": '10::Misérables, Les (1995)::Comedy|Drama\n20::Heat: "2" (1995)::\n267::unknown::\n',
        "users.dat": "1::M::25::12::85711\n7::F::56::0::02139-1955\n",
    },
    "ml-latest": {
        "ratings.csv": lines(",", "userId,movieId,rating,timestamp\n"),
        "movies.csv": 'movieId,title,genres\n10,"Misérables, Les (1995)",Comedy|Drama\n20,Heat (1995),\n'
        "267,unknown,(no genres listed)\n",
        "links.csv": "movieId,imdbId,tmdbId\n10,1,2\n",
    },
}


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_movielens_folders_of_three_generations_are_prepared(tmp_path: Path, name: str, encoding: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for file, text in FOLDERS[name].items():
        (folder / file).write_text(text, encoding=encoding)
    data = loaded(find(folder), tmp_path / "prepared")
    assert ratings(data) == {(user, movie, float(rating)) for user, movie, rating, _ in RATINGS}
    assert data.rejects.num_rows == 0
    every = merge(merge(data.train, data.valid), data.test)
    assert every.timestamp is not None
    assert sorted(every.timestamp.tolist()) == [time for *_, time in RATINGS]
    movies = {row["movieId"]: row for row in data.item_table.to_pylist()}
    assert {row["title"] for row in movies.values()} >= {"Les Misérables", "unknown"}
    assert {movie: row["year"] for movie, row in movies.items()} == {"10": 1995, "20": 1995, "267": None}
    assert movies["10"]["genres"] == "Comedy|Drama"
    assert (movies["20"]["genres"], movies["267"]["genres"]) == (None, None)
    users = {row["userId"]: row for row in data.user_table.to_pylist()}
    assert users.keys() == {"1", "7"}
    if name != "ml-latest":
        assert [users[user]["gender"] for user in ("1", "7")] == ["M", "F"]


UUIDS = [str(uuid.UUID(int=place << 64 | 0xABC)) for place in (1, 2, 2**60)]
TYPES: dict[str, tuple[list[str], pa.Array]] = {
    "int64": (["1", "-20", "9007199254740993"], pa.array([1, -20, 2**53 + 1])),
    "uint64": (["0", "5", "18446744073709551615"], pa.array([0, 5, 2**64 - 1], pa.uint64())),
    "double": (["1", "2", "4503599627370496"], pa.array([1.0, 2.0, 2.0**52])),
    "string": (["007", 'a,b"c', "用户 ü"], pa.array(["007", 'a,b"c', "用户 ü"])),
    "uuid": (UUIDS, pa.array([uuid.UUID(text).bytes for text in UUIDS], pa.uuid())),
    "fixed_size_binary[16]": (UUIDS, pa.array([uuid.UUID(text).bytes for text in UUIDS], pa.binary(16))),
    "uuid text": (UUIDS, pa.array(UUIDS)),
}


@pytest.mark.parametrize(
    ("name", "form"),
    [("int64", "csv"), ("string", "csv"), ("uuid text", "csv"), *((name, "parquet") for name in TYPES)],
)
def test_ids_of_every_type_come_back_exactly(tmp_path: Path, name: str, form: str) -> None:
    ids, column = TYPES[name]
    places = [(user, item) for user in range(3) for item in range(3)]
    stars = [float((user + 2 * item) % 5 + 1) for user, item in places]
    path = tmp_path / f"r.{form}"
    if form == "parquet":
        users, items = (column.take(pa.array(side)) for side in zip(*places, strict=True))
        pq.write_table(pa.table({"userId": users, "movieId": items, "rating": stars}), path)
    else:
        quoted = ['"' + text.replace('"', '""') + '"' for text in ids]
        rows = [f"{quoted[u]},{quoted[i]},{rating}\n" for (u, i), rating in zip(places, stars, strict=True)]
        path.write_text("userId,movieId,rating\n" + "".join(rows), encoding="utf-8")
    data = loaded(find(path), tmp_path / "prepared")
    expected = {(ids[u], ids[i], rating) for (u, i), rating in zip(places, stars, strict=True)}
    assert ratings(data) == expected
    kind = data.manifest["source"]["id_types"]["user"]
    assert kind == (str(column.type) if form == "parquet" else "string")
    back = as_type(pa.chunked_array([data.users.ids]), kind)
    if kind in {"int64", "uint64", "double"}:
        assert back.type == column.type
        assert sorted(back.to_pylist()) == sorted(column.to_pylist())
    else:
        assert sorted(back.to_pylist()) == sorted(ids)


def test_a_directory_of_parts_is_one_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f"{user}", f"{item}", float((user + item) % 5 + 1), 1000 + user) for user in range(9) for item in range(9)]
    rows[40] = ("5", "7", float("nan"), 3)
    columns = ("userId", "movieId", "rating", "timestamp")
    table = pa.table({name: list(cells) for name, cells in zip(columns, zip(*rows, strict=True), strict=True)})
    times = table["timestamp"].cast(pa.timestamp("s"))
    whole, parts = tmp_path / "ratings.parquet", tmp_path / "parts"
    pq.write_table(table, whole)
    parts.mkdir()
    # Types that differ from part to part say the same; Spark leaves marks beside them.
    pq.write_table(table.slice(30).set_column(3, "timestamp", times.slice(30)), parts / "part-1.snappy.parquet")
    pq.write_table(
        table.slice(0, 30).set_column(2, "rating", table["rating"].slice(0, 30).cast("float")), parts / "0.pq"
    )
    (parts / "_SUCCESS").touch()
    (parts / ".part-1.snappy.parquet.crc").write_bytes(b"crc")
    one, other = loaded(find(whole), tmp_path / "one"), loaded(find(parts), tmp_path / "other")
    monkeypatch.chdir(parts)
    inside = loaded(find(Path()), tmp_path / "inside")
    assert ratings(one) == ratings(other) == ratings(inside)
    for data, name in ((one, "ratings.parquet"), (other, "parts"), (inside, "parts")):
        assert data.manifest["split"] == one.manifest["split"]
        assert [(row["file"], row["row"], row["reason"]) for row in data.rejects.to_pylist()] == [
            (name, 41, "rating is NaN")
        ]
    (file,) = other.manifest["source"]["files"]
    bytes_of_parts = b"".join((parts / name).read_bytes() for name in ("0.pq", "part-1.snappy.parquet"))
    assert file["bytes"] == len(bytes_of_parts)
    assert file["sha256"] == hashlib.sha256(bytes_of_parts).hexdigest()


def test_parts_beside_movies_in_a_folder_are_found(tmp_path: Path) -> None:
    (tmp_path / "ratings.parquet").mkdir()
    pq.write_table(
        pa.table({"u_id": [1, 2, 2], "movie": [5, 5, 6], "stars": [1, 2, 3]}), tmp_path / "ratings.parquet/0.pq"
    )
    (tmp_path / "movies.parquet").mkdir()
    pq.write_table(pa.table({"movieId": [5, 6], "title": ["A (1990)", "B"]}), tmp_path / "movies.parquet/0.pq")
    data = loaded(find(tmp_path), tmp_path / "prepared", columns={"user": "u_id"})
    assert ratings(data) == {("1", "5", 1), ("2", "5", 2), ("2", "6", 3)}
    assert {row["movieId"]: row["title"] for row in data.item_table.to_pylist()} == {"5": "A", "6": "B"}


def test_numeric_and_text_times_in_two_files(tmp_path: Path) -> None:
    times = [10**12 - 5000, 10**12, None]
    rows = pa.table({"userId": [1, 1, 2], "movieId": [1, 2, 1], "rating": [1, 2, 3], "timestamp": times})
    pq.write_table(rows, tmp_path / "r.parquet")
    (tmp_path / "t.csv").write_text("userId,movieId,rating,timestamp\n2,2,4,1970-01-02\n1,3,4,never\n")
    source = find(tmp_path / "r.parquet", test=tmp_path / "t.csv")
    data = loaded(source, tmp_path / "p", split="given", valid_share=0)
    assert data.train.timestamp is not None
    assert sorted(data.train.timestamp.tolist()) == [0, 10**9 - 5, 10**9]
    assert data.test.timestamp is not None
    assert sorted(data.test.timestamp.tolist()) == [0, 86_400], "an unreadable time costs the time alone"
    assert data.rejects.num_rows == 0


def test_files_of_the_same_name_are_distinguished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, text in (("train", "a,1,x\na,1,4\nb,2,5\nb,1,2\n"), ("test", "z,1,oops\na,1,3\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "r.csv").write_text("userId,movieId,rating\n" + text)
    data = loaded(find(Path("train/r.csv"), test=Path("test/r.csv")), tmp_path / "p", split="given", valid_share=0)
    assert [(row["file"], row["row"], row["reason"].split(":")[0]) for row in data.rejects.to_pylist()] == [
        ("test/r.csv", 1, "rating is not a number"),
        ("train/r.csv", 1, "rating is not a number"),
        ("train/r.csv", 2, "also in the test file"),
    ]
    assert [file["name"] for file in data.manifest["source"]["files"]] == ["train/r.csv", "test/r.csv"]
    assert (data.test.rating.tolist(), sorted(data.train.rating.tolist())) == ([3], [2, 5])


def test_a_test_file_without_known_ids_is_counted(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("userId,movieId,rating\na,1,3\nb,2,4\na,2,5\n")
    (tmp_path / "t.csv").write_text("userId,movieId,rating\ny,1,3\nz,9,4\nz,1,4\n")
    data = loaded(find(tmp_path / "r.csv", test=tmp_path / "t.csv"), tmp_path / "p", split="given", valid_share=0)
    counts = data.manifest["counts"]
    assert (counts["train"], counts["test"]) == (3, 3)
    assert (counts["unknown_test_users"], counts["unknown_test_movies"]) == (2, 1)

"""Fingerprints and prepared directories."""

import hashlib
import json
import shutil
import struct
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import reelgraph as rg
from reelgraph.config import DataConfig
from reelgraph.data.dataset import Interactions, load_prepared, merge
from reelgraph.data.prepare.fingerprint import Fingerprint, Hashes
from reelgraph.data.prepare.prepare import prepare
from reelgraph.data.sources import find
from reelgraph.data.vocabulary import Vocabulary
from reelgraph.errors import ConfigError, DataError


def part(rows: list[tuple[int, int, float, int]]) -> Interactions:
    user, item, rating, time = (np.asarray(column) for column in zip(*rows, strict=True))
    return Interactions(user.astype(np.int32), item.astype(np.int32), rating.astype(np.float32), time.astype(np.int64))


def fingerprint(part: Interactions, users: Vocabulary, items: Vocabulary) -> str:
    result = Fingerprint()
    result.add(Hashes(users, items).of(part))
    return str(result)


def mixed(word: int) -> int:
    """The finaliser of splitmix64, in whole numbers."""
    word &= 2**64 - 1
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
    return word ^ (word >> 31)


@pytest.mark.parametrize("timed", [True, False])
def test_a_fingerprint_equals_its_definition(timed: bool) -> None:
    def digest(name: str) -> int:
        return int.from_bytes(hashlib.md5(name.encode()).digest()[:8], "little")

    rows, users, items = [(0, 0, 4.0, 10), (0, 1, 3.5, 2**40), (1, 1, -2.5, -12)], ["a", "ü"], ["x", "y"]
    total = folded = 0
    for user, item, rating, time in rows:
        word = mixed(mixed(digest(users[user]) ^ 0x9E3779B97F4A7C15) + digest(items[item]))
        word += struct.unpack("<I", struct.pack("<f", rating))[0]
        word = mixed(mixed(word) + time) if timed else mixed(word)
        total, folded = (total + word) % 2**64, folded ^ word
    vocabularies = Vocabulary(pa.array(users), "user"), Vocabulary(pa.array(items), "movie")
    whole = part(rows) if timed else replace(part(rows), timestamp=None)
    assert fingerprint(whole, *vocabularies) == f"{total:016x}{folded:016x}"
    parts = Fingerprint()
    for block in (whole.take(slice(0, 2)), whole.take(slice(2, 2)), whole.take(slice(2, 3))):
        parts.add(Hashes(*vocabularies).of(block))
    assert (str(parts), parts.count) == (f"{total:016x}{folded:016x}", 3)


def test_a_fingerprint_follows_from_the_ratings_alone() -> None:
    rows = [(0, 0, 4.0, 10), (0, 1, 3.0, 11), (1, 1, 2.5, 12)]
    users, items = Vocabulary(pa.array(["a", "b"]), "user"), Vocabulary(pa.array(["x", "y"]), "movie")
    name = fingerprint(part(rows), users, items)
    assert fingerprint(part(rows[::-1]), users, items) == name, "not on the order of rows"
    turned = [(1 - u, 1 - i, r, t) for u, i, r, t in rows]
    more = Vocabulary(pa.array(["y", "x", "z"]), "movie")
    assert fingerprint(part(turned), Vocabulary(pa.array(["b", "a"]), "user"), more) == name, "nor on indices"
    for place, change in ((0, (1, 0, 4.0, 10)), (0, (0, 1, 4.0, 10)), (1, (0, 1, 3.5, 11)), (2, (1, 1, 2.5, 13))):
        changed = [*rows[:place], change, *rows[place + 1 :]]
        assert fingerprint(part(changed), users, items) != name, change
    assert fingerprint(part(rows[:2]), users, items) != name


def test_merged_splits_stay_sorted() -> None:
    both = merge(part([(0, 1, 1, 1), (2, 0, 2, 2)]), part([(0, 0, 3, 3), (1, 5, 4, 4)]))
    assert list(zip(both.user_index, both.item_index, both.rating, strict=True)) == [
        (0, 0, 3),
        (0, 1, 1),
        (1, 5, 4),
        (2, 0, 2),
    ]
    assert both.timestamp is not None
    assert both.timestamp.tolist() == [3, 1, 4, 2]


def test_ids_come_back_as_they_went_in(tmp_path: Path) -> None:
    users = ["007", "7", "Ünal", "3f2b8c1e-0000-4000-8000-000000000001", "1.5", "-0", "1e5", "Nan"]
    lines = [f"{user};m/{movie};{(place + movie) % 5 + 1}" for place, user in enumerate(users) for movie in range(4)]
    (tmp_path / "r.csv").write_text("userId;movieId;rating\n" + "\n".join(lines) + "\n", encoding="utf-8")
    data = load_prepared(prepare(find(tmp_path / "r.csv"), DataConfig(), tmp_path / "p", lambda line: None))
    assert sorted(data.users.ids.to_pylist()) == sorted(users)
    assert data.train.timestamp is None
    together = merge(merge(data.train, data.valid), data.test)
    found = {
        (data.users.id(int(u)), data.items.id(int(i)), float(r))
        for u, i, r in zip(together.user_index, together.item_index, together.rating, strict=True)
    }
    assert found == {(u, m, float(r)) for u, m, r in (line.split(";") for line in lines)}


def test_side_tables_are_joined_by_id(tmp_path: Path, tables: Path) -> None:
    data = load_prepared(prepare(find(tables), DataConfig(), tmp_path / "p", lambda line: None))
    for index in range(len(data.items)):
        movie = int(data.items.id(index)) // 10 - 1
        assert data.item_table["title"][index].as_py() == f"Movie, The {movie + 1}"
    for index in range(len(data.users)):
        assert data.user_table["gender"][index].as_py() == "FM"[(int(data.users.id(index)) - 1) % 2]


def test_unreadable_directories_are_refused(tmp_path: Path, tables: Path) -> None:
    prepared = prepare(find(tables), DataConfig(), tmp_path / "p", lambda line: None)
    manifest = json.loads((prepared / "manifest.json").read_text())
    copy = Path(shutil.copytree(prepared, tmp_path / "copy"))
    (copy / "manifest.json").write_text(json.dumps(manifest | {"version": 99}))
    with pytest.raises(DataError, match="expected format version 1, found 99"):
        load_prepared(copy)
    (copy / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="manifest"):
        load_prepared(copy)
    for other in ("a list", manifest | {"kind": "reelgraph-lists"}):
        (copy / "manifest.json").write_text(json.dumps(other))
        with pytest.raises(DataError, match="expected kind 'reelgraph-prepared'"):
            load_prepared(copy)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    ratings = pq.read_table(copy / "ratings.parquet")
    other_split = pa.array(["later"] * len(ratings))
    pq.write_table(ratings.drop_columns("split").append_column("split", other_split), copy / "ratings.parquet")
    with pytest.raises(DataError, match=r"ratings\.parquet: expected splits train, valid, test, found"):
        load_prepared(copy)
    (copy / "users.parquet").write_bytes((copy / "users.parquet").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"users\.parquet: expected a Parquet file"):
        load_prepared(copy)


def test_a_prepared_directory_has_its_tables(tmp_path: Path, tables: Path) -> None:
    prepared = prepare(find(tables), DataConfig(), tmp_path / "p", lambda line: None)
    with pytest.raises(ConfigError, match="without --items, --users and --test"):
        rg.load(prepared, items=tables / "movies.csv")


def test_the_manifest_says_how_the_directory_was_made(tmp_path: Path, tables: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    prepared = prepare(find(tables), DataConfig(split_seed=7), tmp_path / "p", lambda line: None)
    manifest = load_prepared(prepared).manifest
    assert manifest["engine"] == "duckdb"
    assert manifest["settings"] == {"split_seed": 7}
    assert manifest["source"]["id_types"] == {"user": "string", "item": "string"}
    assert before <= datetime.fromisoformat(manifest["created"]) <= datetime.now(UTC)

"""Splits drawn by hash, by time and by user."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reelgraph.config import DataConfig
from reelgraph.data.dataset import load_prepared
from reelgraph.data.prepare.prepare import prepare
from reelgraph.data.sources import find
from reelgraph.errors import ConfigError, DataError
from tests.support.worlds import prepare_rows

ROWS: list[tuple[object, ...]] = [
    (user, movie, (user * movie) % 5 + 1, 1000 * user + 7 * movie) for user in range(30) for movie in range(40)
]


def splits(path: Path) -> dict[tuple[str, str], tuple[str, int]]:
    data = load_prepared(path)
    table = pq.read_table(path / "ratings.parquet").to_pylist()
    return {
        (data.users.id(row["user_index"]), data.items.id(row["item_index"])): (row["split"], row["timestamp"])
        for row in table
    }


def test_random_splits_do_not_depend_on_other_ratings(tmp_path: Path) -> None:
    whole = splits(prepare_rows(tmp_path, ROWS))
    half = splits(prepare_rows(tmp_path, ROWS[::2]))
    assert all(whole[pair] == split for pair, split in half.items())
    shares = Counter(split for split, _ in whole.values())
    assert 80 < shares["test"] < 160
    assert 70 < shares["valid"] < 150
    other = splits(prepare_rows(tmp_path, ROWS, split_seed=1))
    assert sum(whole[pair] != other[pair] for pair in whole) > 100
    for share in (0.0, 0.5):
        found = Counter(
            split for split, _ in splits(prepare_rows(tmp_path, ROWS, test_share=share, valid_share=0)).values()
        )
        assert found["valid"] == 0
        assert abs(found["test"] - share * 1200) < 60


def test_time_split_takes_the_newest_share(tmp_path: Path) -> None:
    found = splits(prepare_rows(tmp_path, ROWS, split="time", test_share=0.2, valid_share=0.25))
    times: dict[str, list[int]] = {}
    for split, time in found.values():
        times.setdefault(split, []).append(time)
    assert max(times["train"]) < min(times["valid"])
    assert max(times["valid"]) < min(times["test"])
    assert (len(times["test"]), len(times["valid"])) == (240, 240)


def test_time_keeps_equal_times_together(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [(user, movie, (user + movie) % 5 + 1, movie // 10) for user, movie, *_ in ROWS]  # type: ignore[operator]
    found = splits(prepare_rows(tmp_path, rows, split="time", test_share=0.1, valid_share=0.1))
    assert {time: split for split, time in found.values()} == {0: "train", 1: "train", 2: "valid", 3: "test"}


def test_time_needs_timestamps(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected timestamps, found none"):
        prepare_rows(tmp_path, [row[:3] for row in ROWS], split="time")


def test_last_takes_each_users_newest(tmp_path: Path) -> None:
    rows = [*ROWS, ("lonely", 1, 3, 5), ("pair", 1, 3, 5), ("pair", 2, 4, 6)]
    found = splits(prepare_rows(tmp_path, rows, split="last", last=2))
    for user in range(30):
        mine = sorted((time, split) for (who, _), (split, time) in found.items() if who == str(user))
        assert [split for _, split in mine[-4:]] == ["valid", "valid", "test", "test"]
        assert {split for _, split in mine[:-4]} == {"train"}
    assert found[("lonely", "1")][0] == "train"
    assert (found[("pair", "1")][0], found[("pair", "2")][0]) == ("train", "test")


def test_a_split_that_leaves_nothing_to_train_on(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [(user, movie, rating, 5) for user, movie, rating, _ in ROWS]
    with pytest.raises(DataError, match="expected some ratings to train on, found none"):
        prepare_rows(tmp_path, rows, split="time")
    assert not (tmp_path / "p").exists()


def test_newest_of_duplicates_wins_and_given_tests_leave_training(tmp_path: Path) -> None:
    lines = "u,m,1,10\nu,m,2,30\nu,m,3,20\nu,n,4,1\nv,m,5,1\nv,n,1,1\nw,m,2,\nw,m,3,\n"
    (tmp_path / "r.csv").write_text("userId,movieId,rating,timestamp\n" + lines)
    (tmp_path / "t.csv").write_text("userId,movieId,rating,timestamp\nv,m,2,9\n")
    source = find(tmp_path / "r.csv", test=tmp_path / "t.csv")
    out = prepare(source, DataConfig(split="given", valid_share=0), tmp_path / "p", lambda line: None)
    data = load_prepared(out)
    train = {
        (data.users.id(int(u)), data.items.id(int(i))): float(r)
        for u, i, r in zip(data.train.user_index, data.train.item_index, data.train.rating, strict=True)
    }
    assert train == {("u", "m"): 2, ("u", "n"): 4, ("v", "n"): 1, ("w", "m"): 3}
    assert data.test.rating.tolist() == [2]
    reasons = {(row["row"], row["reason"].split(":")[0]) for row in data.rejects.to_pylist()}
    assert reasons == {(1, "duplicate"), (3, "duplicate"), (7, "duplicate"), (5, "also in the test file")}

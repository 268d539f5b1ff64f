"""Preparation against a naive oracle in plain Python."""

import hashlib
import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reelgraph.config import DataConfig
from reelgraph.data import sources
from reelgraph.data.prepare.prepare import prepare

Row = tuple[str, ...]  # user, movie, rating and timestamp as they stand in the file; another number is malformed
Kept = tuple[str, str, float, int | None, str]  # with the split
Refused = tuple[str, int, tuple[str | None, ...], str]  # file, row number, raw values, reason
CELLS = ("userId", "movieId", "rating", "timestamp")

# --- what preparation wrote ---


def run(tmp_path: Path, rows: Sequence[Row], *, test: Sequence[Row] = (), **config: Any) -> Path:
    """Prepare rows as a CSV file, with a blank line here and there; returns the Prepared directory."""
    for name, part in (("ratings.csv", rows), ("test.csv", test)):
        lines = ["userId,movieId,rating,timestamp"]
        for place, row in enumerate(part):
            lines += [""] * (place % 50 == 7) + [",".join(row)]
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    source = sources.find(tmp_path / "ratings.csv", test=tmp_path / "test.csv" if test else None)
    return prepare(source, DataConfig(**config), tmp_path / "prepared", lambda line: None)


def ids_of(out: Path, name: str, identity: str) -> list[str]:
    """Raw ids in index order."""
    table = pq.read_table(out / f"{name}s.parquet")
    assert table[f"{name}_index"].to_pylist() == list(range(table.num_rows))
    ids: list[str] = table[identity].to_pylist()
    return ids


def ratings_of(out: Path) -> list[Kept]:
    """Every kept rating with its raw ids, in the file's order."""
    users, movies = ids_of(out, "user", "userId"), ids_of(out, "item", "movieId")
    rows = pq.read_table(out / "ratings.parquet").to_pylist()
    indices = [(row["user_index"], row["item_index"]) for row in rows]
    assert indices == sorted(indices)
    return [
        (users[row["user_index"]], movies[row["item_index"]], row["rating"], row["timestamp"], row["split"])
        for row in rows
    ]


def rejects_of(out: Path) -> list[Refused]:
    """Every refused row, in the file's order."""
    rows = pq.read_table(out / "rejects.parquet").to_pylist()
    return [(row["file"], row["row"], tuple(row[name] for name in (*CELLS, "raw")), row["reason"]) for row in rows]


# --- the oracle: one row at a time, no library ---

LOW, HIGH = 0.5, 5.0
OUTSIDE = "rating is outside the scale 0.5-5 (given by --scale)"
DUPLICATE = "duplicate: a newer rating of the same user and movie is kept"
ALSO_TEST = "also in the test file: kept there, not in training"


def number(text: str) -> float | None:
    if not text or any(letter not in "0123456789+-.eE" for letter in text):
        return None
    try:
        return float(text)
    except ValueError:
        return None


def seconds(text: str) -> int | None:
    value = number(text)
    if value is not None:
        return math.floor(value) if abs(value) < 1e11 else None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return math.floor(parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp())


def spelled(text: str) -> str:
    """The id that a cell holds: blanks do not count, and whole floats are integers."""
    text = text.strip()
    whole, point, fraction = text.partition(".")
    return whole if point and whole.isdigit() and not fraction.strip("0") and whole == str(int(whole)) else text


def reason(row: Row, *, need_time: bool) -> str | None:  # noqa: PLR0911 (one return a reason)
    if len(row) != len(CELLS):
        return f"malformed row: expected 4 cells, found {len(row)}"
    user, movie, rating, time = row
    rating, time = rating.strip(), time.strip()
    if spelled(user) in {"", "NULL", "nan"}:
        return "user id is missing"
    if spelled(movie) in {"", "None", "\\N"}:
        return "movie id is missing"
    if not rating or rating.lower() == "null":
        return "rating is missing"
    if rating.lower() == "nan":
        return "rating is NaN"
    if rating.lower() in {"inf", "-inf", "infinity"}:
        return "rating is infinite"
    value = number(rating)
    if value is None:
        return "rating is not a number"
    if math.isinf(value):
        return "rating is infinite"
    if need_time and time and seconds(time) is None:
        return "timestamp is not a number or date"
    return None if LOW <= value <= HIGH else OUTSIDE


def age(row: Row) -> int:
    """The time that counts; a rating without one is older than any other."""
    time = seconds(row[3].strip())
    return -(2**62) if time is None else time


def newest(rows: Mapping[int, Row]) -> dict[int, Row]:
    """Of each pair's rows the last of the newest, by row number."""
    kept: dict[Row, int] = {}
    for place, row in rows.items():
        other = kept.get(row[:2], place)
        kept[row[:2]] = place if age(row) >= age(rows[other]) else other
    return {place: rows[place] for place in sorted(kept.values())}


def cut(ages: list[int], share: float) -> float:
    """The latest time from which on there is at least this share."""
    wanted = math.ceil(share * len(ages))
    return sorted(ages, reverse=True)[wanted - 1] if wanted else math.inf


def split_of(rows: Mapping[int, Row], kind: str, seed: int, test: float, valid: float) -> dict[int, str]:
    """The split of each row, by row number."""
    if kind == "time":
        from_test = cut([age(row) for row in rows.values()], test)
        from_valid = cut([age(row) for row in rows.values() if age(row) < from_test], valid)
        return {
            place: "test" if age(row) >= from_test else "valid" if age(row) >= from_valid else "train"
            for place, row in rows.items()
        }
    if kind == "last":
        mine: defaultdict[str, list[int]] = defaultdict(list)
        for place in sorted(rows, key=lambda place: (age(rows[place]), place), reverse=True):
            mine[rows[place][0]].append(place)
        return {
            place: "train" if rank == len(places) - 1 else ["test", "valid", "train"][min(rank, 2)]
            for places in mine.values()
            for rank, place in enumerate(places)
        }
    test = 0 if kind == "given" else test
    found = {}
    for place, (user, movie, *_) in rows.items():
        digest = hashlib.md5(f"{seed}|{user}|{movie}".encode(), usedforsecurity=False).hexdigest()
        share = int(digest[:8], 16) / 2**32
        found[place] = "test" if share < test else "valid" if share < test + valid * (1 - test) else "train"
    return found


class Oracle:
    """What preparation must make of files of rows."""

    def __init__(
        self, rows: Sequence[Row], tests: Sequence[Row], kind: str, seed: int, shares: tuple[float, float]
    ) -> None:
        self.rejects: list[Refused] = []
        self.need_time = kind in {"time", "last"}
        train, test = self.judged("ratings.csv", rows), self.judged("test.csv", tests)
        self.users = {row[0] for row in [*train.values(), *test.values()]}
        self.movies = {row[1] for row in [*train.values(), *test.values()]}
        tested = {row[:2] for row in test.values()}
        for place in [place for place, row in train.items() if row[:2] in tested]:
            train.pop(place)
            self.refuse("ratings.csv", place, rows[place - 1], ALSO_TEST)
        splits = split_of(train, kind, seed, *shares)
        self.ratings = [self.rated(row, splits[place]) for place, row in train.items()]
        self.ratings += [self.rated(row, "test") for row in test.values()]
        self.rejects.sort(key=lambda refused: refused[:2])

    def judged(self, file: str, rows: Sequence[Row]) -> dict[int, Row]:
        """The rows that can be used, by row number, one a pair."""
        good = {}
        for place, row in enumerate(rows, start=1):
            why = reason(row, need_time=self.need_time)
            if why is None:
                good[place] = (spelled(row[0]), spelled(row[1]), *row[2:])
            else:
                self.refuse(file, place, row, why)
        kept = newest(good)
        for place in good.keys() - kept.keys():
            self.refuse(file, place, rows[place - 1], DUPLICATE)
        return kept

    def refuse(self, file: str, place: int, row: Row, why: str) -> None:
        whole = len(row) == len(CELLS)
        row = (spelled(row[0]), spelled(row[1]), *row[2:]) if whole else row
        cells = (*(cell or None for cell in row), None) if whole else (None, None, None, None, ",".join(row))
        self.rejects.append((file, place, cells, why))

    @staticmethod
    def rated(row: Row, split: str) -> Kept:
        rating = pa.scalar(float(row[2]), pa.float32()).as_py()
        return (row[0], row[1], rating, seconds(row[3].strip()), split)


def by_digest(ids: set[str]) -> list[str]:
    return sorted(ids, key=lambda name: (hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(), name))


def dirty_rows(rng: random.Random, count: int) -> list[Row]:
    """Rows of which a good part is wrong in one way or another."""
    users = [*"abcdefgh", "1", "01", "1.0", " a", "ü", "用户", "", "NULL", " nan"]
    movies = [*"123456789", "10", "x y", "é|b", "", "None", "\\N", "3.0"]
    good = ["0.5", "1", "2", "3.5", "4", "5", "5.0", " 4 ", "4e0", "+3", ".5"]
    beyond = ["0", "5.5", "-1", "6", "1e999", "nan", "NaN", "inf", "-Inf", "Infinity", "", "null"]
    ratings = [*good * 4, *beyond, "abc", "1d", "1_0", "4f", "0x1", "1e", "\u0663", "4..", "--1"]
    seconds = [str(1_000_000_000 + 7 * step) for step in range(40)]
    dates = ["2001-09-09", "2001-09-09T01:46:40", "2001-09-09 01:46:47Z", "1969-12-31 23:59:58", "2001-13-01"]
    times = [*seconds, *dates, "", " ", "1000000000.9", "-5", "-5.5", "1000000000123", "yesterday", "5d", "1e99"]
    broken: list[Row] = [("x",), ("a", "1", "4"), ("a", "1", "4", "5", ""), ("a", "1", "4", "5", "6", "7")]
    rows = [(rng.choice(users), rng.choice(movies), rng.choice(ratings), rng.choice(times)) for _ in range(count)]
    return [rng.choice(broken) if rng.random() < 0.03 else row for row in rows]


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**31),
    kind=st.sampled_from(["random", "time", "last", "given"]),
    shares=st.sampled_from([(0.1, 0.1), (0.25, 0.5), (0.0, 0.2), (0.3, 0.0)]),
)
@example(seed=0, kind="random", shares=(0.1, 0.1))
@example(seed=1, kind="time", shares=(0.1, 0.1))
@example(seed=2, kind="last", shares=(0.1, 0.1))
@example(seed=3, kind="given", shares=(0.1, 0.1))
def test_dirty_rows_match_a_plain_implementation(
    tmp_path: Path, seed: int, kind: str, shares: tuple[float, float]
) -> None:
    rng = random.Random(seed)
    rows, test = dirty_rows(rng, 400), dirty_rows(rng, 60) if kind == "given" else []
    given_shares = {"test_share": shares[0], "valid_share": shares[1]}
    out = run(tmp_path, rows, test=test, scale=(LOW, HIGH), split=kind, split_seed=seed, **given_shares)
    oracle = Oracle(rows, test, kind, seed, shares)
    assert rejects_of(out) == oracle.rejects
    assert sorted(ratings_of(out), key=repr) == sorted(oracle.ratings, key=repr)
    assert ids_of(out, "user", "userId") == by_digest(oracle.users)
    assert ids_of(out, "item", "movieId") == by_digest(oracle.movies)

    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    parts = Counter(row[-1] for row in oracle.ratings)
    train, tested = ([row for row in oracle.ratings if row[-1] == name] for name in ("train", "test"))
    assert manifest["counts"] == {
        "rows": len(rows) + len(test),
        "rejected": len(oracle.rejects),
        "ratings": len(oracle.ratings),
        "users": len(oracle.users),
        "movies": len(oracle.movies),
        "train": parts["train"],
        "valid": parts["valid"],
        "test": parts["test"],
        "unknown_test_users": len({row[0] for row in tested} - {row[0] for row in train}),
        "unknown_test_movies": len({row[1] for row in tested} - {row[1] for row in train}),
    }
    assert manifest["reasons"] == Counter(why for *_, why in oracle.rejects)
    whole = [row for row in [*rows, *test] if len(row) == len(CELLS)]
    assert manifest["columns"] == {
        name: {
            "null": sum(row[place] == "" for row in whole),
            "nan": sum(row[place].lower() == "nan" for row in whole) if name == "rating" else 0,
        }
        for place, name in enumerate(CELLS)
    }

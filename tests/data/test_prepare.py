"""Preparation against a naive oracle in plain Python, and what it refuses."""

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelgraph.config import DataConfig
from reelgraph.data import sources
from reelgraph.data.prepare import prepare

Row = tuple[str, str, str, str]
Kept = tuple[str, str, float, int | None, str]


def run(tmp_path: Path, rows: Sequence[Sequence[str]], *, test: Sequence[Sequence[str]] = (), **config: Any) -> Path:
    """Prepare rows as a CSV file; returns the Prepared directory."""
    file, out = tmp_path / "ratings.csv", tmp_path / "prepared"
    write(file, rows)
    if test:
        write(tmp_path / "test.csv", test)
        config["split"] = "given"
    return prepare(
        sources.find(file, test=tmp_path / "test.csv" if test else None), DataConfig(**config), out, lambda line: None
    )


def write(file: Path, rows: Sequence[Sequence[str]]) -> None:
    lines = ["userId,movieId,rating,timestamp"] + [",".join(row) for row in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def manifest_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    return found


def ratings_of(out: Path) -> list[Kept]:
    """Every kept rating with its raw ids, in the file's order."""
    users, items = (pq.read_table(out / f"{name}.parquet") for name in ("users", "items"))
    user_ids, movie_ids = users["userId"].to_pylist(), items["movieId"].to_pylist()
    return [
        (user_ids[row["user_index"]], movie_ids[row["item_index"]], row["rating"], row["timestamp"], row["split"])
        for row in pq.read_table(out / "ratings.parquet").to_pylist()
    ]


def rejects_of(out: Path) -> list[tuple[str, int, str]]:
    return [(row["file"], row["row"], row["reason"]) for row in pq.read_table(out / "rejects.parquet").to_pylist()]


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
        value = value / 1000 if abs(value) > 1e11 else value
        return math.floor(value) if abs(value) < 1e16 else None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return math.floor(parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp())


def reason(row: Row) -> str | None:  # noqa: PLR0911 (one return a reason)
    user, movie, rating, time = row
    if not user:
        return "user id is missing"
    if not movie:
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
    if time and seconds(time) is None:
        return "timestamp is not a number or date"
    return None if LOW <= value <= HIGH else OUTSIDE


def newest(rows: dict[int, Row]) -> dict[int, Row]:
    """The last of the newest rows of each pair, by row number."""
    kept: dict[tuple[str, str], int] = {}
    for place, row in rows.items():
        pair = row[:2]

        def age(at: int) -> tuple[float, int]:
            time = seconds(rows[at][3])
            return (-math.inf if time is None else time, at)

        kept[pair] = max(kept.get(pair, place), place, key=age)
    return {place: rows[place] for place in sorted(kept.values())}


def hash_split(user: str, movie: str, seed: int, test: float, valid: float) -> str:
    digest = hashlib.md5(f"{seed}|{user}|{movie}".encode(), usedforsecurity=False).hexdigest()
    share = int(digest[:8], 16) / 2**32
    return "test" if share < test else "valid" if share < test + valid * (1 - test) else "train"


class Oracle:
    """What preparation must give for a file of rows."""

    def __init__(self, rows: Sequence[Row], test: Sequence[Row] = (), seed: int = 0) -> None:
        files = {"ratings.csv": rows, "test.csv": test}
        self.rejects: list[tuple[str, int, str]] = []
        kept: dict[str, dict[int, Row]] = {}
        for name, part in files.items():
            good = {}
            for place, row in enumerate(part, start=1):
                why = reason(row)
                if why is None:
                    good[place] = row
                else:
                    self.rejects.append((name, place, why))
            kept[name] = newest(good)
            self.rejects += [(name, place, DUPLICATE) for place in good if place not in kept[name]]
        tested = {row[:2] for row in kept["test.csv"].values()}
        for place, row in list(kept["ratings.csv"].items()):
            if row[:2] in tested:
                self.rejects.append(("ratings.csv", place, ALSO_TEST))
                del kept["ratings.csv"][place]
        self.ratings = [self.rated(row, "test") for row in kept["test.csv"].values()] + [
            self.rated(row, hash_split(row[0], row[1], seed, 0 if test else 0.1, 0.1))
            for row in kept["ratings.csv"].values()
        ]
        self.rejects.sort()

    @staticmethod
    def rated(row: Row, split: str) -> Kept:
        rating = pa.scalar(float(row[2]), pa.float32()).as_py()
        return (row[0], row[1], rating, seconds(row[3]), split)


def dirty_rows(rng: random.Random, count: int) -> list[Row]:
    """Rows of which a good part is wrong in one way or another."""
    users = [*"abcdefgh", "1", "01", "1.0", "ü", "用户", ""]
    movies = [*"123456789", "10", "x y", "é|b", ""]
    good = ["0.5", "1", "2", "3.5", "4", "5", "5.0", " 4 ", "4e0", "+3", ".5"]
    beyond = ["0", "5.5", "-1", "6", "1e999", "nan", "NaN", "inf", "-Inf", "Infinity", "", "null"]
    ratings = [*good * 4, *beyond, "abc", "1d", "1_0", "4f", "0x1", "1e", "\u0663", "4..", "--1"]
    seconds = [str(1_000_000_000 + 7 * step) for step in range(12)]
    dates = ["2001-09-09", "2001-09-09T01:46:40", "2001-09-09 01:46:47Z", "1969-12-31 23:59:58", "2001-13-01"]
    times = [*seconds * 2, *dates, "", "1000000000.9", "-5", "-5.5", "1000000000123", "yesterday", "5d", "1e99"]
    return [(rng.choice(users), rng.choice(movies), rng.choice(ratings), rng.choice(times)) for _ in range(count)]


def strip(row: Row) -> Row:
    return (row[0], row[1], row[2].strip(), row[3].strip())


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), given_test=st.booleans())
def test_dirty_rows_come_out_as_the_oracle_says(tmp_path: Path, seed: int, given_test: bool) -> None:
    rng = random.Random(seed)
    rows, test = dirty_rows(rng, 400), dirty_rows(rng, 60) if given_test else []
    out = run(tmp_path, rows, test=test, scale=(LOW, HIGH), split_seed=seed)
    oracle = Oracle([strip(row) for row in rows], [strip(row) for row in test], seed)
    assert rejects_of(out) == oracle.rejects
    assert sorted(ratings_of(out), key=repr) == sorted(oracle.ratings, key=repr)
    counts = manifest_of(out)["counts"]
    assert counts["rows"] == len(rows) + len(test)
    assert counts["rejected"] == len(oracle.rejects)
    assert manifest_of(out)["reasons"] == Counter(why for _, _, why in oracle.rejects)
    assert {name: counts[name] for name in ("train", "valid", "test")} == {
        name: sum(row[-1] == name for row in oracle.ratings) for name in ("train", "valid", "test")
    }

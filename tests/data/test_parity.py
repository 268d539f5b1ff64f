"""One code, two engines: what DuckDB prepares and what Spark prepares is equal, row by row."""

import csv
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from reelgraph.config import DataConfig
from reelgraph.data.dataset import load_prepared
from reelgraph.data.prepare import clean
from reelgraph.data.prepare.prepare import prepare
from reelgraph.data.sources import Source, find
from reelgraph.data.times import parse_times
from reelgraph.engines.engine import open_engine
from tests.support.inputs import ROWS, write_input
from tests.support.parity import compare, dirty
from tests.support.values import CASES

ENGINES = ("duckdb", "local[2]")
CELLS = ("userId", "movieId", "rating", "timestamp")

# --- what may stand in a cell ---

IDS = [
    "1", "01", "001", " 1", "1 ", "1.0", "+1", "-0", "1e3", "a|b", "é", "e\u0301", "用户", "\u00a0", "NaN", "null", "'",
    '"',
]  # fmt: skip
STARS = ["0.5", "1", "2", "3.5", "4", "5", "5.0", " 4 ", "4e0", "+3", ".5", "5.", "-0", "0004"]
NOT_STARS = ["0", "5.5", "-1", "99", "nan", "-NaN", "inf", "-Infinity", "1e999", "1e39", "", " ", "null", "N/A", "None"]
# Digits, capitals and spaces that only some call so: an Arabic three, I with and without its dot, a no-break space.
NOT_NUMBERS = [
    "abc", "1d", "1_0", "4f", "0x1p3", "1e", "\u0663", "4..", "--1", "4\u00a0", "\t4", "\u0130NF", "\u0131NF", "4 5",
    "4,5",
]  # fmt: skip
TIMES = [
    "1000000000", "1000000007.9", "-5", "-5.5", "-0.5", "1e9", "1000000000123", "1e11", "100000000001", "9" * 17,
    "2001-09-09", "2001-09-09T01:46:40", "2001-09-09 01:46:40.999Z", "1969-12-31 23:59:58Z", "0001-01-01", "1582-10-10",
]  # fmt: skip
NOT_TIMES = [
    "", " ", "NaN", "na", "1e99", "2001-13-01", "2001-02-29", "2001-01-01 24:00:00", "2001-01-01 23:59:60", "5d", "now",
]  # fmt: skip


def rows_of(rng: random.Random, ids: list[str], words: list[str], count: int) -> list[tuple[str, ...]]:
    """Rows of which a good part comes again, as often with the same time, and about a third cannot be used."""
    ratings, times = [*STARS * 4, *NOT_STARS, *NOT_NUMBERS, *words], [*TIMES * 2, *NOT_TIMES, *words]
    pools = ([*ids, ""], [*ids[::-1], "7", ""], ratings, times)
    return [tuple(rng.choice(pool) for pool in pools) for _ in range(count)]


def write_csv(path: Path, rows: list[tuple[str, ...]], rng: random.Random) -> Path:
    """Everything in quotes, a row with a cell too many or too few and a blank line here and there."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(CELLS)
        for row in rows:
            writer.writerow(row if rng.random() > 0.03 else (*row, "more") if rng.random() > 0.5 else row[:2])
            file.write("\n" * (rng.random() < 0.03))
    return path


def write_parquet(path: Path, rows: list[tuple[str, ...]], rng: random.Random) -> Path:
    """Text with nulls, and with equal chance numbers and points in time in place of text."""
    columns: list[Any] = list(zip(*rows, strict=True))
    columns = [[cell if rng.random() > 0.05 else None for cell in column] for column in columns]
    if rng.random() < 0.5:
        numbers = [float("nan"), float("inf"), -0.0, None, 3.3, 4.0, 0.5, 7.0]
        columns[2] = pa.array([rng.choice(numbers) for _ in rows], rng.choice([pa.float32(), pa.float64()]))
    if rng.random() < 0.5:
        moments = pa.array([rng.choice([None, -1, 0, 10**15 + 999_999, 10**15]) for _ in rows], pa.int64())
        columns[3] = moments.cast(rng.choice([pa.int64(), pa.timestamp("us"), pa.timestamp("ns", "UTC")]))
    half = len(rows) // 2
    table = pa.table(dict(zip(CELLS, columns, strict=True)))
    path.mkdir()
    pq.write_table(table.slice(0, half), path / "part-0.parquet")
    pq.write_table(table.slice(half), path / "part-1.parquet")
    return path


# --- both engines over the same files ---


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """Spark takes long to start: within this, engines of that name use one session."""
    with open_engine(ENGINES[1]) as engine:
        yield engine.spark


def both(out: Path, source: Source, **config: Any) -> Path:
    """Prepare on both engines and compare; returns one of the results."""
    results = [out / re.sub(r"\W", "", engine) for engine in ENGINES]
    for engine, result in zip(ENGINES, results, strict=True):
        prepare(source, DataConfig(engine=engine, **config), result, lambda line: None)
    compare(*results)
    return results[0]


@pytest.mark.usefixtures("spark")
def test_ml_latest_small_is_prepared_alike(movielens: Path, tmp_path: Path) -> None:
    prepared = load_prepared(both(tmp_path, find(movielens / "ml-latest-small")))
    assert len(prepared.train) + len(prepared.valid) + len(prepared.test) == 100_004
    assert len(prepared.items) == 9125


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("split", ["random", "given"])
def test_counts_are_prepared_alike(tmp_path: Path, split: str) -> None:
    prepared = load_prepared(both(tmp_path, dirty(tmp_path, split), split=split, implicit=True))
    assert prepared.manifest["implicit"]["repeats"] > 0
    assert {float(rating) for part in (prepared.train, prepared.valid, prepared.test) for rating in part.rating} == {
        1.0
    }


@pytest.mark.usefixtures("spark")
def test_ml_100k_with_its_given_test_is_prepared_alike(movielens: Path, tmp_path: Path) -> None:
    names = {"items": Path("u.item"), "users": Path("u.user"), "test": Path("u1.test")}
    prepared = load_prepared(both(tmp_path, find(movielens / "ml-100k" / "u1.base", **names), split="given"))
    assert (len(prepared.train) + len(prepared.valid), len(prepared.test)) == (80_000, 20_000)
    assert prepared.manifest["counts"]["unknown_test_movies"] > 0


@pytest.mark.usefixtures("spark")
def test_a_part_of_ml_1m_is_prepared_alike(movielens: Path, tmp_path: Path) -> None:
    lines = (movielens / "ml-1m" / "ratings.csv").read_text().splitlines(keepends=True)
    (tmp_path / "ratings.csv").write_text("".join([lines[0], *lines[1::15]]))
    tables = {name: movielens / "ml-1m" / f"{file}.dat" for name, file in (("items", "movies"), ("users", "users"))}
    prepared = load_prepared(both(tmp_path, find(tmp_path / "ratings.csv", **tables), split="last"))
    assert prepared.manifest["counts"]["ratings"] == len(lines[1::15])
    assert (len(prepared.users), len(prepared.items)) == (6040, 3883), "those of the tables"
    assert prepared.train.timestamp is None


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("split", ["random", "time", "last", "given"])
def test_dirty_rows_get_the_same_reasons(tmp_path: Path, split: str) -> None:
    prepared = both(tmp_path / "out", dirty(tmp_path, split), split=split, valid_share=0.3, test_share=0.3)
    reasons = load_prepared(prepared).manifest["reasons"]
    assert reasons["rating is not a number"] == (4 if split == "given" else 3)
    assert reasons["rating is infinite"] == 2
    assert reasons.get("timestamp is not a number or date", 0) == (3 if split in ("time", "last") else 0)
    times = pq.read_table(prepared / "ratings.parquet")["timestamp"].to_pylist()
    assert times.count(881250949) == 2


# Unquoted control characters are another table to a reader of CSV; in Parquet any text may stand.
PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=5)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@st.composite
def drawn(draw: Any) -> dict[str, Any]:
    """A form of file, odd texts for it, and the seed of the rows they are put into."""
    form = draw(st.sampled_from(["csv", "parquet"]))
    texts = st.lists(PLAIN if form == "csv" else ANY, max_size=12)
    return {"form": form, "ids": draw(texts), "words": draw(texts), "seed": draw(st.integers(0, 2**31))}


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("split", ["random", "time", "last", "given"])
def test_random_rows_are_prepared_alike(tmp_path_factory: pytest.TempPathFactory, split: str) -> None:
    # The same examples every time, and none made smaller: each starts some fifty jobs.
    @settings(
        max_examples=2,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(world=drawn(), shares=st.sampled_from([(0.1, 0.1), (0.25, 0.5), (0.0, 0.2), (0.3, 0.0)]))
    def check(world: dict[str, Any], shares: tuple[float, float]) -> None:
        folder, rng = tmp_path_factory.mktemp("alike"), random.Random(world["seed"])
        write = write_csv if world["form"] == "csv" else write_parquet
        ids = [*IDS, *world["ids"]]
        ratings = write(folder / "ratings", rows_of(rng, ids, world["words"], 500), rng)
        test = write(folder / "test", rows_of(rng, ids[5:], world["words"], 80), rng) if split == "given" else None
        drawn_shares = {"test_share": shares[0], "valid_share": shares[1], "split_seed": rng.randrange(9)}
        settled: dict[str, Any] = {"split": split, "last": 2, "scale": rng.choice([None, (0.0, 5.0)])}
        out = both(folder, Source(ratings, test=test), **settled, **drawn_shares)
        reasons = load_prepared(out).manifest["reasons"]
        assert any(reason.startswith("duplicate") for reason in reasons)
        assert len(reasons) > 4

    check()


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("ids", "times", "code", "missing"))])
def test_ids_times_and_codes_of_every_form_are_prepared_alike(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    both(tmp_path / "out", case.source(tmp_path), **case.config)


def odd_cells(rng: random.Random, count: int) -> list[str]:
    """Cells of all kinds, and what becomes of them when a letter comes in, goes out or is another."""
    whole = [*STARS, *NOT_STARS, *NOT_NUMBERS, *TIMES, *NOT_TIMES, "4.9e-324", "2.4e-324", "1e-400", "3.4e38"]
    letters = "0123456789+-.eE:TZ /naNiIfF_dxlLuU,\u0130\u0131\u017f\u212a\u00a0\u2003\t\n\x0b\x00\u0663"
    cells = list(whole)
    while len(cells) < count:
        cell = rng.choice(whole)
        for _ in range(rng.randrange(1, 4)):
            place, letter = rng.randrange(len(cell) + 1), rng.choice(letters)
            cell = rng.choice([cell[:place] + letter, cell[:place]]) + cell[place + rng.randrange(2) :]
        cells.append(cell)
    return cells


@pytest.mark.usefixtures("spark")
def test_random_cells_are_read_alike(tmp_path: Path) -> None:
    cells = odd_cells(random.Random(0), 8000)
    same = {"userId": ["u"] * len(cells), "movieId": ["m"] * len(cells), "malformed": pa.nulls(len(cells), pa.string())}
    times = parse_times(pa.array(cells[::-1]))._asdict()
    staged = pa.table({"row": range(len(cells)), "rating": cells, **times, **same})
    pq.write_table(staged, tmp_path / "r.parquet")
    found = []
    for name in ENGINES:
        with open_engine(name) as engine:
            f, rows = engine.functions, engine.read(tmp_path / "r.parquet")
            engine.write(clean.parse_ratings(f, rows), tmp_path / f"words-{name}")
            ratings = engine.read(tmp_path / f"words-{name}")
            checked = clean.parse_rows(f, rows, ratings, f.lit(1000), need_times=True)
            columns = ("row", "rating", "time_text", "value", "seconds", "reason")
            engine.write(checked.select(*columns), tmp_path / f"checked-{name}")
        found.append(pq.read_table(tmp_path / f"checked-{name}").sort_by("row").to_pylist())
    different = [pair for pair in zip(*found, strict=True) if repr(pair[0]) != repr(pair[1])]
    assert different == []
    assert sum(row["value"] is not None and row["seconds"] is not None for row in found[0]) > 300


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize(
    "name", ["notes.tsv", "middle.csv.gz", "comma.csv", "time-first.csv", "ml.zip", "reviews.jsonl"]
)
def test_files_of_every_kind_are_prepared_alike(tmp_path: Path, name: str) -> None:
    prepared = load_prepared(both(tmp_path, find(write_input(tmp_path, name))))
    assert prepared.manifest["counts"]["rejected"] == 0
    assert len(prepared.train) + len(prepared.valid) + len(prepared.test) == len(ROWS)

"""Counts acknowledged ratings that a killed server loses: python benchmarks/durability.py MODEL.

Eight users give and change ratings over HTTP, 1,000 in all, each repeated until it is acknowledged, while the server
is killed (SIGKILL) 20 times and restarted. Then the database must hold every change in its order. Runs with SQLite and
with a PostgreSQL server of its own, and writes benchmarks/results/durability.json. A kill does not simulate a power
failure; against that, every commit waits for the disk.
"""

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from measuring import describe
from sqlalchemy import URL

import reelgraph as rg

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # The tests run a short version.

from tests.support.databases import postgresql  # noqa: E402
from tests.support.kills import Server, Writers, endure  # noqa: E402

WRITES, KILLS = 1000, 20


def measured(model: Path, url: URL, movies: list[str], stars: tuple[float, ...]) -> dict[str, Any]:
    """Outcome of all writes to a database."""
    start = time.perf_counter()
    outcome = endure(Writers(Server(model, url), movies, stars, WRITES), KILLS)
    return asdict(outcome) | {"seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    """Measure, print and write; exit code 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    path = parser.parse_args().model
    model = rg.open(path)
    movies, stars = model.items.ids.to_pylist(), (model.predictor.low, model.predictor.high)
    with tempfile.TemporaryDirectory() as folder, postgresql() as server:
        databases = {
            f"SQLite {sqlite3.sqlite_version}": URL.create("sqlite", database=f"{folder}/ratings.sqlite"),
            f"PostgreSQL {server.version()}": server.database(),
        }
        outcomes = {name: measured(path, url, movies, stars) for name, url in databases.items()}
    result = describe(f"python benchmarks/durability.py {path.name}") | {
        "databases": outcomes,
    }
    (HERE / "results" / "durability.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    sys.exit(any(outcome["lost"] for outcome in outcomes.values()))


if __name__ == "__main__":
    main()

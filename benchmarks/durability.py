"""Acknowledged ratings of a server that is killed again and again: python benchmarks/durability.py MODEL.

Eight users give and change ratings over HTTP, 1,000 in all, each repeated until it is acknowledged; meanwhile the
server is killed (SIGKILL) 20 times and started again. Then the database is read: every change must be there, in its
order. For SQLite and for a PostgreSQL that is started for it; benchmarks/results/durability.json gets what was found.
A kill does not show what becomes of a machine that loses power: there it counts that each commit waits for the disk.
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
sys.path.insert(0, str(HERE.parent))  # The tests do the same at less length.

from tests.support.databases import postgresql  # noqa: E402
from tests.support.kills import Server, Writers, endure  # noqa: E402

WRITES, KILLS = 1000, 20


def measured(model: Path, url: URL, movies: list[str], stars: tuple[float, ...]) -> dict[str, Any]:
    """What becomes of the ratings in a database."""
    start = time.perf_counter()
    found = endure(Writers(Server(model, url), movies, stars, WRITES), KILLS)
    return asdict(found) | {"seconds": round(time.perf_counter() - start, 1)}


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
        found = {name: measured(path, url, movies, stars) for name, url in databases.items()}
    result = describe(f"python benchmarks/durability.py {path.name}") | {
        "databases": found,
    }
    (HERE / "results" / "durability.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    sys.exit(any(one["lost"] for one in found.values()))


if __name__ == "__main__":
    main()

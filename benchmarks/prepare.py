"""Time and memory of preparation: python benchmarks/prepare.py; writes results/prepare.json.

Prepares 20 million synthetic ratings as Parquet and CSV with DuckDB and local Spark, and 100 million as Parquet with
DuckDB. Each run is the command in its own process; its memory includes child processes. Both engines must prepare
equal directories. Takes about ten minutes and 10 GB of disk.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from measuring import describe, measure_command, synthetic_of

from reelgraph.files import new_file

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "prepare.json"
SIZES = (20_000_000, 100_000_000)
ENGINES = ("duckdb", f"local[{os.cpu_count()}]")
COMPARED = 20_000_000  # above this size, only Parquet with DuckDB is measured


def as_csv(parts: Path, path: Path) -> Path:
    """The same rows as one CSV file, written if it is missing."""
    if not path.is_file():
        schema = pq.read_schema(next(iter(sorted(parts.iterdir()))))
        with new_file(path) as temporary, pa.csv.CSVWriter(temporary, schema) as writer:
            for part in sorted(parts.iterdir()):
                writer.write_table(pq.read_table(part))
    return path


def contents(prepared: Path) -> dict[str, Any]:
    """The rows of a prepared directory by file, and its counts, fingerprints and settings."""
    manifest = json.loads((prepared / "manifest.json").read_text(encoding="utf-8"))
    tables = {path.name: pq.read_table(path) for path in sorted(prepared.glob("*.parquet"))}
    columns = {file: dict(zip(table.column_names, table.columns, strict=True)) for file, table in tables.items()}
    return columns | {name: value for name, value in manifest.items() if name not in {"created", "engine"}}


def measure(size: int, work: Path) -> list[dict[str, Any]]:
    """Measure every form and engine for one size; exits if the engines prepare different rows."""
    parts = synthetic_of(size, work) / "ratings"
    sources, engines = {"parquet": parts}, ENGINES if size <= COMPARED else ENGINES[:1]
    if size <= COMPARED:
        sources["csv"] = as_csv(parts, work / f"ratings-{size}.csv")
    rows = []
    for form, source in sources.items():
        prepared: list[dict[str, Any]] = []
        for engine in engines:
            with tempfile.TemporaryDirectory(dir=work) as folder:
                out = Path(folder) / "prepared"
                cost = measure_command("prepare", source, "--engine", engine, "--out", out)
                rows.append({"ratings": size, "form": form, "engine": engine} | cost)
                sys.stdout.write(json.dumps(rows[-1]) + "\n")
                sys.stdout.flush()
                prepared += [contents(out)] if len(engines) > 1 else []
        if any(content != prepared[0] for content in prepared):
            sys.exit(f"{form}: the engines prepared different rows")
    return rows


def main() -> None:
    """Measure every size and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=float, nargs="+", default=SIZES, help="sizes, such as 1e8")
    parser.add_argument("--work", type=Path, default=Path("scale-data"), help="directory for the data [scale-data]")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    sizes = sorted(map(int, given.ratings))
    rows = [row for size in sizes for row in measure(size, given.work)]
    command = f"python benchmarks/prepare.py --ratings {' '.join(map(str, sizes))}"
    with new_file(given.out) as temporary:
        temporary.write_text(json.dumps(describe(command) | {"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

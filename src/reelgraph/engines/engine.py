"""Opens DuckDB or Spark, both behind the PySpark DataFrame API."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reelgraph import machine
from reelgraph.engines.spark_jobs import SHARE, Observer, watched
from reelgraph.engines.spark_session import open_session
from reelgraph.errors import ConfigError, EngineError, OutputError, SetupError

STAGED = ("train.parquet", "test.parquet")  # rows to prepare; the second is there if test ratings are given
TASKS = 16  # enough tasks for a small job to reach every worker


@dataclass(frozen=True)
class Engine:
    """An open session and the modules that belong to it.

    Attributes:
        name: the engine as the user named it, such as "duckdb" or "local[2]".
        spark: the `pyspark.sql.SparkSession`, or DuckDB's.
        functions: `pyspark.sql.functions`, or DuckDB's.
        remote: whether tasks may run on other machines, which share only some directories with this one.
    """

    name: str
    spark: Any
    functions: Any
    remote: bool = False

    def read(self, path: Path) -> Any:
        """Read a Parquet file or directory."""
        if self.name == "duckdb":
            return self.spark.read.parquet(str(path))
        # Spark reads a path as a glob pattern.
        return self.spark.read.parquet(re.sub(r"([][{}*?\\])", r"\\\1", _uri(path)))

    def write(self, rows: Any, path: Path) -> None:
        """Write rows as Parquet: DuckDB writes a file, Spark a directory."""
        if self.name == "duckdb":
            rows.write.parquet(str(path))
        else:
            rows.write.mode("overwrite").parquet(_uri(path))


def _uri(path: Path) -> str:
    """Spark would look for a plain path in HDFS."""
    return f"file://{path.absolute()}"


@dataclass(frozen=True)
class Run:
    """An engine with the directory for intermediate files (`stage`) and the one for results (`target`)."""

    engine: Engine
    stage: Path
    target: Path

    @cached_property
    def staged(self) -> Any:
        """All rows to prepare with their `part`, the position of their file in `STAGED`."""
        f, here = self.engine.functions, [name for name in STAGED if (self.stage / name).exists()]
        train, *test = (self.read(name).withColumn("part", f.lit(STAGED.index(name))) for name in here)
        return train.unionByName(test[0]) if test else train

    def read(self, name: str) -> Any:
        """Read an intermediate file."""
        return self.engine.read(self.stage / name)

    def keep(self, rows: Any, name: str) -> None:
        """Write an intermediate file."""
        self.engine.write(rows, self.stage / name)

    def write(self, rows: Any, name: str) -> None:
        """Write a result. Remote workers see only the stage, so their results are moved from there."""
        if not self.engine.remote:
            self.engine.write(rows, self.target / name)
            return
        self.keep(rows, name)
        shutil.move(self.stage / name, self.target / name)


def check_name(name: str) -> None:
    """Refuse an unknown engine."""
    if not re.fullmatch(r"duckdb|spark|local\[(\d+|\*)\]|(spark|sc)://\S+", name):
        raise ConfigError(
            f"--engine: expected duckdb, spark, local[N], spark://host:port or sc://host:port, found {name!r}",
            "choose one of them",
        )


def check_seen(engine: Engine, directory: Path) -> None:
    """Refuse a directory that remote workers cannot read and write, before rows get lost there."""
    if not engine.remote:
        return
    there, back = directory / "there.parquet", directory / "back"
    pq.write_table(pa.table({"number": list(range(TASKS))}), there)
    engine.write(engine.read(there).repartition(TASKS), back)
    rows = pq.read_table(back).num_rows if back.exists() else 0
    if rows != TASKS:
        raise SetupError(f"--stage {directory.parent}: expected {TASKS} rows from the workers, found {rows}", SHARE)


def check_whole(stage: Path, rows: int) -> None:
    """Check that no row is missing: a worker that writes to a directory of its own loses rows without an error."""
    staged = sum(pq.read_metadata(stage / name).num_rows for name in STAGED if (stage / name).exists())
    if staged != rows:
        raise EngineError(
            f"preparation: expected {staged:,} rows among ratings and rejects, found {rows:,}",
            "name a directory that all workers share with --stage",
        )


@contextmanager
def open_engine(name: str, observe: Observer | None = None) -> Iterator[Engine]:
    """Open an engine and close it on exit.

    Args:
        name: "duckdb", "spark" (the master of the Spark settings, or all cores of this machine), "local[N]",
            "spark://host:port" or "sc://host:port".
        observe: receives the progress of Spark jobs, from another thread.

    Raises:
        ConfigError: for an unknown engine.
        SetupError: if Spark or Java 17 is missing, or the master does not answer.
        EngineError: if a Spark job fails.
    """
    check_name(name)
    if name == "duckdb":
        with _open_duckdb() as engine:
            yield engine
        return
    with open_session(name) as opened, watched(opened.session, observe):
        yield Engine(name, *opened)


@contextmanager
def _open_duckdb() -> Iterator[Engine]:
    import duckdb  # noqa: PLC0415 (engines are imported when they are opened)
    from duckdb.experimental.spark.sql import SparkSession, functions  # noqa: PLC0415

    session = SparkSession.builder.getOrCreate()
    with tempfile.TemporaryDirectory(prefix="reelgraph-duckdb-") as spill, session.conn as connection:
        connection.execute("SET temp_directory = $spill", {"spill": spill})
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET preserve_insertion_order = false")  # Results are sorted where order matters.
        if (memory := machine.whole_memory()) is not None:
            connection.execute("SET memory_limit = $limit", {"limit": f"{max(memory // 3, 1 << 30)}B"})
        try:
            yield Engine("duckdb", session, functions)
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise OutputError(f"preparation: {error}", "free some disk or memory, or set TMPDIR") from error

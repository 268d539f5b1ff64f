"""Opens the session that runs the preparation: DuckDB through sqlframe, or Spark; both take the same code."""

import logging
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reelgraph import machine
from reelgraph.engines.spark_jobs import SHARE, Observer, watched
from reelgraph.engines.spark_session import open_session
from reelgraph.errors import ConfigError, EngineError, OutputError, SetupError

TASKS = 16  # of a small job that should come to every worker


@dataclass(frozen=True)
class Engine:
    """A session with the PySpark DataFrame API, and the modules that go with it.

    Attributes:
        name: what was asked for, such as "duckdb" or "local[2]".
        spark: the session (`pyspark.sql.SparkSession`, or sqlframe's).
        functions: `pyspark.sql.functions`, or sqlframe's.
        window: `pyspark.sql.Window`, or sqlframe's.
        remote: whether it may work on other machines, which see files of this one on shared storage only.
    """

    name: str
    spark: Any
    functions: Any
    window: Any
    remote: bool = False

    def read(self, path: Path) -> Any:
        """The rows of a Parquet file or directory."""
        if self.name != "duckdb":  # To Spark, what is read is a pattern.
            return self.spark.read.parquet(re.sub(r"([][{}*?\\])", r"\\\1", self._place(path)))
        # By way of a view: sqlframe would lose a quote in the path, and ask for the columns twice.
        name = f"rows_{uuid.uuid4().hex}"
        found = self.spark._conn.read_parquet(str(path))
        found.create_view(name)
        self.spark.catalog.add_table(name, dict(zip(found.columns, map(str, found.types), strict=True)))
        return self.spark.read.table(name)

    def write(self, rows: Any, path: Path) -> None:
        """Write rows as Parquet: one file or a directory of them, as the engine does."""
        rows.write.mode("overwrite").parquet(self._place(path))

    def _place(self, path: Path) -> str:
        """A path for sqlframe, which puts it into SQL as it stands, or for Spark, which else looks for it in HDFS."""
        return str(path).replace("'", "''") if self.name == "duckdb" else f"file://{path.absolute()}"


@dataclass(frozen=True)
class Run:
    """An engine at work between two directories."""

    engine: Engine
    stage: Path
    target: Path

    def read(self, name: str) -> Any:
        """The rows of a file on the way."""
        return self.engine.read(self.stage / name)

    def keep(self, rows: Any, name: str) -> None:
        """Write rows on the way."""
        self.engine.write(rows, self.stage / name)

    def write(self, rows: Any, name: str) -> None:
        """Write a result; workers on other machines see the stage, but hardly where results are wanted."""
        if not self.engine.remote:
            self.engine.write(rows, self.target / name)
            return
        self.keep(rows, name)
        shutil.move(self.stage / name, self.target / name)


def check_name(name: str) -> None:
    """Refuse an engine that does not exist.

    Raises:
        ConfigError: if the name is none of duckdb, spark, local[N], spark://host:port, sc://host:port.
    """
    if not re.fullmatch(r"duckdb|spark|local\[(\d+|\*)\]|(spark|sc)://\S+", name):
        raise ConfigError(
            f"--engine: expected duckdb, spark, local[N], spark://host:port or sc://host:port, found {name!r}",
            "choose one of them",
        )


def check_seen(engine: Engine, directory: Path) -> None:
    """Refuse a directory that a worker cannot read and write, before rows are lost there.

    Args:
        engine: an open engine; one on this machine sees what this process sees.
        directory: an own one.

    Raises:
        EngineError: if a worker does not see the files of this process.
        SetupError: if this process does not see the files of a worker.
    """
    if not engine.remote:
        return
    there, back = directory / "there.parquet", directory / "back"
    pq.write_table(pa.table({"number": list(range(TASKS))}), there)
    engine.write(engine.read(there).repartition(TASKS), back)
    found = pq.read_table(back).num_rows if back.exists() else 0
    if found != TASKS:
        raise SetupError(f"--stage {directory.parent}: expected {TASKS} rows from the workers, found {found}", SHARE)


def check_whole(stage: Path, rows: int) -> None:
    """Refuse a result without all rows: what a worker writes to a directory of its own is lost without a word."""
    files = [file for file in (stage / "train.parquet", stage / "test.parquet") if file.exists()]
    staged = sum(pq.read_metadata(file).num_rows for file in files)
    if staged != rows:
        raise EngineError(
            f"preparation: expected {staged:,} rows among ratings and rejects, found {rows:,}",
            "name a directory that all workers share with --stage",
        )


@contextmanager
def open_engine(name: str, observe: Observer | None = None) -> Iterator[Engine]:
    """Open an engine and close it again.

    Args:
        name: "duckdb", "spark" (the master that Spark's settings name, else all cores of this machine), "local[N]",
            "spark://host:port" or "sc://host:port".
        observe: is told how Spark's jobs get on, from another thread.

    Raises:
        ConfigError: if there is no such engine.
        SetupError: if Spark is asked for and it, or a Java of version 17 or newer, is missing, or nobody answers.
        EngineError: if a job of Spark fails within.
    """
    check_name(name)
    if name == "duckdb":
        with _duckdb() as engine:
            yield engine
        return
    with open_session(name) as opened, watched(opened.session, observe):
        yield Engine(name, *opened)


@contextmanager
def _duckdb() -> Iterator[Engine]:
    import duckdb  # noqa: PLC0415 (an engine is imported when it is opened)
    from sqlframe.duckdb import DuckDBSession, Window, functions  # noqa: PLC0415

    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="reelgraph-duckdb-") as spill, duckdb.connect() as connection:
        connection.execute("SET temp_directory = $spill", {"spill": spill})
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET preserve_insertion_order = false")  # The order that counts is asked for.
        if (memory := machine.whole_memory()) is not None:
            connection.execute("SET memory_limit = $limit", {"limit": f"{max(memory // 3, 1 << 30)}B"})
        session = DuckDBSession(conn=connection)
        try:
            yield Engine("duckdb", session, functions, Window)
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise OutputError(f"preparation: {error}", "free some disk or memory, or set TMPDIR") from error
        finally:
            # sqlframe keeps one session a process; without this the next one would get the closed connection.
            session.stop()

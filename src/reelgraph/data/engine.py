"""Opens the session that runs the preparation: DuckDB through sqlframe, or Spark; both take the same code."""

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelgraph.errors import ConfigError, OutputError, SetupError

JAVA = 17


@dataclass(frozen=True)
class Engine:
    """A session with the PySpark DataFrame API, and the modules that go with it.

    Attributes:
        name: what was asked for, such as "duckdb" or "local[2]".
        spark: the session (`pyspark.sql.SparkSession`, or sqlframe's).
        functions: `pyspark.sql.functions`, or sqlframe's.
        window: `pyspark.sql.Window`, or sqlframe's.
    """

    name: str
    spark: Any
    functions: Any
    window: Any

    def read(self, path: Path) -> Any:
        """The rows of a Parquet file or directory."""
        return self.spark.read.parquet(str(path))

    def write(self, rows: Any, path: Path) -> None:
        """Write rows as Parquet: one file or a directory of them, as the engine does."""
        # sqlframe puts the path into SQL as it stands.
        text = str(path).replace("'", "''") if self.name == "duckdb" else str(path)
        rows.write.mode("overwrite").parquet(text)


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


@contextmanager
def open_engine(name: str) -> Iterator[Engine]:
    """Open an engine and close it again.

    Args:
        name: "duckdb", "spark" (all cores of this machine), "local[N]", "spark://host:port" or "sc://host:port".

    Raises:
        ConfigError: if there is no such engine.
        SetupError: if Spark is asked for and it, or a Java of version 17 or newer, is missing.
    """
    check_name(name)
    with _duckdb() if name == "duckdb" else _spark(name) as engine:
        yield engine


@contextmanager
def _duckdb() -> Iterator[Engine]:
    import duckdb  # noqa: PLC0415 (an engine is imported when it is opened)
    from sqlframe.duckdb import DuckDBSession, Window, functions  # noqa: PLC0415

    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="reelgraph-duckdb-") as spill, duckdb.connect() as connection:
        connection.execute("SET temp_directory = $spill", {"spill": spill})
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        session = DuckDBSession(conn=connection)
        try:
            yield Engine("duckdb", session, functions, Window)
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise OutputError(f"preparation: {error}", "free some disk or memory, or set TMPDIR") from error
        finally:
            # sqlframe keeps one session a process; without this the next one would get the closed connection.
            session.stop()


@contextmanager
def _spark(name: str) -> Iterator[Engine]:
    try:
        from pyspark.sql import SparkSession, Window, functions  # noqa: PLC0415
    except ImportError:
        raise SetupError(
            f"--engine {name}: expected pyspark, found none",
            "run: pip install 'reelgraph[spark]', or leave --engine out",
        ) from None
    builder = SparkSession.builder.appName("reelgraph")
    if name.startswith("sc://"):
        builder = builder.remote(name)
    else:
        check_java(name)
        builder = builder.master("local[*]" if name == "spark" else name)
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(2 * (os.cpu_count() or 1)),
        "spark.sql.parquet.compression.codec": "zstd",
    }
    if name == "spark" or name.startswith("local"):
        settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    for key, value in settings.items():
        builder = builder.config(key, value)
    with tempfile.TemporaryDirectory(prefix="reelgraph-spark-") as directory:
        with _stderr_to(Path(directory) / "spark.log"):
            session = builder.getOrCreate()
        try:
            yield Engine(name, session, functions, Window)
        finally:
            session.stop()


def check_java(engine: str) -> None:
    """Refuse Spark on a machine without a Java that it runs on.

    Raises:
        SetupError: if there is no Java, `JAVA_HOME` points nowhere, or the version is below 17.
    """
    package = f"openjdk-{JAVA}-jre-headless"
    remedy = f"install Java {JAVA} (Debian: apt-get install {package}), or leave --engine out"
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None or not Path(java).is_file():
        where = f"JAVA_HOME={home} without a Java" if home else "none"
        raise SetupError(f"--engine {engine}: expected Java {JAVA} or newer, found {where}", remedy)
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    if not found or int(found[1]) < JAVA:
        text = (answer.stderr or answer.stdout).strip().splitlines()[:1]
        raise SetupError(f"--engine {engine}: expected Java {JAVA} or newer, found {java} ({text})", remedy)


@contextmanager
def _stderr_to(log: Path) -> Iterator[None]:
    """Send what is written to stderr to a file; a process started meanwhile, here Java, keeps writing there."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)

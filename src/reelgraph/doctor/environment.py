"""Checks of the environment: what is there, what is missing, and the command that mends it; prints nothing."""

import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from reelgraph import machine
from reelgraph.doctor import spark
from reelgraph.doctor.check import Check, attempt, gigabytes, judge, library, requirements

PYTHON = (3, 11)

LIBRARIES = ("torch", "torch-geometric", "duckdb", "sqlframe", "pyarrow", "numpy", "pandas")

MEMORY = 1 << 30  # bytes; below it, already the import of the libraries leaves little for ratings

DISK = 1 << 29  # bytes; room for a model, its checkpoint and what DuckDB spills


def checks(engine: str | None = None, stage: str | None = None) -> list[Check]:
    """Look at everything that reelgraph needs, the required parts first.

    Args:
        engine: an engine to try, such as "spark://host:port"; without one, Spark and its Java are optional parts.
        stage: the directory that its workers should share.

    Returns:
        One check each for Python, the libraries, memory, processors, free disk, the bundled sample, a query of DuckDB,
        a sparse product of PyTorch, and what `doctor_spark.checks` looks at.

    Raises:
        ConfigError: if there is no such engine.
    """
    ranges = requirements()
    return [
        _python(),
        _package(ranges),
        *(library(name, ranges.get(name, "")) for name in LIBRARIES),
        _memory(),
        Check("processors", True, str(machine.processors())),
        *_disks(),
        attempt(
            "bundled sample", _read_sample, "git checkout -- src/reelgraph/data/sample, or install reelgraph again"
        ),
        attempt("DuckDB runs a query", _query, "python -m pip install --force-reinstall duckdb sqlframe"),
        attempt("PyTorch multiplies", _multiply, "python -m pip install --force-reinstall torch torch-geometric"),
        *spark.checks(engine, stage),
    ]


def _python() -> Check:
    needed = ".".join(map(str, PYTHON))
    found = f"{platform.python_version()} ({sys.executable}, {platform.system()} {platform.machine()})"
    return judge("Python", sys.version_info[:2] >= PYTHON, found, f"install reelgraph in a Python {needed} or newer")


def _package(ranges: dict[str, str]) -> Check:
    if not ranges:
        return Check("reelgraph", None, "not installed, runs from its source", "python -m pip install -e .")
    return Check("reelgraph", True, metadata.version("reelgraph"))


def _memory() -> Check:
    name, size = "memory", machine.whole_memory()
    if size is None:
        return Check(name, True, "not told by this system")
    return judge(name, size >= MEMORY, gigabytes(size), f"give this machine or container {gigabytes(MEMORY)} or more")


def _disks() -> list[Check]:
    """Where results are written by default, and where temporary files go."""
    return [
        _disk("disk of this directory", Path.cwd, "free some of it, or give an --out elsewhere"),
        _disk("disk of temporary files", lambda: Path(tempfile.gettempdir()), "free some of it, or set TMPDIR"),
    ]


def _disk(name: str, where: Callable[[], Path], remedy: str) -> Check:
    try:
        directory = where()
        free = shutil.disk_usage(directory).free
    except OSError as error:
        return Check(name, False, str(error), "change to a directory that exists, and set TMPDIR to a writable one")
    return judge(name, free >= DISK, f"{gigabytes(free)} free in {directory}", remedy)


def _read_sample() -> str:
    import pyarrow.parquet as pq  # noqa: PLC0415 (a broken library must be a finding, not a failing import of this)

    from reelgraph.data.sources import find  # noqa: PLC0415

    source = find()
    movies = source.items
    if movies is None:
        raise FileNotFoundError("no movies beside the ratings")
    ratings = pq.read_table(source.ratings, columns=["userId", "movieId", "rating"])
    return f"{ratings.num_rows:,} ratings, {pq.read_table(movies, columns=['movieId', 'title']).num_rows:,} movies"


def _query() -> str:
    from reelgraph.engines.engine import open_engine  # noqa: PLC0415

    with open_engine("duckdb") as engine:
        rows = engine.spark.createDataFrame([(1,), (2,)], ["x"]).agg(engine.functions.sum("x").alias("x")).collect()
    if rows[0]["x"] != 3:
        raise ArithmeticError(f"expected 1 + 2 = 3, found {rows[0]['x']}")
    return "1 + 2 = 3"


def _multiply() -> str:
    import torch  # noqa: PLC0415 (slow)
    from torch_geometric import EdgeIndex  # noqa: PLC0415

    edges = EdgeIndex([[0, 1, 1], [1, 0, 1]], sparse_size=(2, 2), sort_order="row")  # the matrix 0 1 / 1 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch calls its sparse tensors beta each time.
        found = (edges @ torch.tensor([[2.0], [3.0]])).flatten().tolist()
    if found != [3.0, 5.0]:
        raise ArithmeticError(f"expected [3, 5] from a sparse product, found {found}")
    return f"sparse product right, {torch.get_num_threads()} threads"

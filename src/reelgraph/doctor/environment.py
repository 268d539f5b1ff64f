"""Checks of Python, the libraries, memory, disk, DuckDB and PyTorch."""

import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

from reelgraph import machine
from reelgraph.doctor import spark
from reelgraph.doctor.check import Check, attempt, check_of, gigabytes, library, requirements
from reelgraph.files import temporary_directory

PYTHON = (3, 11)
LIBRARIES = ("torch", "torch-geometric", "duckdb", "pyarrow", "numpy")
MEMORY = 1 << 30  # bytes; with less, the libraries leave little for ratings
DISK = 1 << 29  # bytes; enough for a model, its checkpoint and DuckDB's temporary files
SAMPLE_REMEDY = "git checkout -- src/reelgraph/data/sample, or install reelgraph again"


def checks(engine: str | None = None, stage: str | None = None) -> list[Check]:
    """Check everything that reelgraph needs, the required parts first; see `spark.checks` for the arguments."""
    ranges = requirements()
    return [
        _python(),
        _package(ranges),
        *(library(name, ranges.get(name, SpecifierSet())) for name in LIBRARIES),
        _memory(),
        Check("processors", True, str(machine.processors())),
        _disk("disk of this directory", Path.cwd, "free some space, or choose an --out elsewhere"),
        _disk("disk of temporary files", lambda: Path(tempfile.gettempdir()), "free some space, or set TMPDIR"),
        attempt("bundled sample", _read_sample, SAMPLE_REMEDY),
        attempt("DuckDB runs a query", _query, "python -m pip install --force-reinstall duckdb"),
        *_pytorch(),
        *spark.checks(engine, stage),
    ]


def _python() -> Check:
    needed = ".".join(map(str, PYTHON))
    found = f"{platform.python_version()} ({sys.executable}, {platform.system()} {platform.machine()})"
    return check_of("Python", sys.version_info[:2] >= PYTHON, found, f"install reelgraph in Python {needed} or newer")


def _package(ranges: dict[str, SpecifierSet]) -> Check:
    if not ranges:
        return Check("reelgraph", None, "not installed, runs from the source tree", "python -m pip install -e .")
    return Check("reelgraph", True, metadata.version("reelgraph"))


def _memory() -> Check:
    size = machine.whole_memory()
    if size is None:
        return Check("memory", True, "unknown on this system")
    remedy = f"give this machine or container {gigabytes(MEMORY)} or more"
    return check_of("memory", size >= MEMORY, gigabytes(size), remedy)


def _disk(name: str, where: Callable[[], Path], remedy: str) -> Check:
    try:
        directory = where()
        free = shutil.disk_usage(directory).free
    except OSError as error:
        return Check(name, False, str(error), "change to an existing directory, and set TMPDIR to a writable one")
    return check_of(name, free >= DISK, f"{gigabytes(free)} free in {directory}", remedy)


def _read_sample() -> str:
    import pyarrow.parquet as pq  # noqa: PLC0415 (a broken library is a finding)

    from reelgraph.data.sources import find  # noqa: PLC0415

    source = find()
    if source.items is None:
        raise FileNotFoundError("movies.parquet is missing")
    ratings = pq.read_table(source.ratings, columns=["userId", "movieId", "rating"])
    movies = pq.read_table(source.items, columns=["movieId", "title"])
    return f"{ratings.num_rows:,} ratings, {movies.num_rows:,} movies"


def _query() -> str:
    from reelgraph.engines.engine import open_engine  # noqa: PLC0415

    with open_engine("duckdb") as engine:
        rows = engine.spark.sql("select sum(x) as x from (values (1), (2)) as t(x)").collect()
    if rows[0]["x"] != 3:
        raise ArithmeticError(f"expected 1 + 2 = 3, found {rows[0]['x']}")
    return "1 + 2 = 3"


def _pytorch() -> list[Check]:
    with temporary_directory():  # PyTorch leaves a directory there.
        return [
            attempt("devices", _devices, "python -m pip install --force-reinstall torch"),
            attempt("PyTorch multiplies", _multiply, "python -m pip install --force-reinstall torch torch-geometric"),
        ]


def _devices() -> str:
    """The devices that PyTorch can train on; see `train --device`."""
    import torch  # noqa: PLC0415 (slow)

    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda ({torch.cuda.get_device_name(number)})" for number in range(torch.cuda.device_count())]
    return ", ".join([*found, "mps"] if torch.backends.mps.is_available() else found)


def _multiply() -> str:
    import torch  # noqa: PLC0415 (slow)
    from torch_geometric import EdgeIndex  # noqa: PLC0415

    edges = EdgeIndex([[0, 1, 1], [1, 0, 1]], sparse_size=(2, 2), sort_order="row")  # the matrix 0 1 / 1 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns that its sparse tensors are in beta.
        product = (edges @ torch.tensor([[2.0], [3.0]])).flatten().tolist()
    if product != [3.0, 5.0]:
        raise ArithmeticError(f"expected [3, 5] from a sparse product, found {product}")
    return f"sparse product correct, {torch.get_num_threads()} threads"

"""Checks of the environment: what is there, what is missing, and the command that mends it; prints nothing."""

import platform
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from itertools import zip_longest
from pathlib import Path

from reelgraph import machine
from reelgraph.errors import SetupError

PYTHON = (3, 11)
LIBRARIES = ("torch", "torch-geometric", "duckdb", "sqlframe", "pyarrow", "numpy", "pandas")
MEMORY = 1 << 30  # bytes; below it, already the import of the libraries leaves little for ratings
DISK = 1 << 29  # bytes; room for a model, its checkpoint and what DuckDB spills


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        name: what was looked at.
        ok: whether it will do; None for an optional part that is missing or will not do.
        found: what is there.
        remedy: what mends it, a command where one does; empty if nothing has to be mended.
    """

    name: str
    ok: bool | None
    found: str
    remedy: str = ""


def checks() -> list[Check]:
    """Look at everything that reelgraph needs, the required parts first.

    Returns:
        One check each for Python, the libraries, memory, processors, free disk, the bundled sample, a query of DuckDB,
        a sparse product of PyTorch, and, as optional parts, Spark and its Java.
    """
    ranges = requirements()
    return [
        _python(),
        _package(ranges),
        *(_library(name, ranges.get(name, "")) for name in LIBRARIES),
        _memory(),
        Check("processors", True, str(machine.processors())),
        *_disks(),
        _attempt(
            "bundled sample", _read_sample, "git checkout -- src/reelgraph/data/sample, or install reelgraph again"
        ),
        _attempt("DuckDB runs a query", _query, "python -m pip install --force-reinstall duckdb sqlframe"),
        _attempt("PyTorch multiplies", _multiply, "python -m pip install --force-reinstall torch torch-geometric"),
        _spark(ranges.get("pyspark", "")),
        _java(),
    ]


def requirements() -> dict[str, str]:
    """The versions of libraries that reelgraph allows, as its package says.

    Returns:
        Name to range, such as "duckdb" to "<2,>=1.1"; empty if reelgraph runs without being installed.
    """
    try:
        lines = metadata.requires("reelgraph") or []
    except metadata.PackageNotFoundError:
        return {}
    parts = (re.match(r"\s*([\w.-]+)\s*(?:\[[^]]*\])?\s*\(?([^;)]*)", line) for line in lines)
    return {part[1].lower(): part[2].strip() for part in parts if part}


def within(version: str, allowed: str) -> bool:
    """Whether a version lies in a range.

    Args:
        version: such as "2.13.0+cpu"; only its leading numbers count.
        allowed: conditions with >=, <=, ==, <, > between commas, such as ">=2.4,<3"; an empty one allows everything.
    """
    tests: dict[str, Callable[[int], bool]] = {
        ">=": lambda sign: sign >= 0,
        "<=": lambda sign: sign <= 0,
        "==": lambda sign: sign == 0,
        "<": lambda sign: sign < 0,
        ">": lambda sign: sign > 0,
    }
    conditions = re.findall(r"(>=|<=|==|<|>)\s*([\w.]+)", allowed)
    return all(tests[operator](_compare(version, bound)) for operator, bound in conditions)


def _compare(left: str, right: str) -> int:
    """-1, 0 or 1; "2" and "2.0.0" are the same version."""
    for one, other in zip_longest(_numbers(left), _numbers(right), fillvalue=0):
        if one != other:
            return 1 if one > other else -1
    return 0


def _numbers(version: str) -> list[int]:
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return [int(number) for number in leading[0].split(".")] if leading else []


def _judge(name: str, ok: bool, found: str, remedy: str) -> Check:
    return Check(name, ok, found, "" if ok else remedy)


def _attempt(name: str, work: Callable[[], str], remedy: str) -> Check:
    """Do something that needs a whole part of the environment; any exception whatever is the finding."""
    try:
        return Check(name, True, work())
    except Exception as error:
        return Check(name, False, " ".join(f"{type(error).__name__}: {error}".split()), remedy)


def _python() -> Check:
    needed = ".".join(map(str, PYTHON))
    found = f"{platform.python_version()} ({sys.executable}, {platform.system()} {platform.machine()})"
    return _judge("Python", sys.version_info[:2] >= PYTHON, found, f"install reelgraph in a Python {needed} or newer")


def _package(ranges: dict[str, str]) -> Check:
    if not ranges:
        return Check("reelgraph", None, "not installed, runs from its source", "python -m pip install -e .")
    return Check("reelgraph", True, metadata.version("reelgraph"))


def _library(name: str, allowed: str) -> Check:
    remedy = f"python -m pip install '{name}{allowed}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, False, f"not installed, expected {allowed or 'any version'}", remedy)
    if not within(version, allowed):
        return Check(name, False, f"{version}, expected {allowed}", remedy)
    return Check(name, True, version)


def _memory() -> Check:
    name, size = "memory", machine.memory()
    if size is None:
        return Check(name, True, "not told by this system")
    return _judge(
        name, size >= MEMORY, _gigabytes(size), f"give this machine or container {_gigabytes(MEMORY)} or more"
    )


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
    return _judge(name, free >= DISK, f"{_gigabytes(free)} free in {directory}", remedy)


def _gigabytes(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"


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
    from reelgraph.data.engine import open_engine  # noqa: PLC0415

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


def _spark(allowed: str) -> Check:
    name, remedy = "Spark (optional)", "python -m pip install 'reelgraph[spark]'"
    try:
        version = metadata.version("pyspark")
    except metadata.PackageNotFoundError:
        return Check(name, None, "not installed", remedy)
    if not within(version, allowed):
        return Check(name, None, f"pyspark {version}, expected {allowed}", remedy)
    return Check(name, True, f"pyspark {version}")


def _java() -> Check:
    """Java by the engine's own rule, so that this never says other than a run does."""
    name = "Java for Spark (optional)"
    try:
        java = machine.find_java("spark")
    except SetupError as error:
        return Check(name, None, error.problem, error.remedy)
    return Check(name, True, f"{java.version} ({java.launcher})")

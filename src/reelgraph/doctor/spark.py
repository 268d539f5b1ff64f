"""Checks of Spark: its installation, its master, and its workers."""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib import metadata
from os import environ
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from reelgraph import machine
from reelgraph._version import __version__
from reelgraph.doctor.check import Check, check_of, gigabytes, library, requirements
from reelgraph.engines import spark_session
from reelgraph.engines.engine import Engine, check_name, check_seen, open_engine
from reelgraph.engines.spark_session import CONNECT, SPARK, check_answers, driver_memory, master_of
from reelgraph.errors import ReelgraphError, SetupError

STEPS = START, WORKERS, PYTHON, STAGE = "Spark starts", "workers", "Python of the workers", "directory workers share"
NEEDED = ("reelgraph", "numpy", "pyarrow", "torch")  # on the workers; torch for training only
MORE = "start or free a worker: spark-class org.apache.spark.deploy.worker.Worker"
MEMORY = 1 << 30  # bytes of the driver; with less, Java struggles from a million ratings on
LIMIT = 180.0  # seconds for Spark to start and run two small jobs
PATIENCE = 20.0  # seconds to wait for the first worker


def tell(engine: str, stage: str, patience: str) -> None:
    """Test an engine, and write each check to stdout as a line of JSON."""
    for check in attempts(engine, stage, float(patience)):
        sys.stdout.write(json.dumps(asdict(check)) + "\n")
        sys.stdout.flush()


def attempts(engine: str, stage: str, patience: float) -> Iterator[Check]:
    """Open an engine and run jobs on its workers; stops at the first failure."""
    step = START
    try:
        with open_engine(engine) as opened:
            yield Check(step, True, f"Spark {opened.spark.version} on {master_of(engine)}")
            step = WORKERS
            if not _has_workers(opened, patience):
                yield Check(step, False, f"none within {patience:.0f} s", f"{MORE} {master_of(engine)}")
                return
            step = PYTHON
            answers = _ask(opened)
            yield Check(WORKERS, True, f"{len({answer['host'] for answer in answers})} machine(s) ran a job")
            yield from check_workers(answers)
            step = STAGE
            if opened.remote:
                with tempfile.TemporaryDirectory(prefix="reelgraph-doctor-", dir=stage) as directory:
                    check_seen(opened, Path(directory))
                yield Check(step, True, stage)
    except ReelgraphError as error:
        yield Check(step, False, error.problem, error.remedy)
    except OSError as error:
        yield Check(step, False, str(error), "name another directory with --stage")


def _has_workers(engine: Engine, patience: float) -> bool:
    """Wait for the first worker of a standalone cluster, without which a job would wait for ever."""
    if not master_of(engine.name).startswith(SPARK):
        return True
    tracker, end = engine.spark.sparkContext.statusTracker(), time.monotonic() + patience
    while len(tracker.getExecutorInfos()) < 2:  # the driver counts as one
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _ask(engine: Engine) -> list[dict[str, Any]]:
    """The distinct answers of the workers about their Python and libraries."""

    def look(_: int) -> str:
        # Runs on a worker that may lack reelgraph, so it refers to nothing outside.
        import importlib  # noqa: PLC0415
        import json  # noqa: PLC0415
        import platform  # noqa: PLC0415
        import sys  # noqa: PLC0415

        versions = {}
        for name in ("reelgraph", "numpy", "pyarrow", "torch"):
            try:
                versions[name] = str(importlib.import_module(name).__version__)
            except Exception as error:
                versions[name] = f"!{type(error).__name__}: {error}"
        place = {"host": platform.node(), "python": platform.python_version(), "executable": sys.executable}
        return json.dumps(place | {"versions": versions}, sort_keys=True)

    f, tasks = engine.functions, 8
    numbers = engine.spark.range(0, tasks, 1, tasks)
    # Without Arrow, since pyarrow may be missing.
    rows = numbers.select(f.udf(look, "string", useArrow=False)("id").alias("answer")).collect()
    return [json.loads(answer) for answer in sorted({row["answer"] for row in rows})]


def check_workers(answers: list[dict[str, Any]]) -> Iterator[Check]:
    """Check the workers' Python and libraries, whose `versions` are "!" and the error if they cannot be imported."""
    pythons = {f"{answer['python']} ({answer['executable']}, {answer['host']})" for answer in answers}
    yield Check(PYTHON, True, "; ".join(sorted(pythons)))
    ranges = requirements() | {"reelgraph": SpecifierSet(f"=={__version__}")}
    for name in NEEDED:
        allowed, right, wrong = ranges.get(name, SpecifierSet()), set[str](), set[str]()
        for answer in answers:
            version = answer["versions"][name]
            ok = not version.startswith("!") and allowed.contains(version, prereleases=True)
            (right if ok else wrong).add(f"{version.removeprefix('!')} ({answer['host']})")
        expected = f", expected {allowed}" if wrong and len(allowed) else ""
        remedy = f"on each worker: {answers[0]['executable']} -m pip install '{name}{allowed}', or set PYSPARK_PYTHON"
        yield check_of(f"{name} on the workers", not wrong, "; ".join(sorted(wrong or right)) + expected, remedy)


def checks(engine: str | None, stage: str | None, limit: float = LIMIT, patience: float = PATIENCE) -> list[Check]:
    """Check Spark as an engine uses it; its start and its workers only if all else is well.

    With `engine` None or "duckdb", Spark is optional. The workers should share the directory `stage`, by default that
    for temporary files. `limit` and `patience` are in seconds; see `LIMIT` and `PATIENCE`.
    """
    if engine is None or engine == "duckdb":
        optional = [_package("sql"), _java("spark")]
        return [replace(check, name=f"{check.name} (optional)", ok=check.ok or None) for check in optional]
    check_name(engine)
    master = master_of(engine)
    results = [_package("connect" if engine.startswith(CONNECT) else "sql")]
    if not engine.startswith(CONNECT):
        results += [_java(engine), *_home(), _driver_memory()]
    if master.startswith((SPARK, CONNECT)):
        results.append(_answers(master))
    if all(check.ok for check in results):
        results += _run_attempts(engine, stage, limit, patience)
    return results


def _package(extra: str) -> Check:
    """Check pyspark and its libraries, in versions that suit both pyspark and reelgraph."""
    own = requirements()
    pyspark = library("pyspark", own.get("pyspark", SpecifierSet()))
    faults = []
    if pyspark.ok:
        for name, allowed in requirements("pyspark", extra).items():
            check = library(name, allowed & own.get(name, SpecifierSet()))
            faults += [] if check.ok else [f"; {name} {check.found}"]
    found = f"pyspark {pyspark.found}{''.join(faults)}"
    return check_of("Spark", bool(pyspark.ok) and not faults, found, "python -m pip install 'reelgraph[spark]'")


def _java(engine: str) -> Check:
    try:
        java = spark_session.find_java(engine)
    except SetupError as error:
        return Check("Java for Spark", False, error.problem, error.remedy)
    return Check("Java for Spark", True, f"{java.version} ({java.launcher})")


def _home() -> list[Check]:
    """Check that the Spark in `SPARK_HOME`, if set, has the version of pyspark."""
    home, version = environ.get("SPARK_HOME"), metadata.version("pyspark")
    if not home:
        return []
    jars = (re.search(r"spark-core_[\d.]+-(.+)\.jar", path.name) for path in Path(home).glob("jars/spark-core_*.jar"))
    other = next((jar[1] for jar in jars if jar), None)
    remedy = f"unset SPARK_HOME or point it to Spark {version}"
    remedy += f", or: python -m pip install pyspark=={other}" if other else ""
    return [check_of("SPARK_HOME", other == version, f"{other or 'no Spark'} in {home}, pyspark is {version}", remedy)]


def _driver_memory() -> Check:
    given, whole = driver_memory(), machine.whole_memory()
    size = _bytes(given)
    remedy = "export SPARK_DRIVER_MEMORY=4g, or set spark.driver.memory in spark-defaults.conf"
    if size is None:
        return Check("memory of Spark's driver", False, f"{given}, expected a size such as 4g", remedy)
    found = gigabytes(size) + (f" of {gigabytes(whole)}" if whole else "")
    enough = size >= MEMORY and (whole is None or size <= whole)
    expected = "" if enough else f", expected {gigabytes(MEMORY)} or more, within the memory of this machine"
    return check_of("memory of Spark's driver", enough, found + expected, remedy)


def _bytes(text: str) -> int | None:
    """Parse a size as Spark does: "4g", "512m", or a number of megabytes."""
    size = re.fullmatch(r"(\d+)([kmgt]?)b?", text.strip().lower())
    return int(size[1]) << {"k": 10, "": 20, "m": 20, "g": 30, "t": 40}[size[2]] if size else None


def _answers(master: str) -> Check:
    name = "Spark Connect server" if master.startswith(CONNECT) else "Spark master"
    try:
        check_answers(master)
    except SetupError as error:
        return Check(name, False, error.problem, error.remedy)
    return Check(name, True, f"{master} answers")


def _run_attempts(engine: str, stage: str | None, limit: float, patience: float) -> list[Check]:
    """Run `attempts` in a process of its own, which is ended after `limit` seconds."""
    code = "import sys; from reelgraph.doctor import spark; spark.tell(*sys.argv[1:])"
    command = [sys.executable, "-c", code, engine, stage or tempfile.gettempdir(), str(patience)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)  # noqa: S603
        lines, failure = run.stdout, " ".join(run.stderr.split()[-30:]) if run.returncode else ""
    except subprocess.TimeoutExpired as error:
        lines, failure = (error.stdout or b"").decode(), f"no end within {limit:.0f} s"
    results = [Check(**json.loads(line)) for line in lines.splitlines()]
    if failure and all(check.ok for check in results):
        left = [step for step in STEPS if step not in {check.name for check in results}]
        remedy = f"check that {master_of(engine)} is Spark {metadata.version('pyspark')} with free workers"
        results.append(Check(left[0] if left else "Spark ends", False, failure, remedy))
    return results

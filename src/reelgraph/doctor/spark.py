"""Checks of Spark: what is installed here, whether a master answers, and what its workers have; prints nothing."""

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

from reelgraph import machine
from reelgraph._version import __version__
from reelgraph.doctor.check import Check, gigabytes, judge, library, requirements, within
from reelgraph.engines import spark_session
from reelgraph.engines.engine import Engine, check_name, check_seen, open_engine
from reelgraph.engines.spark_session import CONNECT, SPARK, check_answers, driver_memory, master_of
from reelgraph.errors import ReelgraphError, SetupError

STEPS = START, WORKERS, PYTHON, STAGE = "Spark starts", "workers", "Python of the workers", "directory workers share"

NEEDED = ("reelgraph", "numpy", "pyarrow", "torch")  # Lists are made without the last one, training needs all.

MORE = "start one, or free some: spark-class org.apache.spark.deploy.worker.Worker"


def tell(engine: str, stage: str, patience: str) -> None:
    """Try an engine and write each check to stdout, as a line of JSON, when it is done."""
    for check in attempts(engine, stage, float(patience)):
        sys.stdout.write(json.dumps(asdict(check)) + "\n")
        sys.stdout.flush()


def attempts(engine: str, stage: str, patience: float) -> Iterator[Check]:
    """Open an engine and let its workers do something; stops at what goes wrong."""
    step = START
    try:
        with open_engine(engine) as opened:
            yield Check(step, True, f"Spark {opened.spark.version} on {master_of(engine)}")
            step = WORKERS
            if not _workers_come(opened, patience):
                yield Check(step, False, f"none came within {patience:.0f} s", f"{MORE} {master_of(engine)}")
                return
            step = PYTHON
            answers = _ask(opened)
            yield Check(WORKERS, True, f"{len({one['host'] for one in answers})} machine(s) did a job")
            yield from judge_workers(answers)
            step = STAGE
            if opened.remote:
                with tempfile.TemporaryDirectory(prefix="reelgraph-doctor-", dir=stage) as directory:
                    check_seen(opened, Path(directory))
                yield Check(step, True, stage)
    except ReelgraphError as error:
        yield Check(step, False, error.problem, error.remedy)
    except OSError as error:
        yield Check(step, False, str(error), "name another directory with --stage")


def _workers_come(engine: Engine, patience: float) -> bool:
    """Wait for a first worker of a standalone cluster; a job without one would wait for ever."""
    if not master_of(engine.name).startswith(SPARK):
        return True
    tracker, end = engine.spark.sparkContext.statusTracker(), time.monotonic() + patience
    while len(tracker.getExecutorInfos()) < 2:  # The driver is one.
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _ask(engine: Engine) -> list[dict[str, Any]]:
    """What the workers' Python is and has; each answer once."""

    def look(_: int) -> str:
        # Runs on a worker, perhaps without reelgraph: it comes with all that it needs, and imports the rest here.
        import importlib  # noqa: PLC0415
        import json  # noqa: PLC0415
        import platform  # noqa: PLC0415
        import sys  # noqa: PLC0415

        found = {}
        for name in ("reelgraph", "numpy", "pyarrow", "torch"):
            try:
                found[name] = str(importlib.import_module(name).__version__)
            except Exception as error:
                found[name] = f"!{type(error).__name__}: {error}"
        place = {"host": platform.node(), "python": platform.python_version(), "executable": sys.executable}
        return json.dumps(place | {"found": found}, sort_keys=True)

    f, tasks = engine.functions, 8
    numbers = engine.spark.range(0, tasks, 1, tasks)
    # Without Arrow, which may be what is missing.
    rows = numbers.select(f.udf(look, "string", useArrow=False)("id").alias("answer")).collect()
    return [json.loads(answer) for answer in sorted({row["answer"] for row in rows})]


def judge_workers(answers: list[dict[str, Any]]) -> Iterator[Check]:
    """Checks of what workers answered: their Python and each library.

    Args:
        answers: `host`, `python`, `executable`, and `found`: the version of each library, or "!" and why there is none.
    """
    pythons = {f"{one['python']} ({one['executable']}, {one['host']})" for one in answers}
    yield Check(PYTHON, True, "; ".join(sorted(pythons)))
    ranges = requirements() | {"reelgraph": f"=={__version__}"}
    for name in NEEDED:
        allowed, right, wrong = ranges.get(name, ""), set[str](), set[str]()
        for one in answers:
            version = one["found"][name]
            ok = not version.startswith("!") and within(version, allowed)
            (right if ok else wrong).add(f"{version.removeprefix('!')} ({one['host']})")
        expected = f", expected {allowed}" if wrong and allowed else ""
        remedy = f"on each worker: {answers[0]['executable']} -m pip install '{name}{allowed}', or set PYSPARK_PYTHON"
        yield judge(f"{name} on the workers", not wrong, "; ".join(sorted(wrong or right)) + expected, remedy)


MEMORY = 1 << 30  # bytes of the driver; with less, Java begins to struggle at a million ratings

LIMIT = 180.0  # seconds for Spark to start and run two small jobs

PATIENCE = 20.0  # seconds for a first worker to come


def checks(engine: str | None, stage: str | None, limit: float = LIMIT, patience: float = PATIENCE) -> list[Check]:
    """Look at Spark as an engine will find it.

    Args:
        engine: the engine to try; None or "duckdb" for what is installed alone, as optional parts.
        stage: the directory that its workers should share; that of temporary files when None.
        limit: seconds that Spark may take to start and run two small jobs.
        patience: seconds for a first worker to come.

    Returns:
        One check each for pyspark with the libraries it needs, Java, `SPARK_HOME`, the driver's memory, the master or
        server, and, if all of that will do, for Spark's start, workers, their Python and libraries, and the directory.

    Raises:
        ConfigError: if there is no such engine.
    """
    if engine is None or engine == "duckdb":
        found = [_package("sql"), _java("spark")]
        return [replace(check, name=f"{check.name} (optional)", ok=check.ok or None) for check in found]
    check_name(engine)
    master = master_of(engine)
    found = [_package("connect" if engine.startswith(CONNECT) else "sql")]
    if not engine.startswith(CONNECT):
        found += [_java(engine), *_home(), _driver_memory()]
    if master.startswith((SPARK, CONNECT)):
        found.append(_answers(master))
    if all(check.ok for check in found):
        found += _tried(engine, stage, limit, patience)
    return found


def _package(extra: str) -> Check:
    """Spark's package, and the libraries that it and reelgraph both need, in versions that suit both."""
    name, remedy, own = "Spark", "python -m pip install 'reelgraph[spark]'", requirements()
    pyspark = library("pyspark", own.get("pyspark", ""))
    if not pyspark.ok:
        return Check(name, False, f"pyspark {pyspark.found}", remedy)
    found = [f"pyspark {pyspark.found}"]
    for one, allowed in requirements("pyspark", extra).items():
        check = library(one, ",".join(filter(None, [allowed, own.get(one)])))
        found += [] if check.ok else [f"{one} {check.found}"]
    return judge(name, len(found) == 1, "; ".join(found), remedy)


def _java(engine: str) -> Check:
    """Java by the engine's own rule, so that this never says other than a run does."""
    name = "Java for Spark"
    try:
        java = spark_session.find_java(engine)
    except SetupError as error:
        return Check(name, False, error.problem, error.remedy)
    return Check(name, True, f"{java.version} ({java.launcher})")


def _home() -> list[Check]:
    """Spark's own programs, where `SPARK_HOME` puts them into the place of pyspark's."""
    home, version = environ.get("SPARK_HOME"), metadata.version("pyspark")
    if not home:
        return []
    jars = (re.search(r"spark-core_[\d.]+-(.+)\.jar", path.name) for path in Path(home).glob("jars/spark-core_*.jar"))
    found = next((jar[1] for jar in jars if jar), None)
    remedy = f"unset SPARK_HOME or point it to Spark {version}"
    remedy += f", or: python -m pip install pyspark=={found}" if found else ""
    return [judge("SPARK_HOME", found == version, f"{found or 'no Spark'} in {home}, pyspark is {version}", remedy)]


def _driver_memory() -> Check:
    given, whole = driver_memory(), machine.whole_memory()
    size = _bytes(given)
    remedy = "export SPARK_DRIVER_MEMORY=4g, or put spark.driver.memory into spark-defaults.conf"
    if size is None:
        return Check("memory of Spark's driver", False, f"{given}, expected such as 4g", remedy)
    found = gigabytes(size) + (f" of {gigabytes(whole)}" if whole else "")
    enough = size >= MEMORY and (whole is None or size <= whole)
    expected = "" if enough else f", expected {gigabytes(MEMORY)} or more, and no more than there is"
    return judge("memory of Spark's driver", enough, found + expected, remedy)


def _bytes(text: str) -> int | None:
    """A size as Spark reads it: "4g", "512m", and without a unit megabytes."""
    found = re.fullmatch(r"(\d+)([kmgt]?)b?", text.strip().lower())
    return int(found[1]) << {"k": 10, "": 20, "m": 20, "g": 30, "t": 40}[found[2]] if found else None


def _answers(master: str) -> Check:
    name = "Spark Connect server" if master.startswith(CONNECT) else "Spark master"
    try:
        check_answers(master)
    except SetupError as error:
        return Check(name, False, error.problem, error.remedy)
    return Check(name, True, f"{master} answers")


def _tried(engine: str, stage: str | None, limit: float, patience: float) -> list[Check]:
    """Try an engine in a process of its own, which can be ended whatever it waits for."""
    code = "import sys; from reelgraph.doctor import spark; spark.tell(*sys.argv[1:])"
    command = [sys.executable, "-c", code, engine, stage or tempfile.gettempdir(), str(patience)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)  # noqa: S603
        said, ended = run.stdout, " ".join(run.stderr.split()[-30:]) if run.returncode else ""
    except subprocess.TimeoutExpired as error:
        said, ended = (error.stdout or b"").decode(), f"no end within {limit:.0f} s"
    found = [Check(**json.loads(line)) for line in said.splitlines()]
    if ended and all(check.ok for check in found):
        left = [step for step in STEPS if step not in {check.name for check in found}]
        remedy = f"see whether {master_of(engine)} is a Spark {metadata.version('pyspark')} with free workers"
        found.append(Check(left[0] if left else "Spark ends", False, ended, remedy))
    return found

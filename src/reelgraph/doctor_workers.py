"""Tries an engine: opens it, and lets its workers tell what Python and libraries they have."""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reelgraph import __version__
from reelgraph.checkup import Check, judge, requirements, within
from reelgraph.data.engine import Engine, check_seen, open_engine
from reelgraph.data.spark_settings import SPARK, master_of
from reelgraph.errors import ReelgraphError

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

"""Reasons for failed Spark jobs, and sums of progress."""

from pathlib import Path
from typing import Any

import pytest

from reelgraph.engines import spark_jobs
from reelgraph.engines.spark_jobs import complaints, failures, root_cause
from reelgraph.errors import EngineError

LOST = (
    "An error occurred while calling o42.parquet.\n"
    ": org.apache.spark.SparkException: Job aborted due to stage failure: Task 1 in stage 2.0 failed 4 times, "
    "most recent failure: Lost task 1.3 in stage 2.0 (TID 10) (10.0.0.7 executor 1): {}\n"
    "\tat org.apache.spark.Job(Job.scala:1)\n"
    "\tat java.base/java.lang.Thread.run(Thread.java:840)\n\nDriver stacktrace:\n\tat org.apache.spark.D(D.scala:2)\n"
)
KILLED = "ExecutorLostFailure (executor 1 exited ...) Reason: Command exited with code 137"
UNSEEN = "java.io.FileNotFoundException: \nFile file:/s/a.parquet does not exist"
NO_PROGRAM = 'java.io.IOException: Cannot run program "/p": error=2, No such file or directory'
REFUSED = (
    "org.apache.spark.SparkIllegalArgumentException: [INVALID_DRIVER_MEMORY] Too little. SQLSTATE: F0000\n\tat a.B"
)


@pytest.mark.parametrize(
    ("trace", "cause"),
    [
        (
            LOST.format(UNSEEN) + f"Caused by: {UNSEEN}\n\tat x.Y(Y.java:1)\n",
            "FileNotFoundException: File file:/s/a.parquet does not exist (on 10.0.0.7)",
        ),
        (LOST.format(KILLED), f"{KILLED} (on 10.0.0.7)"),
        (
            # Causes without a message or with a part of the parent's message are passed over.
            LOST.format(NO_PROGRAM)
            + f"Caused by: {NO_PROGRAM}\n\tat x.Y(Y.java:1)\n"
            + "Caused by: java.io.IOException: error=2, No such file or directory\n\tat x.Z(Z.java:1)\n"
            + "Caused by: java.io.EOFException\n\tat x.Z(Z.java:1)\n\t... 12 more\n",
            f"{NO_PROGRAM.removeprefix('java.io.')} (on 10.0.0.7)",
        ),
        (REFUSED, "SparkIllegalArgumentException: [INVALID_DRIVER_MEMORY] Too little"),
        ("no trace of Java\nat all", "no trace of Java at all"),
    ],
)
def test_the_root_cause(trace: str, cause: str) -> None:
    assert root_cause(trace) == cause


def test_a_long_cause_is_cut() -> None:
    assert len(root_cause(f"java.lang.Error: {'x' * 5000}")) < 450


def raised(kind: str, text: str, base: type[Exception] = Exception, **also: Any) -> Exception:
    """An exception with the name of one of pyspark or py4j; the real ones need a running Java."""
    error = type(kind, (base,), also)(text)
    assert isinstance(error, Exception)
    return error


def of_worker(line: str) -> Exception:
    text = f"An exception was thrown from the Python worker:\nTraceback (most recent call last):\n  File ...\n{line}\n"
    return raised("PythonException", f"{text} SQLSTATE: 38000")


@pytest.mark.parametrize(
    ("error", "found", "remedy"),
    [
        (raised("Py4JJavaError", LOST.format("java.io.IOException: No space left")), "No space left", "TMPDIR"),
        (raised("Py4JNetworkError", "Answer from Java side is empty"), "Java ended (OutOfMemoryError: heap", "MEMORY"),
        (ConnectionRefusedError(111, "Connection refused"), "its Java ended", "MEMORY"),
        (of_worker("ModuleNotFoundError: No module named 'torch'"), "'torch'", "install"),
        (of_worker("reelgraph.errors.DataError: u.csv: expected a, found b"), "u.csv: expected a, found b", "doctor"),
        (raised("AnalysisException", "[PATH_NOT_FOUND] Path does not exist: file:/s"), "exist: file:/s", "--stage"),
        (
            raised("SparkRuntimeException", "[X] said", _stackTrace="a.S: [X] said\nCaused by: b.E: [Y] meant"),
            "[Y]",
            "",
        ),
    ],
)
def test_environment_errors_are_reported_in_one_line(error: Exception, found: str, remedy: str, tmp_path: Path) -> None:
    log = tmp_path / "spark.log"
    log.write_text("26/11/25 WARN a\njava.lang.OutOfMemoryError: heap\n\tat java.lang.Exception.x(X:1)\n")
    with pytest.raises(EngineError) as caught, failures("spark", log):
        raise error
    assert caught.value.problem.startswith("--engine spark: expected Spark to finish its job, found ")
    assert found in caught.value.problem
    assert remedy in caught.value.remedy
    assert caught.value.remedy.endswith(f"; Spark's log: {log}")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        raised("AnalysisException", "[UNRESOLVED_COLUMN] x"),
        raised("ArithmeticException", "[DIVIDE_BY_ZERO] Division by zero"),
        of_worker("ValueError: a bug"),
        of_worker("Boom"),
        ValueError("another matter"),
    ],
)
def test_bugs_of_this_program_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, failures("spark", None):
        raise error
    assert caught.value is error


def test_error_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Picked up options\nInvalid maximum heap size: -Xmx1x\nError: no machine\n\tat an.Error.x(X.java)\n")
    assert complaints(log) == ["Invalid maximum heap size: -Xmx1x", "Error: no machine"]
    log.write_bytes(b"\xff\n")
    assert complaints(log) == []


def test_progress_sums_over_stages() -> None:
    seen: list[spark_jobs.JobProgress] = []
    spark_jobs._report(seen.append, [(3, 1, 4), (5, 0, 2)], 2)
    spark_jobs._report(seen.append, [], 0)
    assert seen == [spark_jobs.JobProgress(stage=5, done=1, total=6, running=2)]

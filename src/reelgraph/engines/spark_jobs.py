"""Watches Spark's jobs: how far they are, and what a failed one died of, in one line."""

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelgraph.errors import EngineError

EVERY = 0.5  # seconds between two looks

LONGEST = 400  # characters of a cause

# Exceptions of pyspark, and of Spark Connect, that speak of what Spark ran on or read; others are bugs of this program.
FAILED = (
    "IllegalArgumentException", "QueryExecutionException", "RetriesExceeded", "SparkConnectException",
    "SparkConnectGrpcException", "SparkException", "SparkRuntimeException", "UnknownException",
)  # fmt: skip

SHARE = "let Spark read and write it there, on a cluster every worker: name a directory on shared storage with --stage"

REMEDIES = (
    (r"PYTHON_VERSION_MISMATCH|different version", "set PYSPARK_PYTHON to the same version of Python on the workers"),
    (r"No module named '?(\w+)", "install reelgraph on the workers, in the Python that PYSPARK_PYTHON names"),
    (r"Cannot run program", "install that Python on the workers, or name another one with PYSPARK_PYTHON"),
    (r"No space left", "free some disk, or set TMPDIR (on the workers SPARK_LOCAL_DIRS) to a larger one"),
    (
        r"OutOfMemory|heap space|SYSTEM_MEMORY|code 137|exited unexpectedly|Java ended",
        "give more memory: SPARK_DRIVER_MEMORY, or spark.executor.memory in spark-defaults.conf",
    ),
    (r"FileNotFound|FILE_NOT_EXIST|NoSuchFile|PATH_NOT_FOUND|UNABLE_TO_INFER|Mkdirs|Permission|AccessDenied", SHARE),
)


@dataclass(frozen=True)
class JobProgress:
    """How far the running stages are.

    Args:
        stage: the newest of them, by Spark's number.
        done: tasks that are done.
        total: tasks there are.
        running: tasks at work now; none while Spark waits for a free worker.
    """

    stage: int
    done: int
    total: int
    running: int


Observer = Callable[[JobProgress], None]


@contextmanager
def watched(session: Any, observe: Observer | None) -> Iterator[None]:
    """Tell an observer how the jobs of a session get on; for Spark and Spark Connect."""
    if observe is None:
        yield
    elif "connect" in type(session).__module__:
        with _told(session, observe):
            yield
    else:
        stop = threading.Event()
        asking = threading.Thread(target=_ask, args=(session.sparkContext.statusTracker(), observe, stop), daemon=True)
        asking.start()
        try:
            yield
        finally:
            stop.set()
            asking.join()


def _ask(tracker: Any, observe: Observer, stop: threading.Event) -> None:
    while not stop.wait(EVERY):
        try:
            stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
        except Exception:  # Java is gone; what runs the jobs says so.
            return
        known = [stage for stage in stages if stage is not None]
        _tell(
            observe,
            [(stage.stageId, stage.numCompletedTasks, stage.numTasks) for stage in known],
            sum(stage.numActiveTasks for stage in known),
        )


@contextmanager
def _told(session: Any, observe: Observer) -> Iterator[None]:
    def handle(stages: Iterable[Any] | None, inflight_tasks: int, operation_id: str | None, done: bool) -> None:  # noqa: ARG001
        running = [(one.stage_id, one.num_completed_tasks, one.num_tasks) for one in stages or () if not one.done]
        _tell(observe, running, inflight_tasks)

    session.registerProgressHandler(handle)
    try:
        yield
    finally:
        session.removeProgressHandler(handle)


def _tell(observe: Observer, stages: list[tuple[int, int, int]], running: int) -> None:
    if stages:
        numbers, done, total = zip(*stages, strict=True)
        observe(JobProgress(max(numbers), sum(done), sum(total), running))


@contextmanager
def failures(name: str, log: Path | None) -> Iterator[None]:
    """Turn what Spark fails of, other than by a mistake of this program, into one line.

    Args:
        name: the engine, for the message.
        log: where Spark and Java write, if that is known.

    Raises:
        EngineError: in place of Spark's exception.
    """
    try:
        yield
    except Exception as error:
        cause = _cause(error, log)
        if cause is None:
            raise
        raise failure(name, cause, log) from error


def failure(name: str, cause: str, log: Path | None) -> EngineError:
    """The error for a cause, with the remedy that fits."""
    remedy = next(
        (text for pattern, text in REMEDIES if re.search(pattern, cause)), f"ask: reelgraph doctor --engine {name}"
    )
    where = f"; Spark's log: {log}" if log else ""
    return EngineError(f"--engine {name}: expected Spark to do its work, found {cause}", remedy + where)


def _cause(error: Exception, log: Path | None) -> str | None:
    """What a failed job died of; None if the error is another one, or a bug of this program."""
    # By their names: some of these classes cannot be imported without all that Spark Connect needs.
    kind, trace = type(error).__name__, getattr(error, "_stackTrace", None) or getattr(error, "_stacktrace", None)
    if kind == "Py4JJavaError":
        return root_cause(str(error))
    if kind.startswith("Py4J") or isinstance(error, ConnectionRefusedError | ConnectionResetError):
        last = complaints(log)[-1:] if log else []
        return f"that its Java ended ({last[0] if last else 'without a word'})"
    if kind == "PythonException":
        return _of_worker(str(error))
    unseen = kind == "AnalysisException" and re.search(r"\[(PATH_NOT_FOUND|UNABLE_TO_INFER_SCHEMA)", str(error))
    gone = re.search(r'StatusCode\.UNAVAILABLE.*?details = "(.*?)"', str(error), re.S)
    if gone:
        return f"that the server went away ({_short(gone[1])})"
    if kind in FAILED or unseen:
        return root_cause(f"{error}\nCaused by: {trace}" if trace else str(error))
    return None


def root_cause(trace: str) -> str:
    """The innermost cause that a trace of Java names, and the worker it arose on.

    Args:
        trace: what Java's `printStackTrace` writes, "Caused by:" for each cause of a cause.
    """
    host = re.search(r"Lost task \S+ in stage \S+ \(TID \d+\) \((\S+) executor \d", trace)
    found = re.findall(r"(?:\A|^: |^Caused by: )(\S.*?)(?=\n\s+at |\nCaused by: |\Z)", trace, re.M | re.S)
    causes = [re.sub(r"\A.* executor \w+\): ", "", cause, flags=re.S) for cause in found] or [trace]
    # A class without a message says less than what it was the cause of, and so does a part of the same message.
    telling = [cause for cause in causes if re.search(r":\s+\S", cause)] or causes
    chosen = telling[-1]
    for outer in reversed(telling):
        chosen = outer if chosen.partition(": ")[2] in outer else chosen
    return _short(chosen) + (f" (on {host[1]})" if host else "")


def complaints(log: Path) -> list[str]:
    """The lines of a log that speak of something wrong."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    return [_short(line) for line in lines if re.search(r"Error|Exception|Invalid|ERROR", line) and "\tat " not in line]


def _of_worker(text: str) -> str | None:
    """What Python on a worker stopped at, where the worker is at fault; None if it is a bug."""
    found = re.findall(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception)): (.*)", text, re.M)
    if not found:
        return None
    kind, message = found[-1]
    at_fault = kind in {"ModuleNotFoundError", "ImportError", "MemoryError"} or "PYTHON_VERSION_MISMATCH" in message
    return _short(message) if at_fault or re.search(rf"^reelgraph\.errors\.{kind}: ", text, re.M) else None


def _short(text: str) -> str:
    """One line without the packages of Java's classes."""
    line = re.sub(r"\b(?:[a-z_][\w$]*\.)+(?=[A-Z][\w$]*(?:Exception|Error)\b)", "", " ".join(text.split()))
    line = re.sub(r"\.? SQLSTATE: \w+", "", line)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."

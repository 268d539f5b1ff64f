"""Progress of Spark jobs, and one-line reasons for the ones that fail."""

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelgraph.errors import EngineError

POLL_SECONDS = 0.5
MAX_CAUSE = 400  # characters

# pyspark's exceptions for a failing environment or input; all others are bugs of this program.
ENVIRONMENT_ERRORS = (
    "IllegalArgumentException", "QueryExecutionException", "RetriesExceeded", "SparkConnectException",
    "SparkConnectGrpcException", "SparkException", "SparkRuntimeException", "UnknownException",
)  # fmt: skip

SHARE = "let Spark read and write there; on a cluster, name a directory that every worker shares with --stage"

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
    """Progress of the running stages.

    Args:
        stage: Spark's number of the newest stage.
        done: finished tasks.
        total: all tasks.
        running: tasks at work now; 0 while Spark waits for a free worker.
    """

    stage: int
    done: int
    total: int
    running: int


Observer = Callable[[JobProgress], None]


@contextmanager
def watched(session: Any, observe: Observer | None) -> Iterator[None]:
    """Report the progress of a session's jobs to an observer, on Spark and Spark Connect."""
    if observe is None:
        yield
    elif "connect" in type(session).__module__:
        with _connect_progress(session, observe):
            yield
    else:
        stop = threading.Event()
        tracker = session.sparkContext.statusTracker()
        thread = threading.Thread(target=_poll, args=(tracker, observe, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _poll(tracker: Any, observe: Observer, stop: threading.Event) -> None:
    while not stop.wait(POLL_SECONDS):
        try:
            stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
        except Exception:  # Java has ended; the job itself reports that.
            return
        known = [stage for stage in stages if stage is not None]
        _report(
            observe,
            [(stage.stageId, stage.numCompletedTasks, stage.numTasks) for stage in known],
            sum(stage.numActiveTasks for stage in known),
        )


@contextmanager
def _connect_progress(session: Any, observe: Observer) -> Iterator[None]:
    def handle(stages: Iterable[Any] | None, inflight_tasks: int, operation_id: str | None, done: bool) -> None:  # noqa: ARG001
        running = [
            (stage.stage_id, stage.num_completed_tasks, stage.num_tasks) for stage in stages or () if not stage.done
        ]
        _report(observe, running, inflight_tasks)

    session.registerProgressHandler(handle)
    try:
        yield
    finally:
        session.removeProgressHandler(handle)


def _report(observe: Observer, stages: list[tuple[int, int, int]], running: int) -> None:
    if stages:
        numbers, done, total = zip(*stages, strict=True)
        observe(JobProgress(max(numbers), sum(done), sum(total), running))


@contextmanager
def failures(name: str, log: Path | None) -> Iterator[None]:
    """Turn Spark failures into an `EngineError` of one line; bugs of this program pass unchanged.

    Args:
        name: the engine, for the message.
        log: the log of Spark and Java, if there is one.
    """
    try:
        yield
    except Exception as error:
        cause = _cause(error, log)
        if cause is None:
            raise
        raise failure(name, cause, log) from error


def failure(name: str, cause: str, log: Path | None) -> EngineError:
    """The error for a cause, with a remedy that fits it."""
    remedy = next(
        (text for pattern, text in REMEDIES if re.search(pattern, cause)), f"run: reelgraph doctor --engine {name}"
    )
    where = f"; Spark's log: {log}" if log else ""
    return EngineError(f"--engine {name}: expected Spark to finish its job, found {cause}", remedy + where)


def _cause(error: Exception, log: Path | None) -> str | None:
    """Why a job failed, or None for a bug of this program."""
    # By class name: some of these classes can only be imported with all dependencies of Spark Connect.
    kind, trace = type(error).__name__, getattr(error, "_stackTrace", None) or getattr(error, "_stacktrace", None)
    if kind == "Py4JJavaError":
        return root_cause(str(error))
    if kind.startswith("Py4J") or isinstance(error, ConnectionRefusedError | ConnectionResetError):
        last = complaints(log)[-1:] if log else []
        return f"that its Java ended ({last[0] if last else 'no message in its log'})"
    if kind == "PythonException":
        return _worker_cause(str(error))
    unseen = kind == "AnalysisException" and re.search(r"\[(PATH_NOT_FOUND|UNABLE_TO_INFER_SCHEMA)", str(error))
    gone = re.search(r'StatusCode\.UNAVAILABLE.*?details = "(.*?)"', str(error), re.S)
    if gone:
        return f"that the server went away ({_shorten(gone[1])})"
    if kind in ENVIRONMENT_ERRORS or unseen:
        return root_cause(f"{error}\nCaused by: {trace}" if trace else str(error))
    return None


def root_cause(trace: str) -> str:
    """The innermost cause in a Java stack trace, and the worker where it happened."""
    host = re.search(r"Lost task \S+ in stage \S+ \(TID \d+\) \((\S+) executor \d", trace)
    matches = re.findall(r"(?:\A|^: |^Caused by: )(\S.*?)(?=\n\s+at |\nCaused by: |\Z)", trace, re.M | re.S)
    causes = [re.sub(r"\A.* executor \w+\): ", "", cause, flags=re.S) for cause in matches] or [trace]
    # A cause without a message, or with only a part of its parent's message, says less than its parent.
    with_message = [cause for cause in causes if re.search(r":\s+\S", cause)] or causes
    chosen = with_message[-1]
    for outer in reversed(with_message):
        chosen = outer if chosen.partition(": ")[2] in outer else chosen
    return _shorten(chosen) + (f" (on {host[1]})" if host else "")


def complaints(log: Path) -> list[str]:
    """The lines of a log that report an error."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    errors = (line for line in lines if re.search(r"Error|Exception|Invalid|ERROR", line) and "\tat " not in line)
    return [_shorten(line) for line in errors]


def _worker_cause(text: str) -> str | None:
    """Why Python failed on a worker, or None for a bug of this program."""
    errors = re.findall(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception)): (.*)", text, re.M)
    if not errors:
        return None
    kind, message = errors[-1]
    environment = kind in {"ModuleNotFoundError", "ImportError", "MemoryError"} or "PYTHON_VERSION_MISMATCH" in message
    return _shorten(message) if environment or re.search(rf"^reelgraph\.errors\.{kind}: ", text, re.M) else None


def _shorten(text: str) -> str:
    """One line, without the package names of Java classes."""
    line = re.sub(r"\b(?:[a-z_][\w$]*\.)+(?=[A-Z][\w$]*(?:Exception|Error)\b)", "", " ".join(text.split()))
    line = re.sub(r"\.? SQLSTATE: \w+", "", line)
    return line if len(line) <= MAX_CAUSE else f"{line[:MAX_CAUSE]} ..."

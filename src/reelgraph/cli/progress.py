"""Progress bars and status lines on stderr."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from reelgraph.config import TrainConfig
from reelgraph.data.pair_files import Rows
from reelgraph.engines.spark_jobs import JobProgress
from reelgraph.training import bars

if TYPE_CHECKING:
    from reelgraph.training.loop import Progress as FitProgress

LINE_EVERY = 5.0  # seconds between two lines of progress where there is no terminal


@dataclass(frozen=True)
class JobReport:
    """Functions that show a line of text and the progress of Spark's jobs."""

    note: Callable[[str], None]
    jobs: Callable[[JobProgress], None]


def note(line: str, console: Console | None = None) -> None:
    """Print one line, on stderr by default; a terminal breaks it between words."""
    console = console or _stderr()
    console.print(escape(line), soft_wrap=not console.is_terminal)


def noted(rows: Rows) -> Rows:
    """Print what is wrong with rows of a file; returns its usable rows."""
    for line in rows.report():
        note(line)
    return rows


@contextmanager
def live() -> Iterator[Callable[[Callable[[int], Sequence[Table]]], None]]:
    """Show the tables that a function of the width gives, updated in place on a terminal; elsewhere nothing."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    with Live(console=console, transient=True) as display:
        yield lambda tables: display.update(Group(*tables(console.width)))


@contextmanager
def fit_progress() -> Iterator[Callable[[str, "FitProgress", TrainConfig], None]]:
    """Show the steps and validation errors of a fit: bars on a terminal, elsewhere a line every few seconds."""
    console = _stderr()
    if console.is_terminal:
        with bars.terminal_bars(console) as draw:
            yield draw
        return
    written: dict[str, float] = {}  # phases by the time of their last line

    def write(phase: str, progress: "FitProgress", config: TrainConfig) -> None:
        due = time.monotonic() - written.get(phase, -math.inf) >= LINE_EVERY
        if due or progress.step == config.max_steps:
            written[phase] = time.monotonic()
            console.print(f"{bars.describe(phase, progress)}  {bars.describe_steps(progress, config)}")

    yield write


@contextmanager
def job_progress() -> Iterator[JobReport]:
    """Show the progress of Spark's jobs, and lines of text between."""
    console = _stderr()
    busy: float | None = None

    with progress("tasks", console) as show:

        def jobs(job: JobProgress) -> None:
            nonlocal busy
            now = time.monotonic()
            busy = now if job.running or busy is None else busy
            waiting = ", waiting for a free worker" if now - busy >= LINE_EVERY else ""
            show(f"Spark, stage {job.stage}{waiting}", job.done, job.total)

        yield JobReport(lambda line: console.print(escape(line)), jobs)


@contextmanager
def progress(units: str, console: Console | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """Show activity, units done and their total number: a bar on a terminal; elsewhere a line every few seconds."""
    console = console or _stderr()
    started = shown = time.monotonic()

    def write(text: str, done: int, total: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= LINE_EVERY:
            shown = time.monotonic()
            spent = shown - started
            left = f", {spent / done * (total - done):.0f} s left" if done else ""
            console.print(escape(f"{text}  {done:,} of {total:,} {units}, {spent:.0f} s{left}"))

    if not console.is_terminal:
        yield write
        return
    with Progress(*bars.columns(), console=console, transient=True) as shown_bars:

        def draw(text: str, done: int, total: int) -> None:
            task = shown_bars.task_ids[0] if shown_bars.task_ids else shown_bars.add_task("")
            shown_bars.update(task, description=text, completed=done, total=total)

        yield draw


def _stderr() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)

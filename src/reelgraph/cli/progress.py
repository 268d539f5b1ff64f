"""Shows how work gets on, Spark's jobs for one, and what is said meanwhile, on stderr."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from reelgraph.config import TrainConfig
from reelgraph.engines.spark_jobs import JobProgress

if TYPE_CHECKING:
    from reelgraph.training.loop import Progress as FitProgress


LINE_EVERY = 5.0  # seconds between two plain lines of progress


def note(line: str) -> None:
    """One line about the work, on stderr, so that stdout holds results alone."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(escape(line))


@contextmanager
def live() -> Iterator[Callable[[Callable[[int], Sequence[Table]]], None]]:
    """Tables that grow on a terminal's stderr; nothing elsewhere, where each run has its line already."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    with Live(console=console, transient=True) as shown:
        yield lambda made: shown.update(Group(*made(console.width)))


@contextmanager
def fit_progress() -> Iterator[Callable[[str, "FitProgress", TrainConfig], None]]:
    """Show how a fit gets on: a bar on a terminal, a plain line every few seconds elsewhere; both on stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if console.is_terminal:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=console) as bars:
            tasks: dict[str, Any] = {}

            def draw(phase: str, progress: "FitProgress", config: TrainConfig) -> None:
                if phase not in tasks:
                    tasks[phase] = bars.add_task(phase, total=config.max_steps)
                bars.update(tasks[phase], completed=progress.step, description=_describe(phase, progress))

            yield draw
        return
    shown = {"phase": "", "at": 0.0}

    def write(phase: str, progress: "FitProgress", config: TrainConfig) -> None:
        due = time.monotonic() - shown["at"] >= LINE_EVERY or phase != shown["phase"]  # type: ignore[operator]
        if due or progress.step == config.max_steps:
            shown.update(phase=phase, at=time.monotonic())
            console.print(f"{_describe(phase, progress)}  step {progress.step}, {progress.seconds:.1f} s")

    yield write


def _describe(phase: str, progress: "FitProgress") -> str:
    if not progress.history:
        return phase
    last, best = progress.history[-1], progress.best_evaluation
    if not math.isnan(last.valid_ndcg):
        return f"{phase}  validation nDCG@10 {last.valid_ndcg:.4f} (best {best.valid_ndcg:.4f})"
    return f"{phase}  validation RMSE {last.valid_rmse:.4f}, MAE {last.valid_mae:.4f} (best RMSE {best.valid_rmse:.4f})"


@dataclass(frozen=True)
class Shown:
    """Where work is shown: `note` takes a line of text, `jobs` how Spark's jobs get on."""

    note: Callable[[str], None]
    jobs: Callable[[JobProgress], None]


@contextmanager
def job_progress() -> Iterator[Shown]:
    """How Spark's jobs get on; see `progress`."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    busy: float | None = None

    def note(line: str) -> None:
        console.print(escape(line))

    with progress("tasks", console) as show:

        def jobs(found: JobProgress) -> None:
            nonlocal busy
            now = time.monotonic()
            busy = now if found.running or busy is None else busy
            waits = now - busy >= LINE_EVERY
            text = f"Spark, stage {found.stage}{', waits for a free worker' if waits else ''}"
            show(text, found.done, found.total)

        yield Shown(note, jobs)


@contextmanager
def progress(units: str, console: Console | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """Shows what is done: a bar on a terminal, gone afterwards; a plain line every few seconds elsewhere.

    Args:
        units: what is counted, such as "tasks".
        console: where; stderr when not given.

    Yields:
        A function of what is being done, how much of it is done, and how much there is.
    """
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    started = shown = time.monotonic()

    def write(text: str, done: int, total: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= LINE_EVERY:
            shown = time.monotonic()
            console.print(escape(f"{text}  {done:,} of {total:,} {units}, {shown - started:.0f} s"))

    if not console.is_terminal:
        yield write
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bars:

        def draw(text: str, done: int, total: int) -> None:
            task = bars.task_ids[0] if bars.task_ids else bars.add_task("")
            bars.update(task, description=text, completed=done, total=total)

        yield draw

"""Shows how work gets on, Spark's jobs for one, and what is said meanwhile, on stderr."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from reelgraph.console import LINE_EVERY
from reelgraph.data.spark_jobs import JobProgress


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

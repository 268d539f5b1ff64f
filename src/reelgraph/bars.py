"""Shows how Spark's jobs get on, and what is said meanwhile, on stderr."""

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
    """A bar on a terminal, gone when the work is done; a plain line every few seconds elsewhere."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    started = busy = shown = time.monotonic()

    def note(line: str) -> None:
        console.print(escape(line))

    def describe(found: JobProgress) -> str:
        nonlocal busy
        busy = time.monotonic() if found.running else busy
        waits = time.monotonic() - busy >= LINE_EVERY
        return f"Spark, stage {found.stage}{', waits for a free worker' if waits else ''}"

    def write(found: JobProgress) -> None:
        nonlocal shown
        text = describe(found)
        if time.monotonic() - shown >= LINE_EVERY:
            shown = time.monotonic()
            note(f"{text}  {found.done} of {found.total} tasks, {shown - started:.0f} s")

    if not console.is_terminal:
        yield Shown(note, write)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bars:

        def draw(found: JobProgress) -> None:
            task = bars.task_ids[0] if bars.task_ids else bars.add_task("")
            bars.update(task, description=describe(found), completed=found.done, total=found.total)

        yield Shown(note, draw)

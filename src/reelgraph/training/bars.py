"""Progress of a fit as bars, on a terminal or in a notebook."""

import html
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from reelgraph.config import TrainConfig
    from reelgraph.training.loop import Progress as FitProgress

Observe = Callable[[str, "FitProgress", "TrainConfig"], None]  # as `runner.Observe`, without importing torch
NOTEBOOK_EVERY = 0.2  # seconds between two updates of a notebook's output


@contextmanager
def bars() -> Iterator[Observe]:
    """Show a bar for each phase of a fit on stderr; nothing where that is neither a terminal nor a notebook."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if console.is_jupyter:
        with notebook_bars() as observe:
            yield observe
    elif console.is_terminal:
        with terminal_bars(console) as observe:
            yield observe
    else:
        yield lambda *_: None


@contextmanager
def terminal_bars(console: Console) -> Iterator[Observe]:
    """Bars on a terminal."""
    with Progress(*columns(), console=console) as shown:
        tasks: dict[str, TaskID] = {}

        def draw(phase: str, progress: "FitProgress", config: "TrainConfig") -> None:
            if phase not in tasks:
                for other, task in tasks.items():  # An earlier phase of the same head may end before its last step.
                    if other.startswith("rank ") == phase.startswith("rank "):
                        shown.update(task, total=shown.tasks[shown.task_ids.index(task)].completed)
                tasks[phase] = shown.add_task(phase, total=_most(progress, config))
            shown.update(tasks[phase], completed=progress.step, description=describe(phase, progress))

        yield draw


@contextmanager
def notebook_bars() -> Iterator[Observe]:
    """Bars in the output of a notebook's cell; they need no widgets."""
    page: Any = import_module("IPython.display")  # there in a notebook
    lines: dict[str, str] = {}
    handle, shown = page.display(page.HTML(""), display_id=True), -math.inf

    def draw(phase: str, progress: "FitProgress", config: "TrainConfig") -> None:
        nonlocal shown
        now = time.monotonic()
        due = phase not in lines or progress.step == _most(progress, config) or now - shown >= NOTEBOOK_EVERY
        text = f"{describe(phase, progress)}  {describe_steps(progress, config)}"
        bar = f'<progress max="{_most(progress, config)}" value="{progress.step}"></progress>'
        lines[phase] = f"{bar} {html.escape(text)}"
        if due:
            shown = now
            handle.update(page.HTML("<br>".join(lines.values())))

    yield draw
    handle.update(page.HTML("<br>".join(lines.values())))


def columns() -> tuple[ProgressColumn, ...]:
    """What a bar shows, in 80 characters: activity, bar, parts done and in all, time spent and left."""
    text, times = TextColumn("{task.description}"), (TimeElapsedColumn(), TimeRemainingColumn())
    return text, BarColumn(bar_width=12), MofNCompleteColumn(), *times


def describe(phase: str, progress: "FitProgress") -> str:
    """The phase and its last and best validation measure."""
    if not progress.history:
        return phase
    last, best = progress.history[-1], progress.best_evaluation
    if not math.isnan(last.valid_ndcg):
        return f"{phase}  nDCG@10 {last.valid_ndcg:.4f} (best {best.valid_ndcg:.4f})"
    return f"{phase}  RMSE {last.valid_rmse:.4f} (best {best.valid_rmse:.4f})"


def describe_steps(progress: "FitProgress", config: "TrainConfig") -> str:
    """Steps and seconds done and left; a fit may stop before its last step."""
    most = _most(progress, config)
    left = progress.seconds / max(progress.step, 1) * (most - progress.step)
    text = f"step {progress.step} of at most {most}, {progress.seconds:.1f} s"
    return f"{text}, at most {left:.0f} s left" if progress.step < most else text


def _most(progress: "FitProgress", config: "TrainConfig") -> int:
    return config.max_steps or progress.step

"""The progress of Spark's jobs, on a terminal and elsewhere."""

import io
import re

import pytest
from rich.console import Console

from reelgraph.cli import progress
from reelgraph.engines.spark_jobs import JobProgress

Captured = pytest.CaptureFixture[str]


def test_jobs_in_a_pipe_are_a_line_every_few_seconds(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 1e9)
    with progress.job_progress() as shown:
        shown.note("[bold]ratings.csv: comma-separated")
        shown.jobs(JobProgress(3, 1, 8, 2))
    assert capsys.readouterr() == ("", "[bold]ratings.csv: comma-separated\n")
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    with progress.job_progress() as shown:
        shown.jobs(JobProgress(3, 1, 8, 2))
        shown.jobs(JobProgress(4, 0, 8, 0))
    out, err = capsys.readouterr()
    assert out == ""
    assert re.findall(r"stage (\d)(.*?)  (\d of \d) tasks", err) == [
        ("3", ", waiting for a free worker", "1 of 8"),  # with no patience at all
        ("4", ", waiting for a free worker", "0 of 8"),
    ]


def test_waiting_is_shown_when_nothing_has_run_for_a_while(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with progress.job_progress() as shown:
        for now[0], running in ((60.0, 0), (66.0, 0), (72.0, 1), (74.0, 1), (77.5, 0), (83.0, 0)):
            shown.jobs(JobProgress(1, 0, 2, running))
    waits = ["waiting" in line for line in capsys.readouterr().err.splitlines()]
    assert waits == [False, True, False, False, True]


def test_jobs_on_a_terminal_are_a_transient_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda **options: Console(file=screen, force_terminal=True, width=100, _environ={})
    )
    with progress.job_progress() as shown:
        shown.jobs(JobProgress(3, 2, 8, 2))
        shown.note("rating scale: 1 to 5")
        shown.jobs(JobProgress(7, 5, 6, 1))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "Spark, stage 7" in text
    assert "5/6" in text
    assert "rating scale: 1 to 5" in text
    assert screen.getvalue().endswith(("\x1b[2K", "\x1b[?25h\r\x1b[1A\x1b[2K")), "the bar is removed"


def test_without_jobs_nothing_is_shown(capsys: Captured) -> None:
    with progress.job_progress():
        pass
    assert capsys.readouterr() == ("", "")

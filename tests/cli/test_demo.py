"""`reelgraph demo`: trains once, also when runs start together or the first is killed, serves and opens the page."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from reelgraph import artifact
from reelgraph._version import __version__

Start = Callable[..., "subprocess.Popen[str]"]
CODE = """
import sys
from reelgraph.cli import demo, main
demo.TRAIN = ("train", sys.argv[1], "--max-steps", "20", "--no-ranking", "--tune", "none")
main(["demo", "--port", "0", *sys.argv[2:]])
"""


@pytest.fixture
def start(tables: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts `reelgraph demo` on small ratings in a process group of its own."""
    started = []
    environment = os.environ | {
        "XDG_CACHE_HOME": str(tmp_path),
        "BROWSER": f"sh -c {shlex.quote(f'echo %s >{tmp_path}/opened')}",
    }

    def demo(*options: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, tables, *options],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield demo
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def url_of(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """The URL that a demo serves at, and its output before."""
    assert process.stdout is not None
    before = ""
    for line in process.stdout:
        if line.startswith("reelgraph serves"):
            return line.split()[-1], before
        before += line
    raise AssertionError(before + process.communicate()[1])


@pytest.mark.slow
def test_demo(start: Start, tmp_path: Path) -> None:
    killed = start("--no-browser")
    assert killed.stdout is not None
    killed.stdout.readline()  # of the training
    os.killpg(killed.pid, signal.SIGKILL)
    both = [start(), start("--no-browser")]
    answers = [url_of(process) for process in both]
    for url, _ in answers:
        assert "<title>" in httpx.get(url).text
    assert sorted(bool(before) for _, before in answers) == [False, True], "one of them trained"
    model = tmp_path / "reelgraph" / f"demo-{__version__}"
    made = artifact.read_artifact(model).manifest["created"]
    both[0].terminate()
    assert (tmp_path / "opened").read_text() == f"{answers[0][0]}\n"
    assert url_of(start("--no-browser"))[1] == ""
    assert artifact.read_artifact(model).manifest["created"] == made

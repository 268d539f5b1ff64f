"""Atomic writing of files and directories."""

import ctypes
import errno
import itertools
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from reelgraph.errors import DataError, OutputError
from reelgraph.files import (
    MANIFEST,
    check_target,
    locked,
    new_directory,
    new_file,
    previous_of,
    read_whole,
    temporary_directory,
)

KIND = "reelgraph-test"


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file that this process writes meanwhile may be larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(path: Path, text: str) -> None:
    with new_directory(path, KIND) as directory:
        (directory / MANIFEST).write_text(f'{{"kind": "{KIND}"}}')
        (directory / "data.txt").write_text(text)


def test_a_directory_is_replaced(tmp_path: Path) -> None:
    fill(tmp_path / "deep" / "out", "one")
    fill(tmp_path / "deep" / "out", "two")
    assert (tmp_path / "deep" / "out" / "data.txt").read_text() == "two"
    assert previous_of(tmp_path / "deep" / "out") == tmp_path / "deep" / ".out.previous"
    assert (tmp_path / "deep" / ".out.previous" / "data.txt").read_text() == "one"
    fill(tmp_path / "deep" / "out", "three")
    assert (tmp_path / "deep" / ".out.previous" / "data.txt").read_text() == "two"
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out", ".out.previous"}
    with new_directory(tmp_path / "deep" / "out", KIND, keep=False) as directory:
        (directory / MANIFEST).write_text("{}")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


@pytest.mark.parametrize("older", [True, False])
def test_a_failure_keeps_the_earlier_result(tmp_path: Path, older: bool) -> None:
    if older:
        fill(tmp_path / "out", "old")
    with pytest.raises(DataError), new_directory(tmp_path / "out", KIND) as directory:  # noqa: PT012
        (directory / "half").write_text("half")
        raise DataError("bad input")
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if older else [])
    assert not older or (tmp_path / "out" / "data.txt").read_text() == "old"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_system_errors_become_output_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    fill(tmp_path / "out", "old")

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=os.strerror(code)):
        fill(tmp_path / "out", "new")
    with pytest.raises(OutputError, match=os.strerror(code)), new_file(tmp_path / "file") as file:
        file.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "data.txt").read_text() == "old"


def test_a_file_size_limit_leaves_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    with pytest.raises(OutputError, match="File too large"), file_limit(1000), new_file(tmp_path / "f") as file:
        file.write_bytes(b"x" * 5000)
    assert (tmp_path / "f").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_unsuitable_targets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "ours", "x")
    with pytest.raises(OutputError, match="expected a directory, found a file"):
        check_target(tmp_path / "file", KIND)
    with pytest.raises(OutputError, match="found a file"):
        check_target(tmp_path / "file" / "below", KIND)
    with pytest.raises(OutputError, match="found other files there"):
        check_target(tmp_path / "full", KIND)
    with pytest.raises(OutputError, match="found other files there"):
        check_target(tmp_path / "ours", "another-kind")
    for name in ("empty", "ours", "new"):
        check_target(tmp_path / name, KIND)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "full", "ours"]


def test_a_mount_point_is_no_target() -> None:
    with pytest.raises(OutputError, match="mount point"):
        check_target(Path("/"), KIND)


def test_weights_that_do_not_fit_leave_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(OutputError, match="cannot be written"), file_limit(1000), new_directory(target, KIND) as work:
        save_file({"weights": np.zeros(1000)}, work / "weights.safetensors")
    assert list(tmp_path.iterdir()) == []


def audited(number: int, work: Callable[[], None], act: Callable[[], None]) -> int:
    """Do the work with `act` before a call of the system; 0 if the work succeeds, 1 if not, 2 without such a call."""
    calls = itertools.count(1)

    def audit(event: str, _: tuple[object, ...]) -> None:
        if event.startswith(("os.", "open", "shutil.", "ctypes.dlsym")) and next(calls) == number:
            act()

    sys.addaudithook(audit)
    try:
        work()
    except OutputError:
        return 1
    return 0 if next(calls) > number else 2


def at_each_call(work: Callable[[], None], act: Callable[[], None]) -> Iterator[int]:
    """Do the work in forks of this process, with `act` before the first, second, ... call; yields their exit codes."""
    for number in itertools.count(1):
        child = os.fork()
        if child == 0:
            try:
                os._exit(audited(number, work, act))
            finally:
                os._exit(3)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 2:
            return
        yield code


@pytest.fixture(params=["exchange", "two renames"])
def out(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A target on a system that can, and on one that cannot, exchange two directories."""
    if request.param == "two renames":
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: None)
    fill(tmp_path / "out", "old")
    return tmp_path / "out"


def content(path: Path) -> str:
    return read_whole(path, (path / "data.txt").read_text)


def test_a_kill_at_any_call_leaves_the_old_or_the_new_one(out: Path) -> None:
    found = set()
    for code in at_each_call(lambda: fill(out, "new"), lambda: os.kill(os.getpid(), signal.SIGKILL)):
        assert code == -signal.SIGKILL
        left = content(out)
        found.add(left)
        fill(out, "old")
        assert content(previous_of(out)) == left
        assert {path.name for path in out.parent.iterdir()} == {"out", ".out.previous"}
    assert found == {"old", "new"}


def test_an_error_at_any_call_leaves_the_old_or_the_new_one(out: Path) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    found = set()
    for code in at_each_call(lambda: fill(out, "new"), fail):
        found.add((code, content(out)))
        fill(out, "old")
        assert {path.name for path in out.parent.iterdir()} == {"out", ".out.previous"}
    assert found - {(1, "new")} == {(1, "old"), (0, "new")}


def test_readers_and_writers_do_not_disturb_one_another(out: Path) -> None:
    def read() -> None:
        if (out / "data.txt").read_text() != (out / "data.txt").read_text():
            raise ValueError("parts of two results")

    def write(writer: int) -> None:
        for number in range(25):
            fill(out, f"{writer} {number}")

    with ThreadPoolExecutor(2) as threads:
        writing = [threads.submit(write, writer) for writer in range(2)]
        reads = 0
        while not all(work.done() for work in writing):
            read_whole(out, read)
            reads += 1
        for work in writing:
            work.result()
    assert reads > 10
    assert {path.name for path in out.parent.iterdir()} == {"out", ".out.previous"}


def count(number: Path, times: int, lines: list[str]) -> None:
    """Read a number, add one, and replace it, under one lock."""
    for _ in range(times):
        with locked(number, lines.append):
            before = int((number / "data.txt").read_text())
            fill(number, str(before + 1))


def test_changes_of_one_result_wait_for_one_another(out: Path) -> None:
    fill(out, "0")
    lines: list[str] = []
    with ThreadPoolExecutor(3) as threads:
        for work in [threads.submit(count, out, 10, lines) for _ in range(3)]:
            work.result()
    assert content(out) == "30"
    assert {path.name for path in out.parent.iterdir()} == {"out", ".out.previous"}
    assert set(lines) <= {f"{out}: another command is writing it; this one waits for its end"}


def test_a_replacement_waits_for_a_change(out: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        with locked(out):
            work = threads.submit(fill, out, "from another command")
            with pytest.raises(TimeoutError):
                work.result(0.1)
            assert content(out) == "old"
            fill(out, "changed")
        work.result()
    assert content(out) == "from another command"
    assert content(previous_of(out)) == "changed"


def test_a_lock_ends_with_the_process_that_holds_it(out: Path) -> None:
    code = "import sys, time; from pathlib import Path; from reelgraph.files import locked\n"
    code += "with locked(Path(sys.argv[1])) as handles: print(len(handles), flush=True); time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", code, out], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "1\n"

    def kill(line: str) -> None:
        lines.append(line)
        holder.kill()
        holder.wait()

    lines: list[str] = []
    with holder.stdout, locked(out, kill):
        assert lines == [f"{out}: another command is writing it; this one waits for its end"]


def test_nothing_is_locked_where_nothing_is(tmp_path: Path) -> None:
    with locked(tmp_path / "nothing") as handles:
        assert handles == ()
    with locked(tmp_path / "made" / "here", make=True) as handles:
        assert len(handles) == 1
        with locked(tmp_path / "made" / "here") as more:
            assert more == (), "it is locked already"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_what_is_read_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        content(tmp_path / "nothing")


def test_a_pipe_is_written_through(tmp_path: Path) -> None:
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    content = os.urandom(200_000)
    with new_file(pipe) as temporary:
        temporary.write_bytes(content)
    reader.join(10)
    assert received == [content]
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_standard_output_is_written_through(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from reelgraph.files import new_file
with new_file(Path("/dev/stdout")) as temporary:
    temporary.write_text("content")
"""
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "content"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "content"


def test_links_stay_links_and_their_targets_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "folder").mkdir()
    for link, target in (("file", "target"), ("new", "made"), ("directory", "folder")):
        (tmp_path / link).symlink_to(target)
    for name in ("file", "new"):
        with new_file(tmp_path / name) as temporary:
            temporary.write_text("content")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / name).resolve().read_text() == "content"
    for text in ("one", "two"):
        fill(tmp_path / "directory", text)
        assert (tmp_path / "directory").is_symlink()
        assert (tmp_path / "folder" / "data.txt").read_text() == text
    assert {path.name for path in tmp_path.iterdir()} == {
        "file", "target", "new", "made", "directory", "folder", ".folder.previous"
    }  # fmt: skip


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="symbolic links"), new_file(tmp_path / "a"):
        pass
    with pytest.raises(OutputError, match="symbolic links"):
        check_target(tmp_path / "a", KIND)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_a_directory_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="found a directory"), new_file(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_in_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="expected a directory"):
        fill(tmp_path / "pipe", "text")
    assert (tmp_path / "pipe").is_fifo()


def test_temporary_files_are_removed_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    killed, other = tmp_path / "reelgraph-run-abcd_123", tmp_path / "reelgraph-run-of-another-program"
    for directory in (killed, other):
        directory.mkdir()
        (directory / "file").touch()
    with temporary_directory():
        Path(tempfile.mkstemp()[1]).write_text("left behind")
        assert not killed.exists()
        with temporary_directory():
            assert Path(tempfile.gettempdir()).parent.parent == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == [other.name]
    assert tempfile.gettempdir() == str(tmp_path)


def test_temporary_files_of_a_running_process_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with temporary_directory(), new_file(tmp_path / "file") as temporary:
        own = Path(tempfile.gettempdir())
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with temporary_directory(), new_file(tmp_path / "file") as second:
            second.write_text("second")
        assert own.exists()
        temporary.write_text("first")
    assert (tmp_path / "file").read_text() == "first"


def test_a_directory_whose_name_is_not_utf8_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="expected a name in UTF-8, found other bytes"):
        check_target(tmp_path / os.fsdecode(b"m\xff"), "kind")
    assert list(tmp_path.iterdir()) == []


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    name = "\N{CYRILLIC SMALL LETTER IO}" * 127
    with new_file(tmp_path / name) as temporary:
        temporary.write_text("content")
    assert (tmp_path / name).read_text() == "content"
    fill(tmp_path / name[:122], "content")
    with pytest.raises(OutputError, match="too long"):
        fill(tmp_path / "x" / name, "content")


def test_a_directory_may_be_the_present_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    fill(Path(), "content")
    assert (tmp_path / "out" / "data.txt").read_text() == "content"

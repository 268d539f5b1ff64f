"""Atomic writing of files and directories."""

import errno
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from reelgraph.errors import DataError, OutputError
from reelgraph.files import MANIFEST, check_target, new_directory, new_file, temporary_directory

KIND = "reelgraph-test"


def fill(path: Path, text: str) -> None:
    with new_directory(path, KIND) as directory:
        (directory / MANIFEST).write_text(f'{{"kind": "{KIND}"}}')
        (directory / "data.txt").write_text(text)


def test_a_directory_is_replaced(tmp_path: Path) -> None:
    fill(tmp_path / "deep" / "out", "one")
    fill(tmp_path / "deep" / "out", "two")
    assert (tmp_path / "deep" / "out" / "data.txt").read_text() == "two"
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
    code = """
import resource, sys
from pathlib import Path
from reelgraph.files import new_file
from reelgraph.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with new_file(Path("f")) as file:
        file.write_bytes(b"x" * 5000)
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("f: cannot be written (File too large)"), done.stderr
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


def test_a_failed_rename_restores_the_earlier_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "out", "old")
    rename = Path.rename

    def fail_once(self: Path, target: Path) -> Path:
        if target == tmp_path / "out" and ".old." not in self.name:
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(OutputError):
        fill(tmp_path / "out", "new")
    assert (tmp_path / "out" / "data.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


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
    assert {path.name for path in tmp_path.iterdir()} == {"file", "target", "new", "made", "directory", "folder"}


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
    killed, running = tmp_path / "reelgraph-run-killed", tmp_path / "reelgraph-run-new"
    for directory, age in ((killed, 3600), (running, 0)):
        directory.mkdir()
        (directory / "file").touch()
        os.utime(directory, (time.time() - age,) * 2)
    with temporary_directory():
        Path(tempfile.mkstemp()[1]).write_text("left behind")
        assert not killed.exists()
        with temporary_directory():
            assert Path(tempfile.gettempdir()).parent.parent == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == [running.name]
    assert tempfile.gettempdir() == str(tmp_path)


def test_temporary_files_of_a_running_process_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with temporary_directory():
        own = Path(tempfile.gettempdir())
        os.utime(own, (0, 0))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with temporary_directory():
            assert own.exists()

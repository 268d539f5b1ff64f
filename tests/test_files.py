"""Results whole or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reelgraph.errors import DataError, OutputError
from reelgraph.files import MANIFEST, check_target, new_directory, new_file

KIND = "reelgraph-test"


def fill(path: Path, text: str) -> None:
    with new_directory(path, KIND) as directory:
        (directory / MANIFEST).write_text(f'{{"kind": "{KIND}"}}')
        (directory / "data.txt").write_text(text)


def test_a_directory_appears_whole_and_is_replaced_whole(tmp_path: Path) -> None:
    fill(tmp_path / "deep" / "out", "one")
    fill(tmp_path / "deep" / "out", "two")
    assert (tmp_path / "deep" / "out" / "data.txt").read_text() == "two"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


@pytest.mark.parametrize("older", [True, False])
def test_a_failure_leaves_what_was_there(tmp_path: Path, older: bool) -> None:
    if older:
        fill(tmp_path / "out", "old")
    with pytest.raises(DataError), new_directory(tmp_path / "out", KIND) as directory:  # noqa: PT012
        (directory / "half").write_text("half")
        raise DataError("bad input")
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if older else [])
    assert not older or (tmp_path / "out" / "data.txt").read_text() == "old"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_what_the_system_says_becomes_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
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
from reelgraph.atomic import new_file
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


def test_targets_that_are_not_ours_are_refused_before_any_work(tmp_path: Path) -> None:
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


def test_a_swap_that_fails_puts_the_older_result_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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

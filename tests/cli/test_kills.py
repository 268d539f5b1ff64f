"""Every moment has a whole result, however a command ends; `benchmarks/kills.py` tries more commands and moments."""

import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reelgraph.artifact import read_artifact
from tests.support.commands import CommandLine, command_line
from tests.support.outputs import COMMANDS, Trial, fill

KILLS = 2


@pytest.fixture(scope="module")
def folder(tables: Path, model_dir: Path, other_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    fill(folder, tables, (model_dir, other_dir))
    return folder


@pytest.fixture(scope="module")
def other_command() -> Iterator[CommandLine]:
    with command_line() as command:
        yield command


@pytest.mark.parametrize("name", ["forget", "predict"])
def test_a_kill_leaves_the_old_or_the_new_one(folder: Path, command: CommandLine, name: str) -> None:
    draw, trial = random.Random(name), Trial(folder, COMMANDS[name], command)
    with trial.reader():
        for _ in range(KILLS):
            trial.kill(draw)
    assert trial.reads.keys() <= {"1", "2"}, trial.reads
    assert sum(trial.reads.values()) > KILLS


def test_a_full_disk_leaves_the_old_one(folder: Path, command: CommandLine) -> None:
    """The limit also holds for messages, of which the first ten letters remain."""
    trial = Trial(folder, COMMANDS["forget"], command)
    with trial.reader():
        assert trial.starve(limit=10)
    assert trial.reads.keys() <= {"1", "2"}, trial.reads


def test_two_commands_may_write_one_target(folder: Path, command: CommandLine, other_command: CommandLine) -> None:
    trial = Trial(folder, COMMANDS["forget"], command)
    with trial.reader():
        trial.race(other_command)
    assert trial.reads.keys() <= {"1", "2"}, trial.reads


def test_two_changes_of_one_model_lose_nothing(
    model_dir: Path, tmp_path: Path, command: CommandLine, other_command: CommandLine
) -> None:
    model = tmp_path / "model"
    shutil.copytree(model_dir, model)
    users = ["1", "2", "3", "4"]
    (tmp_path / "new.csv").write_text("userId,movieId,rating\nx,10,5\n")

    def change(line: CommandLine, user: str) -> None:
        done = line("forget", model, "--user", user)
        assert done.returncode == 0, done.stderr
        done = line("update", model, tmp_path / "new.csv", "--steps", 0, "--out", model)
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor(2) as threads:
        for user in range(0, 4, 2):
            pair = zip((command, other_command), users[user : user + 2], strict=True)
            for work in [threads.submit(change, *each) for each in pair]:
                work.result()
    left = set(read_artifact(model).users["userId"].to_pylist())
    before = set(read_artifact(model_dir).users["userId"].to_pylist())
    assert left == before - set(users) | {"x"}

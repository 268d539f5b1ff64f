"""Samples of the bad files, command lines and requests that `benchmarks/corpus.py` tries."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.support.corpus import bad_commands, bad_files, bad_requests, run_command, run_file, run_request
from tests.support.worlds import write_files


def test_bad_files_and_commands_end_in_a_line_or_a_result(
    command: Callable[..., subprocess.CompletedProcess[str]], model_dir: Path, tmp_path: Path
) -> None:
    ratings = write_files(tmp_path) / "ratings.csv"
    folder = tmp_path / "work"
    folder.mkdir()
    faults = [run_file(command, case, model_dir, ratings, folder) for case in bad_files(12)]
    faults += [run_command(command, words, model_dir, ratings, folder) for words in bad_commands(12)]
    assert not any(faults), faults


def test_bad_requests_are_answered(serve: Callable[..., httpx.Client], model_dir: Path) -> None:
    client = serve(model_dir, rate=0)
    faults = [run_request(client, case) for case in bad_requests(80)]
    assert not any(faults), faults
    assert client.get("/health/ready").status_code == 200

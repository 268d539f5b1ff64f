"""Commands, code and figures of README.md and docs/."""

import re
import shlex
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import reelgraph
from reelgraph.cli.main import commands as program
from reelgraph.config import DataConfig, TrainConfig
from reelgraph.service.database.connection import address
from reelgraph.service.database.store import Store
from tests.support.commands import CommandLine
from tests.support.worlds import benchmark

tables = benchmark("tables")
ROOT = Path(__file__).resolve().parents[1]


def block(document: str, marker: str, language: str) -> str:
    """A block of code of a document, by the comment before it."""
    text = (ROOT / document).read_text(encoding="utf-8")
    match = re.search(rf"<!-- {marker}:.*?-->\n```{language}\n(.*?)```", text, re.DOTALL)
    assert match, f"{document} has no block marked {marker}"
    return match[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the README names, cut from the bundled sample."""
    path = tmp_path_factory.mktemp("readme")
    sample = Path(reelgraph.__file__).parent / "data" / "sample"
    ratings = pq.read_table(sample / "ratings.parquet")
    ratings = ratings.filter(pc.less_equal(ratings["userId"], 60))
    held_out = pa.array([row % 10 == 0 for row in range(ratings.num_rows)])
    pacsv.write_csv(ratings.filter(pc.invert(held_out)), path / "ratings.csv")
    pacsv.write_csv(ratings.filter(held_out), path / "test.csv")
    pacsv.write_csv(ratings.filter(held_out).select(["userId", "movieId"]), path / "pairs.csv")
    pacsv.write_csv(pq.read_table(sample / "movies.parquet"), path / "movies.csv")
    pacsv.write_csv(ratings.filter(held_out).slice(0, 20), path / "new-ratings.csv")
    store = Store.open(address(str(path / "model.ratings.sqlite")))
    store.put("Zoë", {"260": 5.0, "1210": 4.0})
    store.close()
    (path / "watched.csv").write_text("movieId\n1210\n", encoding="utf-8")
    (path / "my-ratings.csv").write_text("movieId,rating\n260,5\n1198,4.5\n", encoding="utf-8")
    return path


def serves(words: list[str], folder: Path) -> None:
    """Check that `serve` answers on a free port and stops cleanly."""
    command = [sys.executable, "-m", *words, "--port", "0"]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().rpartition(" ")[2].strip()
        assert address, (folder / "serve.log").read_text()
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert b"<html" in answer.read()
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_every_command_of_the_documentation_runs(folder: Path, command: CommandLine) -> None:
    commands = [shlex.split(line) for line in block("docs/commands.md", "commands", "sh").splitlines() if line.strip()]
    assert {words[1] for words in commands} == set(program.commands) - {"demo"}
    for words in commands:
        assert words[0] == "reelgraph"
        if words[1] == "serve":
            serves(words, folder)
            continue
        done = command(*words[1:], cwd=folder)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr}"
    assert {
        "model",
        "classic",
        "prepared",
        "lists.parquet",
        "predictions.csv",
        "bench",
        "why.svg",
        "report.html",
        "updated",
        "rated.parquet",
    } <= {file.name for file in folder.iterdir()}


def test_the_first_commands_of_the_readme_run_in_an_empty_folder(tmp_path: Path, command: CommandLine) -> None:
    """They need no other files. The training is shortened."""
    for line in block("README.md", "start", "sh").splitlines():
        words = shlex.split(line)
        if words[:2] == ["reelgraph", "serve"]:
            serves(words, tmp_path)
            continue
        if words[:2] == ["reelgraph", "train"]:
            words += ["--tune", "none", "--max-steps", "20", "--rank-max-steps", "20"]
        if words[0] == "printf":
            done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
        else:
            done = command(*words[1:], cwd=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_the_python_of_the_readme_runs(folder: Path) -> None:
    code = block("README.md", "python", "python")
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_documented_settings_exist() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    found = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert found
    document = tomllib.loads(found[1])
    assert DataConfig(**document["data"]).split == "time"
    assert TrainConfig(**document["train"]).dim == 64


@pytest.mark.parametrize("document", tables.TABLES)
def test_figures_equal_the_committed_results(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert tables.rendered(document) == text, "run: python benchmarks/tables.py"

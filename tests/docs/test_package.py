"""The wheel: what it says, what it holds, and that it works outside the repository."""

import os
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.support.commands import CommandLine

TRAINING = ("torch", "torch_geometric", "pandas", "duckdb", "pyspark", "matplotlib")


def run(*words: object, cwd: Path, **environment: str) -> str:
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder with the wheel's packages alone."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheel.parent / "site")
    return wheel.parent / "site"


@pytest.fixture(scope="module")
def metadata(installed: Path) -> Message:
    (path,) = installed.glob("*.dist-info/METADATA")
    return Parser().parsestr(path.read_text(encoding="utf-8"))


def test_an_index_accepts_it(wheel: Path) -> None:
    assert "PASSED" in run("-m", "twine", "check", "--strict", wheel, cwd=wheel.parent)


def test_it_holds_page_sample_types_and_licences(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    ends = ("service/static/index.html", "data/sample/ratings.parquet", "data/sample/LICENSE", "reelgraph/py.typed")
    for end in ends:
        assert any(name.endswith(end) for name in names), end
    assert not any(name.startswith(("tests/", "docs/", "benchmarks/")) or "__pycache__" in name for name in names)
    assert wheel.stat().st_size < 2_000_000


def test_its_extras_and_links(metadata: Message) -> None:
    extras = set(metadata.get_all("Provides-Extra", []))
    assert extras >= {"spark", "postgresql", "bench", "plot", "notebook", "docs", "test"}
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL", []))
    assert set(urls) == {"Documentation", "Source", "Issues", "Changelog"}
    needed = metadata.get_all("Requires-Dist", [])
    assert not [line for line in needed if line.startswith("pandas>") and ("extra" not in line or "<3" in line)]
    shown = str(metadata.get_payload())
    assert shown.startswith("# reelgraph")
    assert "https://github.com/reelgraph/reelgraph/raw/main/docs/pictures/page.png" in shown


def test_it_works_outside_the_repository(installed: Path, tables: Path, tmp_path: Path) -> None:
    alone = {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    assert str(installed) in run("-c", "import reelgraph; print(reelgraph.__file__)", cwd=tmp_path, **alone)
    short = ("--tune", "none", "--max-steps", 2, "--rank-max-steps", 2)
    run("-m", "reelgraph", "train", tables / "ratings.csv", *short, "--out", "model", cwd=tmp_path, **alone)
    listed = run("-m", "reelgraph", "recommend", "model", "--user", "1", "-k", 3, cwd=tmp_path, **alone)
    assert len(listed.splitlines()) >= 5


def test_serving_commands_need_no_training_libraries(
    installed: Path, tables: Path, model_dir: Path, tmp_path: Path, command: CommandLine
) -> None:
    """As in the image of docs/deploy/Dockerfile."""
    for name in TRAINING:
        (tmp_path / "without" / name).mkdir(parents=True)
        (tmp_path / "without" / name / "__init__.py").write_text(f"raise ImportError('{name} is not installed')\n")
    alone = {"PYTHONPATH": f"{installed}{os.pathsep}{tmp_path / 'without'}"}
    (tmp_path / "pairs.csv").write_text("userId,movieId\n1,10\n")
    (tmp_path / "mine.csv").write_text("movieId,rating\n10,5\n")
    for words in (
        ["recommend", model_dir, "--user", "1"],
        ["recommend", model_dir, "--ratings", "mine.csv"],
        ["similar", model_dir, "--movie", "10"],
        ["explain", model_dir, "--user", "1", "--movie", "10"],
        ["search", model_dir, "movie"],
        ["predict", model_dir, "pairs.csv", "--out", "stars.csv"],
    ):
        run("-m", "reelgraph", *words, cwd=tmp_path, **alone)

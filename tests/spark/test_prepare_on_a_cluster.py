"""Preparation on a cluster and with Spark Connect gives the rows of DuckDB, even if a worker is killed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reelgraph.config import DataConfig
from reelgraph.data.prepare.prepare import prepare
from reelgraph.data.sources import find
from reelgraph.engines.engine import Engine, Run, check_seen, open_engine
from reelgraph.engines.spark_jobs import JobProgress
from reelgraph.errors import EngineError, SetupError
from tests.support.clusters import Cluster, Program, running_connect_server, settings
from tests.support.parity import compare


@pytest.fixture(scope="module")
def expected(movielens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MovieLens prepared with DuckDB."""
    out = tmp_path_factory.mktemp("duckdb") / "out"
    return prepare(find(movielens / "ml-latest-small"), DataConfig(), out, lambda line: None)


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """The events of the only application in a directory."""
    (log,) = folder.iterdir()
    for line in log.read_text().splitlines():
        yield json.loads(line)


def test_a_killed_worker_does_not_change_the_result(
    cluster: Cluster, movielens: Path, expected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "events"
    log.mkdir()
    noted = {"enabled": "true", "dir": f"file://{log}", "compress": "false", "rolling_enabled": "false"}
    # Start when both workers are available.
    both = {"cores_max": "2", "scheduler_minRegisteredResourcesRatio": "1.0"}
    both["scheduler_maxRegisteredResourcesWaitingTime"] = "300s"
    more = both | {f"eventLog_{name}": value for name, value in noted.items()}
    for name, value in settings(tmp_path / "conf", **more).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("reelgraph.engines.spark_jobs.POLL_SECONDS", 0.02)
    killed_in: list[int] = []

    def kill_one(found: JobProgress) -> None:
        # Some stages are behind, most are to come, and a task runs now.
        if found.stage >= 8 and found.running and not killed_in:
            killed_in.append(found.stage)
            cluster.kill_worker()

    config = DataConfig(engine=cluster.url, stage=str(tmp_path))
    prepare(find(movielens / "ml-latest-small"), config, tmp_path / "out", lambda line: None, kill_one)
    compare(expected, tmp_path / "out")

    happened = list(events(log))
    (lost,) = [event for event in happened if event["Event"] == "SparkListenerExecutorRemoved"]
    tasks = [event for event in happened if event["Event"] == "SparkListenerTaskEnd"]
    done = [task for task in tasks if task["Task End Reason"]["Reason"] == "Success"]
    before = [task for task in done if task["Task Info"]["Finish Time"] < lost["Timestamp"]]
    after = [task for task in done if task["Task Info"]["Launch Time"] > lost["Timestamp"]]
    assert {lost["Executor ID"]} < {task["Task Info"]["Executor ID"] for task in before}, "both workers ran tasks"
    assert lost["Executor ID"] not in {task["Task Info"]["Executor ID"] for task in after}
    assert len({task["Stage ID"] for task in before}) > 4
    assert len({task["Stage ID"] for task in after}) > 4


def test_the_command_line_prepares_the_same_rows_on_a_cluster(
    cluster: Cluster, movielens: Path, expected: Path, tmp_path: Path, command: Any
) -> None:
    source = movielens / "ml-latest-small"
    done = command("prepare", source, "--engine", cluster.url, "--stage", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "WARN" not in done.stderr
    report = ("Spark, stage", "ratings.csv:", "movies.csv:", "links.csv:", "rating scale:")
    assert all(line.startswith(report) for line in done.stderr.splitlines()), done.stderr
    compare(expected, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "no intermediate files are left"


def test_a_stage_that_workers_do_not_share_is_refused(
    cluster: Cluster, movielens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # /proc/self/cwd differs between a worker and this process.
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "own"))  # for Spark's log, which stays
    config = DataConfig(engine=cluster.url, stage="/proc/self/cwd/own")
    with pytest.raises(EngineError, match=r"found FileNotFoundException: File file:/proc/self/cwd/own"):
        prepare(find(movielens / "ml-latest-small"), config, tmp_path / "out", lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_lost_rows_are_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(Engine):
        def read(self, path: Path) -> Any:
            return self

        def repartition(self, count: int) -> Any:
            return self

        def write(self, rows: Any, path: Path) -> None:
            """A worker that writes to its own disk."""

    with pytest.raises(SetupError, match=f"--stage {tmp_path.parent}: expected 16 rows from the workers, found 0"):
        check_seen(Lost("spark://a:1", None, None, remote=True), tmp_path)


def test_a_run_that_loses_rows_is_refused(movielens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = Run.keep

    def lossy(run: Run, rows: Any, name: str) -> None:
        keep(run, rows.limit(1000) if name == "parsed" else rows, name)

    monkeypatch.setattr(Run, "keep", lossy)
    with pytest.raises(EngineError, match=r"expected 100,004 rows among ratings and rejects, found 1,000; .*--stage"):
        prepare(find(movielens / "ml-latest-small"), DataConfig(), tmp_path / "out", lambda line: None)
    assert list(tmp_path.iterdir()) == []


def test_spark_connect_gives_the_same_rows(
    connect_server: str, movielens: Path, expected: Path, tmp_path: Path
) -> None:
    seen: list[JobProgress] = []
    config = DataConfig(engine=connect_server, stage=str(tmp_path))
    prepare(find(movielens / "ml-latest-small"), config, tmp_path / "out", lambda line: None, seen.append)
    compare(expected, tmp_path / "out")
    assert seen
    assert all(0 <= found.done <= found.total for found in seen)


@pytest.mark.spark
def test_a_server_that_stops_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("reelgraph.engines.spark_session.RETRIES", 1)

    def lose(address: str, server: Program) -> None:
        with open_engine(address) as engine:
            assert engine.spark.range(4).count() == 4
            server.kill()
            engine.spark.range(4).count()

    with running_connect_server(tmp_path) as running, pytest.raises(EngineError) as raised:
        lose(*running)
    assert re.match(r"--engine sc://\S+: .*the server went away \(.*refused\)", str(raised.value))
    assert capfd.readouterr() == ("", "")

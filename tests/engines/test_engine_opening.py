"""Opening engines: quiet output, one-line errors, nothing left behind."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession

from reelgraph import machine
from reelgraph.engines import spark_session
from reelgraph.engines.engine import check_name, open_engine
from reelgraph.engines.spark_jobs import JobProgress
from reelgraph.engines.spark_session import driver_memory, user_settings
from reelgraph.errors import ConfigError, EngineError, OutputError, SetupError
from tests.support.clusters import settings

# Runs a command and sends Ctrl-C while its Java starts or while a job runs.
INTERRUPTED = """
import os, signal, sys
from pyspark import java_gateway
from reelgraph.cli.main import main
from reelgraph.engines import spark_jobs

launch, started = java_gateway.launch_gateway, []

def interrupt(*_):
    if not interrupted:
        interrupted.append(print("interrupts", flush=True))
        os.kill(os.getpid(), signal.SIGINT)

def launched(conf, how):
    if sys.argv[1] == "start":
        interrupt()
    started.append(launch(conf, how))
    return started[0]

interrupted = []
java_gateway.launch_gateway = launched
if sys.argv[1] == "job":
    spark_jobs._report = interrupt
try:
    main(sys.argv[2:])
finally:
    print("its Java", "runs" if started[0].proc.poll() is None else "has ended")
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory for all temporary files, including Spark's."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def open_session() -> Iterator[SparkSession]:
    with open_engine("local[2]") as engine:
        yield engine.spark


@pytest.mark.spark
def test_spark_is_quiet_reports_progress_and_leaves_no_files(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("reelgraph.engines.spark_jobs.POLL_SECONDS", 0.02)
    monkeypatch.delenv("SPARK_LOCAL_IP")
    before, seen = signal.getsignal(signal.SIGINT), list[JobProgress]()
    with open_engine("local[2]", seen.append) as engine:
        spark = engine.spark
        (process, context) = SparkContext._gateway.proc, spark.sparkContext  # type: ignore[union-attr]
        log = next(temporary.glob("reelgraph-spark-*.log"))
        assert spark.range(200_000).repartition(8).selectExpr("sum(id)").collect()[0][0] == 19_999_900_000
        context._jvm.System.err.println("a word of Java")
        context._jvm.System.out.println("and another")
        assert context.getConf().get("spark.driver.memory") == "1g"
        assert context.getConf().get("spark.driver.host") == "127.0.0.1"
        assert context.pythonExec == sys.executable
        assert spark.conf.get("spark.sql.session.timeZone") == "UTC"
        assert not engine.remote
        assert {"a word of Java", "and another"} <= set(log.read_text().splitlines())
    assert capfd.readouterr() == ("", "")
    assert process.poll() is not None, "Java must end with the session"
    assert SparkSession.getActiveSession() is None
    assert list(temporary.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is before
    assert "PYSPARK_PYTHON" not in os.environ
    assert max(found.total for found in seen) == 8
    assert all(0 <= found.done <= found.total for found in seen)
    assert len({found.stage for found in seen}) > 1


@pytest.mark.parametrize("moment", ["start", "job"])
@pytest.mark.spark
def test_an_interrupt_stops_spark_at_once(temporary: Path, tables: Path, moment: str) -> None:
    arguments = ["prepare", str(tables), "--engine", "local[1]", "--out", str(temporary / "out")]
    run = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, moment, *arguments],
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    output, errors = run.communicate()
    assert run.returncode == 130
    assert output.splitlines() == ["interrupts", "its Java has ended"]
    assert errors.splitlines()[-1] == "reelgraph: interrupted"
    assert all(line in {"", "reelgraph: interrupted"} or ": comma-separated" in line for line in errors.splitlines())
    assert list(temporary.iterdir()) == []


@pytest.mark.spark
def test_a_failed_job_is_reported_in_one_line_with_the_log(temporary: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError) as raised, open_engine("local[1]") as engine:
        engine.spark.range(2).write.parquet("file:///proc/none/out")
    line = str(raised.value)
    assert re.match(r"--engine local\[1\]: expected Spark to finish its job, found IOException: Mkdirs failed", line)
    assert "--stage" in raised.value.remedy
    assert len(line) < 700
    assert "\tat " not in line
    (log,) = temporary.glob("reelgraph-spark-*.log")
    assert line.endswith(f"; Spark's log: {log}")
    assert "Mkdirs failed" in log.read_text()
    assert capfd.readouterr() == ("", "")


@pytest.mark.spark
def test_a_killed_java_is_reported_in_one_line(temporary: Path) -> None:
    def die() -> None:
        with open_engine("local[1]") as engine:
            SparkContext._gateway.proc.kill()  # type: ignore[union-attr]
            engine.spark.range(2).collect()

    with pytest.raises(EngineError) as raised:
        die()
    assert re.search(r"found that its Java ended .*SPARK_DRIVER_MEMORY.*Spark's log", str(raised.value))
    assert SparkContext._gateway is None


@pytest.mark.spark
def test_settings_that_java_refuses_are_reported_in_one_line(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for memory, said in (("1x", "Invalid maximum heap size"), ("200m", "System memory .* must be at least")):
        for name, value in settings(tmp_path / "conf", driver_memory=memory).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(EngineError, match=rf"--engine local\[1\]: .*{said}"), open_engine("local[1]"):
            pass
    assert capfd.readouterr() == ("", "")


def test_bugs_of_this_program_pass_unchanged(temporary: Path, open_session: SparkSession) -> None:
    with pytest.raises(Exception, match="UNRESOLVED_COLUMN") as raised, open_engine("local[2]") as engine:
        engine.spark.range(2).select("nothing").collect()
    assert type(raised.value).__name__ == "AnalysisException"
    with pytest.raises(ZeroDivisionError), open_engine("local[2]"):
        1 / 0  # noqa: B018


def test_an_open_session_is_used_and_left_open(open_session: SparkSession) -> None:
    open_session.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    for name in ("local[2]", "spark"):
        with open_engine(name) as engine:
            assert engine.spark.sparkContext is open_session.sparkContext
            assert engine.spark.conf.get("spark.sql.session.timeZone") == "UTC"
    assert open_session.range(3).count() == 3
    assert open_session.conf.get("spark.sql.session.timeZone") == "Asia/Tokyo"
    with (
        pytest.raises(ConfigError, match=r"found one on local\[2\]"),
        open_engine("local[1]"),
    ):
        pass


def test_duckdb_without_memory_and_disk_is_one_line() -> None:
    with pytest.raises(OutputError, match=r"preparation: .*memory"), open_engine("duckdb") as engine:  # noqa: PT012
        engine.spark.conn.execute("SET memory_limit = '20MB'; SET max_temp_directory_size = '0B'")
        engine.spark.sql("SELECT range FROM range(5_000_000) ORDER BY hash(range)").collect()


@pytest.mark.parametrize(
    ("name", "module"), [("local[1]", "pyspark.sql"), ("sc://{host}", "pyspark.sql.connect.session")]
)
def test_spark_without_a_part_of_pyspark(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        engine = name.format(host=f"127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(SetupError, match=r"expected .*pyspark.*pip install"), open_engine(engine):
            pass


def test_unknown_engines_are_refused() -> None:
    for name in ("flink", "local", "local[x]", "spark:/x"):
        with pytest.raises(ConfigError, match="--engine: expected"):
            check_name(name)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(("kind", "who"), [("spark", "a Spark master"), ("sc", "a Spark Connect server")])
def test_a_master_that_does_not_answer_is_reported_at_once(kind: str, who: str) -> None:
    name = f"{kind}://127.0.0.1:{closed_port()}"
    with pytest.raises(SetupError, match=f"{name}: expected {who} to answer, found .*refused"), open_engine(name):
        pass


def test_one_of_several_masters_suffices() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        spark_session.check_answers(f"spark://127.0.0.1:{closed_port()},127.0.0.1:{listener.getsockname()[1]}")
        spark_session.check_answers(f"sc://127.0.0.1:{listener.getsockname()[1]}/;user_id=x")


def test_user_settings_are_parsed_like_spark_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    assert user_settings() == {}
    text = "# spark.a 1\nspark.driver.memory   3g \n\nspark.sql.shuffle.partitions=7\n spark.x: a b\nother 1\n"
    (tmp_path / "spark-defaults.conf").write_text(text)
    assert user_settings() == {"spark.driver.memory": "3g", "spark.sql.shuffle.partitions": "7", "spark.x": "a b"}
    assert driver_memory() == "3g"


def test_the_driver_gets_half_of_the_memory_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    monkeypatch.setattr(machine, "whole_memory", lambda: 6 << 30)
    assert driver_memory() == "3072m"
    monkeypatch.setattr(machine, "whole_memory", lambda: 1 << 30)
    assert driver_memory() == "1024m"
    monkeypatch.setattr(machine, "whole_memory", lambda: None)
    assert driver_memory() == "1024m"
    monkeypatch.setenv("SPARK_DRIVER_MEMORY", "5g")
    assert driver_memory() == "5g"


def test_paths_with_glob_characters_are_read_literally(open_session: SparkSession, tmp_path: Path) -> None:
    place = tmp_path / "a [b]{c,d}*? é" / "rows"
    place.parent.mkdir()
    for name in ("duckdb", "local[2]"):
        with open_engine(name) as engine:
            rows = engine.spark.createDataFrame([(1,), (2,)], ["x"])
            engine.write(rows, place)
            assert sorted(row["x"] for row in engine.read(place).collect()) == [1, 2]
        shutil.rmtree(place) if place.is_dir() else place.unlink()

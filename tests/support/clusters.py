"""A real Spark cluster of the standalone kind on this machine: a master and workers, each a process of its own."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import reelgraph

HOST = "127.0.0.1"
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # for Java that runs for seconds
PATIENCE = 90.0  # seconds until what has to come is given up
# The program, in the group of a shell that kills the group when the program ends, or when the other end of its standard
# input is closed: then the test run is no more, however it ended.
GUARD = '("$@"; kill -9 0) & read -r _; kill -9 0'


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until a condition holds; returns what it gave.

    Raises:
        TimeoutError: if it does not within `PATIENCE`.
    """
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)
    return found


class Program:
    """A running program with its children; what it writes goes to a file."""

    def __init__(self, command: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                ["sh", "-c", GUARD, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env=dict(environment),
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """End it and its children at once, as a power cut would."""
        if self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """What it wrote that matches a pattern, as soon as it is there."""

        def look() -> re.Match[str] | None:
            text = self.log.read_text(errors="replace")
            found = re.search(pattern, text)
            assert found or self.running, f"{self.log.name} ended early:\n{text[-3000:]}"
            return found

        found: re.Match[str] = until(look, f"{self.log}: {pattern}")
        return found


def spark_home() -> Path:
    """The folder of the pyspark package, which holds all of Spark."""
    spec = importlib.util.find_spec("pyspark")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def settings(folder: Path, **more: str) -> dict[str, str]:
    """Variables under which Spark runs on loopback only, with small and quick Javas, whatever this machine's settings.

    Args:
        folder: for spark-defaults.conf.
        **more: further settings, `sql_shuffle_partitions` for spark.sql.shuffle.partitions.
    """
    folder.mkdir(exist_ok=True)
    lines = [f"spark.{role}.extraJavaOptions {QUICK}" for role in ("driver", "executor")]
    lines += ["spark.driver.memory 1g", *(f"spark.{name.replace('_', '.')} {value}" for name, value in more.items())]
    (folder / "spark-defaults.conf").write_text("\n".join([*lines, ""]))
    return {"SPARK_CONF_DIR": str(folder), "SPARK_LOCAL_IP": HOST}


def environment_of_programs(folder: Path) -> dict[str, str]:
    """What Spark's own programs get: this Python and source, and folders of their own."""
    source = str(Path(reelgraph.__file__).parents[1])
    return os.environ | {
        "SPARK_HOME": str(spark_home()),
        "SPARK_LOCAL_DIRS": str(folder / "local"),
        "SPARK_DAEMON_JAVA_OPTS": f"-Djava.io.tmpdir={folder} {QUICK}",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")])),
    }


class Cluster:
    """A master and its workers, one core and 2 GB each.

    Attributes:
        url: the master's address, `spark://127.0.0.1:port`.
        workers: the workers that were started and not killed, the oldest first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[Program] = []
        self._environment = environment_of_programs(folder) | {"SPARK_DAEMON_MEMORY": "256m"}
        self._started = 0
        self._master = self._start("master", "master.Master", "--host", HOST, "--port", "0", "--webui-port", "0")
        self.url = self._master.wait_for(r"Starting Spark master at (spark://\S+)")[1]
        self._page = self._master.wait_for(r"MasterWebUI\S* .*started at (http://\S+)")[1]
        self._master.wait_for("New state: ALIVE")

    def _start(self, name: str, which: str, *options: str) -> Program:
        launcher = spark_home() / "bin" / "spark-class"
        command = [str(launcher), f"org.apache.spark.deploy.{which}", *options]
        return Program(command, self.folder / f"{name}.log", self._environment)

    def state(self) -> dict[str, Any]:
        """What the master knows: `workers`, `activeapps`, ..."""
        with urllib.request.urlopen(f"{self._page}/json/", timeout=PATIENCE) as answer:
            state: dict[str, Any] = json.load(answer)
        return state

    def start_workers(self, count: int = 1) -> None:
        """Some workers more; the master knows them when this returns."""
        options = ["-h", HOST, "-c", "1", "-m", "2g", "--webui-port", "0", "-d", str(self.folder / "work")]
        for _ in range(count):
            self._started += 1
            self.workers.append(self._start(f"worker{self._started}", "worker.Worker", *options, self.url))
        for worker in self.workers:
            worker.wait_for("Successfully registered with master")

    def kill_worker(self, place: int = 0) -> None:
        """End a worker and its executors at once; the master knows it when this returns."""
        self.workers.pop(place).kill()
        until(lambda: self.state()["aliveworkers"] == len(self.workers), "the master does not miss the worker")

    def mend(self, count: int = 2) -> None:
        """Have as many workers, all of them running and free, whatever a test did to them."""
        for place in reversed(range(len(self.workers))):
            if not self.workers[place].running:
                self.kill_worker(place)
        self.start_workers(count - len(self.workers))
        while len(self.workers) > count:
            self.kill_worker(-1)
        until(lambda: not self.state()["activeapps"], "an application is still on the cluster")

    def stop(self) -> None:
        """End every process."""
        for program in (*self.workers, self._master):
            program.kill()


@contextmanager
def running_cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """A cluster, stopped when it is no longer needed."""
    cluster = Cluster(folder)
    try:
        cluster.mend(workers)
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def running_connect_server(folder: Path) -> Iterator[tuple[str, Program]]:
    """A Spark Connect server that computes by itself, and its address `sc://127.0.0.1:port`."""
    name = "org.apache.spark.sql.connect.service.SparkConnectServer"
    options = {"master": "local[2]", "ui.enabled": "false"}
    options |= {"connect.grpc.binding.address": HOST, "connect.grpc.binding.port": "0"}
    given = [text for key, value in options.items() for text in ("--conf", f"spark.{key}={value}")]
    command = [str(spark_home() / "bin" / "spark-submit"), "--class", name, *given, "spark-internal"]
    server = Program(command, folder / "connect.log", environment_of_programs(folder) | {"SPARK_DAEMON_MEMORY": "1g"})
    try:
        address = server.wait_for(r"Connect server started at: (\S+:\d+)")[1]
        yield f"sc://{address}", server
    finally:
        server.kill()

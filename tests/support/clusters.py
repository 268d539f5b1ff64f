"""A Spark standalone cluster on this machine: a master and workers, each in a process of its own."""

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
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # for a Java that runs for a few seconds
PATIENCE = 90.0  # seconds to wait for something that must happen
# The program runs in the process group of a shell. The shell kills the group when the program ends, or when its
# standard input is closed because the test run has ended, however it ended.
GUARD = '("$@"; kill -9 0) & read -r _; kill -9 0'


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until a condition holds, and return its value.

    Raises:
        TimeoutError: if it does not hold within `PATIENCE`.
    """
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)
    return found


class Program:
    """A running program and its children; its output goes to a file."""

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
        """Kill the program and its children at once, as a power cut would."""
        if self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the output matches a pattern, and return the match."""

        def look() -> re.Match[str] | None:
            text = self.log.read_text(errors="replace")
            found = re.search(pattern, text)
            assert found or self.running, f"{self.log.name} ended early:\n{text[-3000:]}"
            return found

        found: re.Match[str] = until(look, f"{self.log}: {pattern}")
        return found


def spark_home() -> Path:
    """The directory of the pyspark package, which contains all of Spark."""
    spec = importlib.util.find_spec("pyspark")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def settings(folder: Path, **more: str) -> dict[str, str]:
    """Environment variables with which Spark listens on loopback only and uses small Javas that start quickly.

    Args:
        folder: where spark-defaults.conf is written.
        **more: further settings, such as `sql_shuffle_partitions` for spark.sql.shuffle.partitions.
    """
    folder.mkdir(exist_ok=True)
    lines = [f"spark.{role}.extraJavaOptions {QUICK}" for role in ("driver", "executor")]
    lines += ["spark.driver.memory 1g", *(f"spark.{name.replace('_', '.')} {value}" for name, value in more.items())]
    (folder / "spark-defaults.conf").write_text("\n".join([*lines, ""]))
    return {"SPARK_CONF_DIR": str(folder), "SPARK_LOCAL_IP": HOST}


def environment_of_programs(folder: Path) -> dict[str, str]:
    """The environment of Spark's own programs: this Python, this source tree, and their own directories."""
    source = str(Path(reelgraph.__file__).parents[1])
    return os.environ | {
        "SPARK_HOME": str(spark_home()),
        "SPARK_LOCAL_DIRS": str(folder / "local"),
        "SPARK_DAEMON_JAVA_OPTS": f"-Djava.io.tmpdir={folder} {QUICK}",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")])),
    }


class Cluster:
    """A master and its workers, with one core and 2 GB each.

    Attributes:
        url: the master's address, `spark://127.0.0.1:port`.
        workers: the workers that were started and not killed, oldest first.
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
        """The state that the master reports: `workers`, `activeapps`, ..."""
        with urllib.request.urlopen(f"{self._page}/json/", timeout=PATIENCE) as answer:
            state: dict[str, Any] = json.load(answer)
        return state

    def start_workers(self, count: int = 1) -> None:
        """Start more workers, and wait until they have registered."""
        options = ["-h", HOST, "-c", "1", "-m", "2g", "--webui-port", "0", "-d", str(self.folder / "work")]
        for _ in range(count):
            self._started += 1
            self.workers.append(self._start(f"worker{self._started}", "worker.Worker", *options, self.url))
        for worker in self.workers:
            worker.wait_for("Successfully registered with master")

    def kill_worker(self, place: int = 0) -> None:
        """Kill a worker and its executors, and wait until the master has noticed."""
        self.workers.pop(place).kill()
        until(
            lambda: self.state()["aliveworkers"] == len(self.workers),
            "the master did not notice the loss of a worker",
        )

    def mend(self, count: int = 2) -> None:
        """Start and kill workers until `count` of them run, and wait until they are free."""
        for place in reversed(range(len(self.workers))):
            if not self.workers[place].running:
                self.kill_worker(place)
        self.start_workers(count - len(self.workers))
        while len(self.workers) > count:
            self.kill_worker(-1)
        until(lambda: not self.state()["activeapps"], "an application is still on the cluster")

    def stop(self) -> None:
        """Kill every process."""
        for program in (*self.workers, self._master):
            program.kill()


@contextmanager
def running_cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """A cluster that runs while the block does."""
    cluster = Cluster(folder)
    try:
        cluster.mend(workers)
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def running_connect_server(folder: Path) -> Iterator[tuple[str, Program]]:
    """A Spark Connect server with a local master, and its address `sc://127.0.0.1:port`."""
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

"""Opens Spark sessions on this machine, on a cluster or on a Spark Connect server, and finds their Java."""

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from reelgraph import machine
from reelgraph.engines.spark_jobs import complaints, failure, failures
from reelgraph.errors import ConfigError, ReelgraphError, SetupError

SPARK, CONNECT = "spark://", "sc://"
JAVA = 17  # lowest version
INSTALL = "python -m pip install 'reelgraph[spark]'"
CONNECT_PORT = 15002
PATIENCE = 5.0  # seconds for a master or server to answer
RETRIES = 6  # of a call to a Spark Connect server, about a minute in all; pyspark's default takes ten

# Results depend on these, so they override the settings of the machine.
REQUIRED = {"spark.sql.session.timeZone": "UTC", "spark.sql.ansi.enabled": "true"}
Session = Any  # pyspark.sql.SparkSession, or Spark Connect's


@dataclass(frozen=True)
class Java:
    """A Java for Spark: its launcher, and the line with its version."""

    launcher: Path
    version: str


class Opened(NamedTuple):
    """A session, its `functions`, and whether tasks may run on other machines."""

    session: Session
    functions: Any
    remote: bool


def master_of(name: str) -> str:
    """The master or server of an engine; "spark" is the master of the user's settings, or else this machine."""
    return user_settings().get("spark.master", "local[*]") if name == "spark" else name


def user_settings() -> dict[str, str]:
    """The settings in spark-defaults.conf, which lies in `SPARK_CONF_DIR` or `SPARK_HOME`/conf."""
    home = os.environ.get("SPARK_HOME") or _package()
    file = Path(os.environ.get("SPARK_CONF_DIR") or Path(home) / "conf") / "spark-defaults.conf"
    if not file.is_file():
        return {}
    lines = (re.match(r"\s*(spark\.[^\s=:]+)[\s=:]+(.*\S)", line) for line in file.read_text("utf-8").splitlines())
    return {line[1]: line[2] for line in lines if line}


def _package() -> str:
    spec = find_spec("pyspark")
    return str(Path(spec.origin).parent) if spec and spec.origin else ""


def driver_memory() -> str:
    """Memory of the driver's Java in Spark's notation, such as "4g"."""
    given = user_settings().get("spark.driver.memory") or os.environ.get("SPARK_DRIVER_MEMORY")
    if given:
        return given
    memory = machine.whole_memory()
    return f"{max(1 << 10, (memory or 0) // 2 >> 20)}m"


def session_settings(master: str) -> dict[str, str]:
    """Settings of a new session; the user's own settings take precedence."""
    host = master.partition("://")[2].partition(":")[0]
    wanted = {"spark.app.name": "reelgraph", "spark.ui.enabled": "false", "spark.sql.parquet.compression.codec": "zstd"}
    if master.startswith("local"):
        wanted["spark.sql.shuffle.partitions"] = str(2 * machine.processors())
    if (master.startswith("local") or host in {"127.0.0.1", "localhost"}) and "SPARK_LOCAL_IP" not in os.environ:
        wanted |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    own = user_settings()
    always = {"spark.master": master, "spark.ui.showConsoleProgress": "false"}
    return {key: value for key, value in wanted.items() if key not in own} | always


def python_of_workers() -> str:
    """The Python of the workers: this one, unless the user names another."""
    return os.environ.get("PYSPARK_PYTHON") or user_settings().get("spark.pyspark.python", sys.executable)


def find_java(who: str) -> Java:
    """Find the Java that Spark will use: `JAVA_HOME`, or else the first one on `PATH`.

    Args:
        who: what needs it, for the message, such as "--engine spark".

    Raises:
        SetupError: if there is no working Java of version 17 or newer.
    """
    install = f"install Java {JAVA} (Debian: apt-get install openjdk-{JAVA}-jre-headless)"
    home = os.environ.get("JAVA_HOME")
    launcher = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if launcher is None or not Path(launcher).is_file():
        where = f"JAVA_HOME={home} without a Java" if home else "none"
        remedy = f"unset JAVA_HOME or point it to a Java {JAVA}, or {install}" if home else install
        raise SetupError(f"{who}: expected Java {JAVA} or newer, found {where}", remedy)
    try:
        answer = subprocess.run([launcher, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
        lines = [line.strip() for line in (answer.stderr + answer.stdout).splitlines()]
    except OSError as error:
        lines = [str(error)]
    line = next((line for line in lines if " version " in line), " ".join(lines[:1]))
    version = re.search(r'version "(?:1\.)?(\d+)', line)
    if not version or int(version[1]) < JAVA:
        where = f" of JAVA_HOME={home}" if home else ""
        raise SetupError(
            f"{who}: expected Java {JAVA} or newer, found {launcher}{where} ({line})",
            f"{install} and point JAVA_HOME to it",
        )
    return Java(Path(launcher), line)


@contextmanager
def open_session(name: str) -> Iterator[Opened]:
    """Open a Spark session, and stop it and its Java on exit.

    A session that is already open in this process, such as a notebook's, is used and left open.

    Args:
        name: "spark", "local[N]", "spark://host:port" or "sc://host:port".
    """
    try:
        from pyspark.sql import SparkSession, functions  # noqa: PLC0415 (engines are imported when they are opened)
    except ImportError as error:
        raise SetupError(
            f"--engine {name}: expected pyspark, found {error}", f"{INSTALL}, or leave --engine out"
        ) from None
    if name.startswith(CONNECT):
        with _connect(name) as opened:
            yield opened
        return
    master = master_of(name)
    opened_before = SparkSession.getActiveSession()
    if opened_before is None or name != "spark":
        check_answers(master)
    if opened_before is not None:
        open_master = str(opened_before.sparkContext.master)
        if name not in {"spark", open_master}:
            raise ConfigError(
                f"--engine {name}: expected no Spark session in this process, found one on {open_master}",
                "stop it, or choose --engine spark, which uses it",
            )
        with failures(name, None):
            session = _configure(opened_before.newSession())
            yield Opened(session, functions, not open_master.startswith("local"))
        return
    find_java(f"--engine {name}")
    with (
        _temporary_log() as log,
        _quiet_py4j(),
        _running_java(name, session_settings(master), log),
        failures(name, log),
    ):
        with _same_interrupt_handler():
            session = SparkSession.builder.getOrCreate()
        try:
            yield Opened(_configure(session), functions, not master.startswith("local"))
        finally:
            with suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # If Java has ended, that has been reported.
                session.stop()


def check_answers(master: str) -> None:
    """Refuse a master or Spark Connect server that does not answer, for which Spark would wait a minute."""
    if not master.startswith((SPARK, CONNECT)):
        return
    kind, _, rest = master.partition("://")
    reasons = []
    for address in rest.partition("/")[0].split(","):
        host, _, port = address.rpartition(":") if ":" in address else (address, "", str(CONNECT_PORT))
        try:
            with socket.create_connection((host.strip("[]"), int(port)), PATIENCE):
                return
        except (OSError, ValueError) as error:
            reasons.append(f"{address}: {error}")
    what, program = {
        "spark": ("a Spark master", "spark-class org.apache.spark.deploy.master.Master"),
        "sc": (
            "a Spark Connect server",
            "spark-submit --class org.apache.spark.sql.connect.service.SparkConnectServer spark-internal",
        ),
    }[kind]
    raise SetupError(
        f"--engine {master}: expected {what} to answer, found {'; '.join(reasons)}",
        f"start it ({program}) or correct the address",
    )


def _configure(session: Session) -> Session:
    for key, value in REQUIRED.items():
        session.conf.set(key, value)
    return session


@contextmanager
def _temporary_log() -> Iterator[Path]:
    """A log file for Spark and Java; kept if an error names it or is a bug."""
    handle, name = tempfile.mkstemp(prefix="reelgraph-spark-", suffix=".log")
    os.close(handle)
    log, keep = Path(name), False
    try:
        yield log
    except ReelgraphError as error:
        keep = name in str(error)
        raise
    except Exception as error:
        keep = True
        error.add_note(f"Spark's log: {log}")
        raise
    finally:
        if not keep:
            log.unlink(missing_ok=True)


@contextmanager
def _running_java(name: str, settings: Mapping[str, str], log: Path) -> Iterator[None]:
    """Run the driver's Java, with its output in a log file, while the session is open."""
    from pyspark import SparkConf, SparkContext, java_gateway  # noqa: PLC0415
    from pyspark.errors import PySparkRuntimeError  # noqa: PLC0415

    launch: Any = java_gateway.launch_gateway

    conf = SparkConf(loadDefaults=False)
    for key, value in settings.items():
        conf.set(key, value)
    variables = {"SPARK_DRIVER_MEMORY": driver_memory()}
    if "spark.local.dir" not in user_settings():
        variables["SPARK_LOCAL_DIRS"] = tempfile.gettempdir()
    with log.open("ab") as file, _environment({"PYSPARK_PYTHON": python_of_workers()}), ExitStack() as stack:
        with _same_interrupt_handler(hold=True), _environment(variables):
            try:
                gateway = launch(conf, {"stdout": file, "stderr": subprocess.STDOUT})
            except (OSError, PySparkRuntimeError):
                raise failure(name, (complaints(log) or ["no Java"])[0], log) from None
            stack.callback(_stop_java, gateway)
        # pyspark looks here for a Java that is already running.
        SparkContext._gateway, SparkContext._jvm = gateway, gateway.jvm
        yield


def _stop_java(gateway: Any) -> None:
    """Stop Java, and make pyspark forget it."""
    from pyspark import SparkContext  # noqa: PLC0415
    from pyspark.sql import SparkSession  # noqa: PLC0415

    SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = SparkSession._activeSession = None
    gateway.shutdown()
    gateway.proc.stdin.close()  # Java ends with its input.
    try:
        gateway.proc.wait(4 * PATIENCE)
    except subprocess.TimeoutExpired:
        gateway.proc.kill()
        gateway.proc.wait()


@contextmanager
def _environment(defaults: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for Spark where the user has not set them."""
    added = {name: value for name, value in defaults.items() if not os.environ.get(name)}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _same_interrupt_handler(hold: bool = False) -> Iterator[None]:
    """Restore the Ctrl-C handler: pyspark's own would call Java in the middle of another call.

    Args:
        hold: delay Ctrl-C until the end; a Java interrupted while it starts would never exit.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    delayed: list[int] = []
    if hold:
        signal.signal(signal.SIGINT, lambda number, _: delayed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if delayed:
        signal.raise_signal(signal.SIGINT)


@contextmanager
def _quiet_py4j() -> Iterator[None]:
    """Keep py4j from logging interrupted calls to the terminal where logging is not configured."""
    handler = logging.NullHandler()
    logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)


@contextmanager
def _connect(name: str) -> Iterator[Opened]:
    """Open a session on a Spark Connect server."""
    check_answers(name)
    try:
        from pyspark.sql.connect.client.retries import DefaultPolicy  # noqa: PLC0415
        from pyspark.sql.connect.functions import builtin as functions  # noqa: PLC0415
        from pyspark.sql.connect.session import SparkSession  # noqa: PLC0415
    except ImportError as error:
        raise SetupError(
            f"--engine {name}: expected the parts of pyspark for Spark Connect, found {error}", INSTALL
        ) from None
    # pyspark reads this variable to tell Spark Connect from classic Spark.
    variables = {"SPARK_CONNECT_MODE_ENABLED": "1", "GRPC_VERBOSITY": "NONE"}
    with failures(name, None), _environment(variables), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pyspark")  # Retries; their outcome is reported.
        session = SparkSession.builder.remote(name).create()
        session.client.set_retry_policies([DefaultPolicy(max_retries=RETRIES)])
        try:
            yield Opened(_configure(session), functions, remote=True)
        finally:
            session.stop()

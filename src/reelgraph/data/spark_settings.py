"""Settings of Spark: those of the user, and for what the user left open, ours.

They are Spark's own: `spark-defaults.conf`, `SPARK_DRIVER_MEMORY`, `PYSPARK_PYTHON`, `PYSPARK_SUBMIT_ARGS` and others.
"""

import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from reelgraph import capacity, machine

SPARK, CONNECT = "spark://", "sc://"


def master_of(name: str) -> str:
    """The master or server behind an engine's name: "spark" is what the user's settings name, else this machine."""
    return user_settings().get("spark.master", "local[*]") if name == "spark" else name


def user_settings() -> dict[str, str]:
    """What spark-defaults.conf says, by name; `SPARK_CONF_DIR` or `SPARK_HOME`/conf holds it."""
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
    """The memory that the driver's Java will get, as Spark writes it: "4g"."""
    given = user_settings().get("spark.driver.memory") or os.environ.get("SPARK_DRIVER_MEMORY")
    if given:
        return given
    memory = capacity.whole_memory()
    return f"{max(1 << 10, (memory or 0) // 2 >> 20)}m"


def session_settings(master: str) -> dict[str, str]:
    """Settings of a new session, those of the user left out."""
    host = master.partition("://")[2].partition(":")[0]
    wanted = {
        "spark.app.name": "reelgraph",
        "spark.ui.enabled": "false",
        "spark.sql.parquet.compression.codec": "zstd",
    }
    if master.startswith("local"):
        wanted["spark.sql.shuffle.partitions"] = str(2 * machine.processors())
    if (master.startswith("local") or host in {"127.0.0.1", "localhost"}) and "SPARK_LOCAL_IP" not in os.environ:
        wanted |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    own = user_settings()
    always = {"spark.master": master, "spark.ui.showConsoleProgress": "false"}
    return {key: value for key, value in wanted.items() if key not in own} | always


def python_of_workers() -> str:
    """The Python that workers start; this one, unless the user names another."""
    return os.environ.get("PYSPARK_PYTHON") or user_settings().get("spark.pyspark.python", sys.executable)

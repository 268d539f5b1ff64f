"""What this machine gives: processors, and the Java that Spark will take."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from reelgraph.errors import SetupError

JAVA = 17
# OpenMP's threads wait for one another in a busy loop, which beside any other work on the machine makes a step several
# times as long, and gains nothing on an idle one. And the arrays of a step come and go: in pages of 4 kB a large one is
# faulted in a thousand times as often as in huge ones, which Linux gives PyTorch when it asks.
ENVIRONMENT = {"GOMP_SPINCOUNT": "1000", "THP_MEM_ALLOC_ENABLE": "1"}


def set_environment() -> None:
    """What PyTorch and its threads read from the environment once, when they start; what the user has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@dataclass(frozen=True)
class Java:
    """A Java that Spark runs on: its launcher, and the line with its version."""

    launcher: Path
    version: str


def processors() -> int:
    """Processors that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_java(who: str) -> Java:
    """The Java that Spark will take: that of `JAVA_HOME`, else the first of `PATH`.

    Args:
        who: what needs it, for the message, such as "--engine spark".

    Raises:
        SetupError: if there is none, `JAVA_HOME` points nowhere, it does not run, or its version is below 17.
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
    found = re.search(r'version "(?:1\.)?(\d+)', line)
    if not found or int(found[1]) < JAVA:
        where = f" of JAVA_HOME={home}" if home else ""
        raise SetupError(
            f"{who}: expected Java {JAVA} or newer, found {launcher}{where} ({line})",
            f"{install} and point JAVA_HOME to it",
        )
    return Java(Path(launcher), line)

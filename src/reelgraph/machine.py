"""What this machine gives: processors, memory and how it is handed out, and the Java that Spark will take."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from reelgraph.errors import SetupError

JAVA = 17
_TRIM, _MMAP, _MMAPS, _ARENAS = -1, -3, -4, -8  # names of glibc's mallopt
_USUAL = {_TRIM: 1 << 17, _MMAPS: 1 << 16}


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


def set_environment() -> None:
    """What OpenMP reads from the environment once, when PyTorch is loaded; what the user has set stays.

    Its threads wait for one another in a busy loop, which beside any other work on the machine makes a step several
    times as long, and gains nothing on an idle one.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep what is freed inside for the next arrays, and give it back afterwards.

    A step of training frees all it has made, and the next one makes the same again: memory that went back to the system
    meanwhile comes page by page and zeroed, a fifth of the time of a step. Of glibc alone; elsewhere nothing changes.
    """
    _set_malloc({_MMAPS: 0, _TRIM: (1 << 31) - 1})
    try:
        yield
    finally:
        _set_malloc(_USUAL)
        give_back()


def share_memory() -> None:
    """For a process that lives long: what is freed goes back to the system, and threads share heaps."""
    _set_malloc({_MMAP: 1 << 17, _TRIM: 1 << 17, _ARENAS: 2})


def give_back() -> None:
    """Give freed memory back to the system, where the C library can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _set_malloc(values: dict[int, int]) -> None:
    with suppress(OSError, AttributeError):
        for name, value in values.items():
            ctypes.CDLL(None).mallopt(name, value)


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

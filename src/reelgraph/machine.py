"""What this machine gives: processors, memory and how it is handed out, and the Java that Spark will take."""

import ctypes
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_TRIM, _MMAP, _MMAPS, _ARENAS = -1, -3, -4, -8  # names of glibc's mallopt

_USUAL = {_TRIM: 1 << 17, _MMAPS: 1 << 16}


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


# Where a control group's files stand, by version, and what they are called: limit, use, and what of the use is cache
# that the kernel gives back.
_GROUPS = (
    ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("sys/fs/cgroup/unified", "memory.max", "memory.current", "inactive_file"),
    ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)

PROBE_ROWS, PROBE_DIM, PROBE_GATHERED = 1 << 17, 32, 1 << 15  # a table of 16 MB, beyond most caches

PROBE_SECONDS = 0.3


@dataclass(frozen=True)
class Memory:
    """Memory that a new process could have.

    Attributes:
        free: in bytes.
        total: in bytes.
        where: "on this machine" or "in this container", for messages.
    """

    free: int
    total: int
    where: str


def free_memory(root: Path = Path("/")) -> Memory | None:
    """The free memory of this machine, or of the control group that holds this process if that is less.

    Args:
        root: where `proc` and `sys` are.

    Returns:
        None where the system does not tell; where it tells the total alone, as macOS does, all of it counts as free.
    """
    whole = _of_machine(root)
    inside = [group for group in _of_groups(root) if whole is None or group.free < whole.free]
    return min(inside, key=lambda group: group.free, default=whole)


def whole_memory(root: Path = Path("/")) -> int | None:
    """The bytes of this machine, or of the smallest control group that holds this process; None where nobody tells."""
    whole = _of_machine(root)
    return min((one.total for one in (whole, *_of_groups(root)) if one is not None), default=None)


def _of_machine(root: Path) -> Memory | None:
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return _of_pages()
    found = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    if "MemAvailable" not in found:  # before Linux 3.14
        return _of_pages()
    return Memory(found["MemAvailable"], found["MemTotal"], "on this machine")


def _of_pages() -> Memory | None:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    return Memory(total, total, "on this machine")


def _of_groups(root: Path) -> Iterator[Memory]:
    """The control groups with a limit, from this process's own up to the topmost."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for mount, limit, use, cache in _GROUPS:
            if (controllers == "") != (limit == "memory.max") or (
                controllers and "memory" not in controllers.split(",")
            ):
                continue
            top = root / mount
            own = top / path.strip("/")
            for folder in (own, *(parent for parent in own.parents if parent.is_relative_to(top))):
                most, used = _number(folder / limit), _number(folder / use)
                if most is not None and used is not None:
                    yield Memory(
                        max(0, most - used + _statistic(folder / "memory.stat", cache)), most, "in this container"
                    )


def _number(file: Path) -> int | None:
    """The number in a file; None where there is none, as where the limit is "max"."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _statistic(file: Path, name: str) -> int:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), 0)


def threads() -> int:
    """How many threads torch will use: `OMP_NUM_THREADS`, or one for each processor that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return processors()


def gathers(seconds: float = PROBE_SECONDS) -> float:
    """Rows of 32 float32 that one thread gathers from a table beyond its caches, a second; what sparse products do.

    Args:
        seconds: how long to look; the fastest of the runs counts, since others may be at work besides.
    """
    rng = np.random.default_rng(0)
    table = np.ones((PROBE_ROWS, PROBE_DIM), np.float32)
    rows, found = rng.integers(0, PROBE_ROWS, PROBE_GATHERED), np.empty((PROBE_GATHERED, PROBE_DIM), np.float32)
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        np.take(table, rows, axis=0, out=found, mode="clip")
        best = min(best, time.perf_counter() - started)
    return PROBE_GATHERED / best


def peak_memory() -> int:
    """The most memory that this process has had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux ru_maxrss begins with that of the process which started this one; VmHWM, in kB, is our own.
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    import resource  # noqa: PLC0415 (not on Windows)

    # In kilobytes on Linux, in bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

"""Processors, memory and speed of this machine or container, and settings of its memory allocator."""

import ctypes
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_TRIM, _MMAP, _MMAPS, _ARENAS = -1, -3, -4, -8  # parameters of glibc's mallopt
_DEFAULTS = {_TRIM: 1 << 17, _MMAPS: 1 << 16}
_keepers: list[None] = []  # one for each block of `kept_memory` that is running


def processors() -> int:
    """Processors that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def step_back(priority: Literal["idle", "low", "normal"]) -> None:
    """Let other processes come first, and end first when memory runs out (on Linux).

    With "idle" this process runs while a processor has nothing else to do, with "low" it has a small share of a busy
    one; with "normal", only memory counts.
    """
    with suppress(OSError, AttributeError):
        if priority != "normal":
            os.nice(19)
        if priority == "idle":
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


@contextmanager
def limited_memory(limit: float | None) -> Iterator[None]:
    """Let this process have at most `limit` bytes in the block, where the system can limit it; None is no limit."""
    try:
        import resource  # noqa: PLC0415 (not on Windows)
    except ImportError:
        limit = None
    if limit is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit) if before[1] < 0 else min(int(limit), before[1]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def describe() -> str:
    """Cores, processor architecture and system in one line."""
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"


def set_environment() -> None:
    """Limit the busy waiting of OpenMP's threads, unless the user has set it; PyTorch reads this when it is imported.

    Busy waiting makes a step several times as long when the machine does other work, and gains nothing otherwise.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # GNU's library, of PyTorch on Linux
        os.environ.setdefault("KMP_BLOCKTIME", "1")  # LLVM's and Intel's, in milliseconds


@contextmanager
def kept_memory() -> Iterator[None]:
    """Reuse freed memory inside the block instead of returning it to the system (glibc only).

    A training step frees its arrays and the next one allocates them again; page faults would take a fifth of the time.
    The last block of all threads to end returns the memory.
    """
    _keepers.append(None)
    _set_malloc({_MMAPS: 0, _TRIM: (1 << 31) - 1})
    try:
        yield
    finally:
        _keepers.pop()
        if not _keepers:
            _set_malloc(_DEFAULTS)
            release_memory()


def save_memory() -> None:
    """Return freed memory to the system and let threads share heaps, for a long-lived process (glibc only)."""
    _set_malloc({_MMAP: 1 << 17, _TRIM: 1 << 17, _ARENAS: 2})


def release_memory() -> None:
    """Return freed memory to the system (glibc only)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _set_malloc(values: dict[int, int]) -> None:
    with suppress(OSError, AttributeError):
        for name, value in values.items():
            ctypes.CDLL(None).mallopt(name, value)


# Files of control groups by version: directory, limit, usage, and the part of the usage that is reclaimable cache.
_GROUPS = (
    ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("sys/fs/cgroup/unified", "memory.max", "memory.current", "inactive_file"),
    ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)

PROBE_ROWS, PROBE_DIM, PROBE_GATHERED = 1 << 17, 32, 1 << 15  # a table of 16 MB exceeds most caches
PROBE_SECONDS = 0.3


@dataclass(frozen=True)
class Memory:
    """Free and total memory in bytes, "on this machine", "in this container" or "for this process"."""

    free: int
    total: int
    where: str


def free_memory(root: Path = Path("/")) -> Memory | None:
    """Memory of this machine, or of the control group or the limit of this process if less is free; None if unknown.

    Where only the total is known, as on macOS, all of it counts as free.
    """
    whole = _of_machine(root)
    inside = [part for part in (*_of_groups(root), *_of_process(root)) if whole is None or part.free < whole.free]
    return min(inside, key=lambda group: group.free, default=whole)


def whole_memory(root: Path = Path("/")) -> int | None:
    """Total bytes of this machine, or of the smallest control group or the limit of this process; None if unknown."""
    limits = (_of_machine(root), *_of_groups(root), *_of_process(root))
    return min((memory.total for memory in limits if memory is not None), default=None)


def _of_machine(root: Path) -> Memory | None:
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return _of_pages()
    sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    if "MemAvailable" not in sizes:  # before Linux 3.14
        return _of_pages()
    return Memory(sizes["MemAvailable"], sizes["MemTotal"], "on this machine")


def _of_pages() -> Memory | None:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    return Memory(total, total, "on this machine")


def _of_groups(root: Path) -> Iterator[Memory]:
    """The memory of each control group with a limit, from that of this process up to the top."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for mount, limit, use, cache in _GROUPS:
            unified = controllers == ""
            if unified != (limit == "memory.max") or not (unified or "memory" in controllers.split(",")):
                continue
            top = root / mount
            own = top / path.strip("/")
            for folder in (own, *(parent for parent in own.parents if parent.is_relative_to(top))):
                most, used = _number(folder / limit), _number(folder / use)
                if most is not None and used is not None:
                    free = max(0, most - used + _statistic(folder / "memory.stat", cache))
                    yield Memory(free, most, "in this container")


def _of_process(root: Path) -> Iterator[Memory]:
    """The limit of this process, see `limited_memory`, and what is left of it."""
    try:
        limits = (root / "proc/self/limits").read_text(encoding="ascii")
        status = (root / "proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return
    limit, used = re.search(r"^Max data size\s+(\d+)", limits, re.MULTILINE), re.search(r"VmData:\s*(\d+) kB", status)
    if limit and used:
        yield Memory(max(0, int(limit[1]) - 1024 * int(used[1])), int(limit[1]), "for this process")


def _number(file: Path) -> int | None:
    """The number in a file; None if there is none, such as "max"."""
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
    """Threads that torch will use: `OMP_NUM_THREADS`, or one per processor."""
    setting = os.environ.get("OMP_NUM_THREADS", "")
    if setting.isdigit() and int(setting) > 0:
        return int(setting)
    return processors()


def gathers(seconds: float = PROBE_SECONDS) -> float:
    """Rows of 32 float32 that a thread gathers per second from a table larger than its caches, in the fastest run."""
    import numpy as np  # noqa: PLC0415 (`import reelgraph` takes a fifth of the time without)

    rng = np.random.default_rng(0)
    table = np.ones((PROBE_ROWS, PROBE_DIM), np.float32)
    rows, out = rng.integers(0, PROBE_ROWS, PROBE_GATHERED), np.empty((PROBE_GATHERED, PROBE_DIM), np.float32)
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        np.take(table, rows, axis=0, out=out, mode="clip")
        best = min(best, time.perf_counter() - started)
    return PROBE_GATHERED / best


def peak_memory() -> int:
    """Peak memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux, ru_maxrss includes the peak of the parent process; VmHWM, in kB, does not.
        peak = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"), re.MULTILINE)
        if peak:
            return int(peak[1]) * 1024
    import resource  # noqa: PLC0415 (not on Windows)

    # In kilobytes on Linux, in bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

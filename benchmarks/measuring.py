"""Time and memory of a command, and the description of the machine, for the benchmarks."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from reelgraph import machine
from reelgraph._version import __version__

EVERY = 0.2  # seconds between two memory samples


def describe(command: str) -> dict[str, Any]:
    """Version, date, machine and command, for a result file."""
    return {
        "reelgraph": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "command": command,
    }


def synthetic_of(ratings: int, work: Path) -> Path:
    """The synthetic data of a size, made by `synthetic.py` if missing."""
    folder = work / f"synthetic-{ratings}"
    if not (folder / "manifest.json").is_file():
        maker = Path(__file__).with_name("synthetic.py")
        command = [sys.executable, str(maker), "--ratings", str(ratings), "--out", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def measure_command(*command: object) -> dict[str, float]:
    """Run `reelgraph COMMAND`, and return its seconds and its peak memory in GB.

    Memory is sampled and includes child processes such as Spark's; shared pages count once.
    """
    started, most = time.perf_counter(), 0
    run = subprocess.Popen([sys.executable, "-m", "reelgraph", *map(str, command)], stdout=subprocess.DEVNULL)
    while run.poll() is None:
        most = max(most, memory(run.pid))
        time.sleep(EVERY)
    if run.returncode:
        sys.exit(run.returncode)
    return {"seconds": round(time.perf_counter() - started, 1), "memory_gb": round(most / 1e9, 2)}


def memory(pid: int) -> int:
    """Bytes of a process and its children."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for process in (root := psutil.Process(pid), *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
    return total

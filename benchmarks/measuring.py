"""What the measurements share: a command's time and memory, and which machine that was on."""

import os
import platform
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from reelgraph._version import __version__

EVERY = 0.2  # seconds between two looks at the memory


def facts(command: str) -> dict[str, Any]:
    """What a result file says of where, when and by which command it was made."""
    return {
        "reelgraph": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "command": command,
    }


def synthetic_of(ratings: int, work: Path) -> Path:
    """What `synthetic.py` makes of a size, in a process of its own unless it is there."""
    made = work / f"synthetic-{ratings}"
    if not (made / "manifest.json").is_file():
        maker = Path(__file__).with_name("synthetic.py")
        command = [sys.executable, str(maker), "--ratings", str(ratings), "--out", str(made)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return made


def measured(*command: object) -> dict[str, float]:
    """Run `reelgraph COMMAND`: its seconds, and the most memory that its processes had together, in GB.

    Memory is looked at several times a second, Spark's processes included; shared pages are counted once.
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
    """Bytes of a process and all that it has started."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for process in (root := psutil.Process(pid), *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
    return total

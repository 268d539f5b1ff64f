"""Kills, starves and races every command that writes: python benchmarks/kills.py [--kills 24] [--replaced 500].

Each command runs on small models and is killed (SIGKILL or SIGTERM) at random moments, while a reader opens its target
in a loop. After each kill the target must hold the old or the new result, whole; after every fourth, and at the end,
the same command must succeed and leave no temporary files. Then the command meets full and read-only disks (a small
tmpfs, which only root can mount; for others a limit on the size of files), and two commands write one target at once.
Last, a model is opened again and again while another process replaces it. Writes benchmarks/results/kills.json; exit
code 1 if a reader ever failed.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from measuring import describe

from reelgraph.artifact import read_artifact

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # The tests run a short version.

from tests.support.commands import CommandLine, command_line  # noqa: E402
from tests.support.outputs import COMMANDS, QUICK, Trial, fill  # noqa: E402
from tests.support.worlds import write_files  # noqa: E402

DISK = 64 << 20  # bytes of the small disk
FACTS = ("kills", "too_late", "full_disks", "read_only_disks", "reads", "failed")
AGAIN = 4  # kills between two runs to the end
STARVED = 2  # runs on a full, and on a read-only disk
SAVER = """import sys, reelgraph as rg
models = [rg.open(path) for path in sys.argv[1:3]]
for number in range(int(sys.argv[4])): models[number % 2].save(sys.argv[3])
"""


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a small disk at a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=True)  # noqa: S607
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


@contextmanager
def full(folder: Path, free: int) -> Iterator[None]:
    """A disk with so few bytes free."""
    filler, stats = folder / "filler", os.statvfs(folder)
    filler.write_bytes(bytes(max(stats.f_bavail * stats.f_frsize - free, 0)))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(folder: Path, after: float) -> Iterator[None]:
    """A disk that is read-only from a moment on, or the first one after it when no file is open for writing."""
    done = Event()

    def remount() -> None:
        time.sleep(after)
        while not done.is_set() and subprocess.run(remounted("ro"), check=False, stderr=subprocess.DEVNULL).returncode:
            time.sleep(0.01)

    def remounted(how: str) -> list[str]:
        return ["mount", "-o", f"remount,{how}", str(folder)]

    thread = Thread(target=remount)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        subprocess.run(remounted("rw"), check=True)


def prepare(folder: Path, command: CommandLine) -> None:
    """Train the models that the commands read."""
    tables, models = folder / "tables", (folder / "first", folder / "second")
    tables.mkdir()
    write_files(tables)
    for number, model in enumerate(models, 1):
        done = command("train", tables, *QUICK.format(n=number).split(), "--out", model)
        assert done.returncode == 0, done.stderr


def killed(trial: Trial, kills: int, draw: random.Random, other: CommandLine) -> dict[str, Any]:
    """Kill a command, and run it twice at once."""
    with trial.reader():
        hit = [trial.kill(draw, again=number % AGAIN == 0) for number in range(kills)]
        trial.race(other)
    return {"kills": sum(hit), "too_late": kills - sum(hit)} | trial.summary


def starved(trial: Trial, draw: random.Random, root: bool) -> dict[str, Any]:
    """Run a command on disks that are full or read-only."""
    with trial.reader():
        if root:
            files = [trial.target] if trial.target.is_file() else trial.target.iterdir()
            size = sum(file.stat().st_size for file in files)  # with less free, it must fail
            short = [trial.starve(full(trial.folder, draw.randrange(size))) for _ in range(STARVED)]
            locked = [trial.starve(read_only(trial.folder, draw.random() * trial.seconds)) for _ in range(STARVED)]
        else:
            short, locked = [trial.starve(limit=draw.randrange(1 << 14)) for _ in range(STARVED)], []
    return {"full_disks": sum(short), "read_only_disks": sum(locked)} | trial.summary


def replaced(folder: Path, times: int) -> dict[str, Any]:
    """Open a model in a loop while another process replaces it."""
    target, sources, reads = folder / "replaced", (folder / "first", folder / "second"), Counter[str]()
    known = [read_artifact(source).weights["user.state"].tobytes() for source in sources]
    subprocess.run([sys.executable, "-c", SAVER, *sources, target, "1"], check=True)
    saver = subprocess.Popen([sys.executable, "-c", SAVER, *sources, target, str(times)])
    while saver.poll() is None:
        try:
            reads["whole" if read_artifact(target).weights["user.state"].tobytes() in known else "mixed"] += 1
        except Exception as error:
            reads[repr(error)] += 1
    assert saver.returncode == 0
    return {"replaced": times, "reads": sum(reads.values()), "failed": sum(reads.values()) - reads["whole"]}


def main() -> None:
    """Measure, print and write; exit code 1 if a reader failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=24, help="kills of each command")
    parser.add_argument("--replaced", type=int, default=500, help="replacements of a model")
    given, draw, root = parser.parse_args(), random.Random(0), os.geteuid() == 0  # noqa: S311
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, command_line() as command, command_line() as other:
        source, work, disk = (Path(name) / part for part in ("source", "work", "disk"))
        for folder in (source, work, disk):
            folder.mkdir()
        prepare(source, command)
        models = source / "first", source / "second"
        fill(work, source / "tables", models)
        for title, text in COMMANDS.items():
            results[title] = killed(Trial(work, text, command), given.kills, draw, other)
            sys.stderr.write(f"{title}: {results[title]}\n")
        with small_disk(disk) if root else tempfile.TemporaryDirectory(dir=disk):
            fill(disk, source / "tables", models)
            for title, text in COMMANDS.items():
                more = starved(Trial(disk, text, command), draw, root)
                sys.stderr.write(f"{title}: {more}\n")
                for fact in ("reads", "failed"):
                    more[fact] += results[title][fact]
                results[title] |= more
        replacing = replaced(source, given.replaced)
    total = {fact: sum(result[fact] for result in results.values()) for fact in FACTS}
    result = describe("python benchmarks/kills.py") | {"commands": results, "total": total, "reader": replacing}
    (HERE / "results" / "kills.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    sys.exit(bool(total["failed"] or replacing["failed"]))


if __name__ == "__main__":
    main()

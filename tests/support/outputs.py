"""Commands that are killed, disturbed or starved while they write, and readers of what they write."""

import hashlib
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from reelgraph.artifact import read_artifact
from reelgraph.data.dataset import load_prepared
from reelgraph.service.database.store import Store
from tests.support.commands import CommandLine

# `{n}` is 1 or 2, so that a command has two results. The last word is the target.
QUICK = "--tune none --max-steps 4 --no-ranking --seed {n}"
COMMANDS = {
    "prepare": "prepare tables --split-seed {n} --out prepared",
    "train": f"train tables {QUICK} --out model",
    "update": "update base{n} new.csv --steps 1 --out model",
    "forget": "forget base{n} --user 1 --out model",
    "recommend --all": "recommend base{n} --all --out lists.parquet",
    "recommend": "recommend base{n} --user 1 --out list.json",
    "predict": "predict base{n} pairs{n}.csv --out predictions.csv",
    "explain": "explain base{n} --user 1 --movie 20 --plot plot.svg",
    "report": "report base{n} --out report.html",
    "export": "export --database sqlite:///ratings{n}.sqlite --out ratings.parquet",
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM)


def fill(folder: Path, tables: Path, models: tuple[Path, Path]) -> None:
    """Put what the commands read into their directory."""
    for number, model in enumerate(models, 1):
        shutil.copytree(model, folder / f"base{number}")
        store = Store.open(URL.create("sqlite", database=str(folder / f"ratings{number}.sqlite")), create=True)
        store.put("visitor", {"10": float(number)}, now=1_000_000)
        store.close()
        (folder / f"pairs{number}.csv").write_text(f"userId,movieId\n1,10\n{number},20\nnobody,30\n")
    shutil.copytree(tables, folder / "tables")
    (folder / "new.csv").write_text("userId,movieId,rating,timestamp\n1,10,5,2000000\nx,10,5,2000000\n")
    (folder / "tmp").mkdir()


def fingerprint(target: Path) -> str:
    """What a target holds, read as its users read it: a model, prepared ratings, or a file."""
    parts: list[Any]
    if target.name == "model":
        parts = [array for _, array in sorted(read_artifact(target).weights.items())]
    elif target.name == "prepared":
        data = load_prepared(target)
        parts = [data.train.user_index, data.train.item_index, data.train.rating]
    else:
        parts = [target.read_bytes()]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


@dataclass
class Trial:
    """A command and its target, which must at every moment hold one of the two results, whole.

    Attributes:
        folder: where it runs, see `fill`; its temporary files are in `tmp`.
        text: the command, one of `COMMANDS`.
        command: the command line.
        reads: numbers of reads that found the first result, the second, or failed with an error.
    """

    folder: Path
    text: str
    command: CommandLine
    reads: Counter[str] = field(default_factory=Counter)
    results: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        for number in (1, 2):
            started = time.monotonic()
            self.succeed(number)
            self.seconds = time.monotonic() - started
            self.results.append(fingerprint(self.target))
        assert len(set(self.results)) == 2, "the two results are the same"

    @property
    def summary(self) -> dict[str, Any]:
        """The number of reads, and the errors of those that failed."""
        errors = {error: count for error, count in self.reads.items() if error not in {"1", "2"}}
        return {"reads": sum(self.reads.values()), "failed": sum(errors.values())} | (
            {"errors": errors} if errors else {}
        )

    @property
    def target(self) -> Path:
        return self.folder / self.text.split()[-1]

    def run(self, number: int, command: CommandLine | None = None, **options: Any) -> Any:
        """Run the command for its first or second result."""
        words = self.text.format(n=number).split()
        return (command or self.command)(*words, cwd=self.folder, temporary=self.folder / "tmp", **options)

    def succeed(self, number: int) -> None:
        """Run the command, which must succeed and leave nothing but its target and the one before."""
        done = self.run(number)
        assert done.returncode == 0, done.stderr
        strays = [path.name for path in (*self.folder.glob(".*reelgraph-*"), *self.folder.glob("tmp/reelgraph-*"))]
        assert not strays, f"{self.text} left {strays}"

    @contextmanager
    def reader(self) -> Iterator[None]:
        """Read the target in a loop meanwhile."""
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                try:
                    found = fingerprint(self.target)
                    self.reads[str(self.results.index(found) + 1)] += 1
                except Exception as error:
                    self.reads[repr(error)] += 1

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def check(self) -> int:
        """The number of the result that the target holds."""
        return self.results.index(fingerprint(self.target)) + 1

    def kill(self, draw: random.Random, again: bool = True) -> bool:
        """Kill the command at a random moment, then run it `again` to the end; returns whether it was killed."""
        number = 3 - self.check()
        done = self.run(number, kill=(0.85 * draw.random() * self.seconds, draw.choice(SIGNALS)))
        assert done.returncode in {0, *(-name for name in SIGNALS)}, done.stderr
        self.check()
        if again:
            self.succeed(number)
            assert self.check() == number
        return bool(done.returncode)

    def starve(self, shortage: AbstractContextManager[Any] | None = None, limit: int | None = None) -> bool:
        """Run the command where it may not be able to write: one line, and the target as before; whether it failed.

        Args:
            shortage: something that lasts as long as the command, such as a full disk.
            limit: the largest number of bytes that a file may have.
        """
        number = 3 - self.check()
        with shortage or nullcontext():
            done = self.run(number, limit=limit)
        assert done.returncode in {0, 2}, done.stderr
        assert self.check() == (number if done.returncode == 0 else 3 - number)
        if done.returncode:
            assert done.stderr.splitlines()[-1].startswith("error: "), done.stderr
            assert "Traceback" not in done.stderr
        self.succeed(number)
        return bool(done.returncode)

    def race(self, other: CommandLine) -> None:
        """Run the command twice at once, for both results."""
        with ThreadPoolExecutor(2) as threads:
            both = [threads.submit(self.run, number, line) for number, line in ((1, self.command), (2, other))]
        for done in both:
            assert done.result().returncode == 0, done.result().stderr
        self.check()
        self.succeed(1)

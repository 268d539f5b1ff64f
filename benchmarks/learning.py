"""A service that learns under load: python benchmarks/learning.py [--data ml-1m] [--minutes 10] [--kills 20].

A model is trained without some users of MovieLens. These then visit its service: their ratings arrive one by one while
others ask for 200 lists a second and the service learns. In a second part the server or its learner is killed (SIGKILL)
at random moments. Checked are that no acknowledged rating is lost, the latency of lists, the memory of the learner, and
that no model that was taken in predicts later ratings worse than the one before it, by p-values adjusted for their
number (Holm). The last fifth of each visitor's ratings never arrives, so that the last model has later ratings, too.
Writes benchmarks/results/learning.json; exit code 1 if a check fails.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from loads import Connection, Timings, at_a_rate, post, quiet
from measuring import describe
from sqlalchemy import URL
from visitor import visitors

import reelgraph as rg
from reelgraph.data.vocabulary import Vocabulary
from reelgraph.evaluation.differences import holm, paired
from reelgraph.files import learning_of, previous_of
from reelgraph.service.database.store import EXPORT_SCHEMA, Store
from reelgraph.service.learning import rounds_of
from reelgraph.training.learning import CHANCE, errors_as_served

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.support.databases import postgresql  # noqa: E402
from tests.support.kills import Server  # noqa: E402

HELD_OUT, LATER = 0.06, 0.2  # share of the users who visit, and of their ratings that never arrive
RATE, P99 = 200, 25.0  # lists a second, and milliseconds of the slowest in a hundred
MEASURES = ("rmse", "ndcg")
WRITERS = 16
LOOK = 0.25  # seconds between looks at the learner
Rating = tuple[str, str, float]


@dataclass
class Visits:
    """Ratings that arrive, with the time of each acknowledgement."""

    coming: Iterator[Rating]
    acknowledged: list[tuple[float, Rating]] = field(default_factory=list)
    repeated: int = 0

    async def write(self, server: Server, rate: float, stop: asyncio.Event) -> None:
        """Send ratings at a rate, each until it is acknowledged, so that none is skipped when the server is killed."""
        waiting: asyncio.Queue[Rating | None] = asyncio.Queue(WRITERS)
        workers = [asyncio.create_task(self._worker(server, waiting)) for _ in range(WRITERS)]
        began = time.perf_counter()
        number = 0
        while not stop.is_set() and (rating := next(self.coming, None)) is not None:
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            await waiting.put(rating)
            number += 1
        for _ in workers:
            await waiting.put(None)
        await asyncio.gather(*workers)

    async def _worker(self, server: Server, waiting: "asyncio.Queue[Rating | None]") -> None:
        connection = Connection("127.0.0.1", port_of(server))
        while (rating := await waiting.get()) is not None:
            user, movie, stars = rating
            request = post("/api/ratings", {"user": user, "movie": movie, "rating": stars})
            while True:
                with suppress(OSError, EOFError, ValueError, TimeoutError):
                    if (await asyncio.wait_for(connection.ask(request), 30))[0] == 200:
                        break
                self.repeated += 1
                await asyncio.sleep(0.1)
            self.acknowledged.append((time.time(), rating))
        connection.close()

    @staticmethod
    def table(rows: list[Rating]) -> pa.Table:
        """Ratings as `learn` takes them."""
        columns = [[row[place] for row in rows] for place in range(3)]
        return pa.table([*columns, [0] * len(rows)], schema=EXPORT_SCHEMA)


@dataclass
class Watch:
    """What happens to the model and the learner during a run."""

    model: Path
    copies: Path
    models: list[tuple[float, Path]] = field(default_factory=list)  # since when, and a copy
    busy: list[tuple[int, int]] = field(
        default_factory=list
    )  # numbers of answered lists when the learner began and ended
    megabytes: float = 0.0  # most memory of the learner
    unreadable: int = 0  # looks at which there was no model

    async def look(self, server: Server, timings: Timings | None, stop: asyncio.Event) -> None:
        """Look until stopped."""
        began = None
        while not stop.is_set():
            await asyncio.sleep(LOOK)
            self._keep()
            learner = learner_of(server)
            if learner is not None:
                with suppress(psutil.NoSuchProcess):
                    self.megabytes = max(self.megabytes, learner.memory_info().rss / 1e6)
            if timings is not None and (learner is None) != (began is None):
                if began is not None:
                    self.busy.append((began, len(timings.seconds)))
                began = None if learner is None else len(timings.seconds)
        if timings is not None and began is not None:
            self.busy.append((began, len(timings.seconds)))

    def _keep(self) -> None:
        """Keep a copy of a new model; its files are never changed, so that links are enough."""
        try:
            inode = (self.model / "manifest.json").stat().st_ino
        except OSError:
            self.unreadable += 1
            return
        copy = self.copies / str(inode)
        if not copy.exists():
            shutil.copytree(self.model, copy, copy_function=os.link)
            self.models.append((time.time(), copy))


def port_of(server: Server) -> int:
    """Where a server listens."""
    return int(server.address.rpartition(":")[2])


def learner_of(server: Server) -> psutil.Process | None:
    """The running round of a server; `psutil` would read all processes, and delay the load."""
    number = server.process.pid
    with suppress(psutil.NoSuchProcess, OSError):
        for child in Path(f"/proc/{number}/task/{number}/children").read_text(encoding="ascii").split():
            process = psutil.Process(int(child))
            if "learn" in process.cmdline():
                return process
    return None


def ratings_of(data: str) -> list[Rating]:
    """The ratings of a MovieLens folder."""
    folder = Path(os.environ.get("REELGRAPH_DATA", HERE.parent.parent / "shared" / "data")) / data
    names = ["userId", "movieId", "rating"]
    if data == "ml-100k":
        options = pacsv.ReadOptions(column_names=[*names, "timestamp"]), pacsv.ParseOptions(delimiter="\t")
        table = pacsv.read_csv(folder / "u.data", *options)
    else:
        table = pacsv.read_csv(folder / "ratings.csv")
    columns = [table[name].to_pylist() for name in names]
    return [(str(user), str(movie), float(stars)) for user, movie, stars in zip(*columns, strict=True)]


def prepared(data: str, work: Path) -> tuple[Path, list[Rating], list[Rating]]:
    """A model without the visitors, their ratings in the order in which they arrive, and those that never do."""
    rows, rng = ratings_of(data), np.random.default_rng(0)
    users = sorted({user for user, _, _ in rows})
    visiting = set(rng.permutation(users)[: round(HELD_OUT * len(users))].tolist())
    model = work / f"{data}-without-{HELD_OUT:g}"
    if not (model / "manifest.json").is_file():
        kept = [row for row in rows if row[0] not in visiting]
        table = pa.table([list(column) for column in zip(*kept, strict=True)], names=["userId", "movieId", "rating"])
        pq.write_table(table, work / f"{data}.parquet")
        command = ["train", str(work / f"{data}.parquet"), "--tune", "none", "--out", str(model)]
        subprocess.run([sys.executable, "-m", "reelgraph", *command], check=True)
    known = set(rg.open(model).items.ids.to_pylist())
    own: dict[str, list[Rating]] = {}
    for row in rows:
        if row[0] in visiting and row[1] in known:
            own.setdefault(row[0], []).append((f"visitor-{row[0]}", *row[1:]))
    arriving, later = [], []
    for number, person in enumerate(own.values()):
        mixed = [person[place] for place in rng.permutation(len(person))]
        count = round((1 - LATER) * len(mixed))
        # A visitor rates for a tenth of the time, and visits begin all the time.
        begin = 0.9 * number / len(own)
        arriving += [(begin + 0.1 * place / count, row) for place, row in enumerate(mixed[:count])]
        later += mixed[count:]
    return model, [row for _, row in sorted(arriving)], later


async def busy_run(
    server: Server, visits: Visits, watch: Watch, requests: list[bytes], given: Any, rate: float
) -> Timings:
    """Lists at a fixed rate while visitors rate and the service learns."""
    stop, seconds = asyncio.Event(), 60 * given.minutes
    counted = Timings()
    load = asyncio.create_task(at_a_rate(port_of(server), requests, RATE, seconds, timings=counted))
    others = [
        asyncio.create_task(visits.write(server, rate, stop)), asyncio.create_task(watch.look(server, counted, stop))
    ]  # fmt: skip
    await load
    stop.set()
    await asyncio.gather(*others)
    return counted


async def killed_run(
    server: Server, visits: Visits, watch: Watch, given: Any, rate: float, seconds: float
) -> dict[str, Any]:
    """The server or its learner is killed at random moments."""
    stop, draw, kills = asyncio.Event(), np.random.default_rng(0), {"server": 0, "learner": 0}
    others = [
        asyncio.create_task(visits.write(server, rate, stop)), asyncio.create_task(watch.look(server, None, stop))
    ]  # fmt: skip
    for number in range(given.kills):
        await asyncio.sleep(draw.uniform(0.2, 2 * seconds / given.kills))
        learner = learner_of(server)
        if number % 2:
            until = time.monotonic() + 60
            while (learner := learner_of(server)) is None and time.monotonic() < until:
                await asyncio.sleep(0.05)
            await asyncio.sleep(draw.uniform(0, round_seconds(watch.model)))
            learner = learner_of(server) or learner
        if number % 2 and learner is not None:
            with suppress(psutil.NoSuchProcess):
                learner.kill()
                kills["learner"] += 1
        else:
            server.kill()
            kills["server"] += 1
            await asyncio.to_thread(server.start)
    until = time.monotonic() + 120  # A round after the last kill succeeds.
    while not any(entry["outcome"] in {"taken", "refused"} for entry in rounds_of(watch.model)[:1]):
        if time.monotonic() > until:
            break
        await asyncio.sleep(1)
    stop.set()
    await asyncio.gather(*others)
    return kills


def round_seconds(model: Path) -> float:
    """How long an update of a model takes, so that a kill may hit any part of it."""
    whole = [entry for entry in rounds_of(model) if entry["kind"] == "update" and entry["outcome"] == "taken"]
    return max((entry["ended"] - entry["began"] for entry in whole), default=8.0)


def lost(visits: Visits, url: URL, folder: Path) -> int:
    """Number of acknowledged ratings that are not in the database."""
    store = Store.open(url, create=False)
    store.export(folder / "ratings.parquet")
    store.close()
    rows = pq.read_table(folder / "ratings.parquet").to_pylist()
    kept = {(row["userId"], row["movieId"]): row["rating"] for row in rows}
    return sum(kept.get((user, movie)) != stars for _, (user, movie, stars) in visits.acknowledged)


def compared(watch: Watch, visits: Visits, later: list[Rating], base: Path) -> list[dict[str, Any]]:
    """Each model and the one before it on the ratings that came after it, or never."""
    found, trained = [], Vocabulary.of(rg.open(base).artifact.users, "user")
    for (_, before), (since, after) in zip(watch.models, watch.models[1:], strict=False):
        known = visits.table([row for when, row in visits.acknowledged if when < since])
        judges = visits.table([row for when, row in visits.acknowledged if when >= since + 1] + later)
        one, other = (errors_as_served(rg.open(path), trained, known, judges) for path in (before, after))
        facts: dict[str, Any] = {"later ratings": judges.num_rows}
        users = np.asarray(judges["userId"].to_pylist())
        for name in MEASURES:
            rows = np.isfinite(one[name])
            test = paired(one[name][rows], other[name][rows], users[rows].tolist())
            show = np.sqrt if name == "rmse" else lambda error: 1 - error
            facts[name] = [round(float(show(test.first)), 4), round(float(show(test.second)), 4)]
            facts[f"chance of {name}"] = round(test.chance, 4)
        found.append(facts)
    adjusted = iter(holm([facts[f"chance of {name}"] for facts in found for name in MEASURES]))
    for facts in found:
        facts |= {f"chance of {name}, adjusted": round(next(adjusted), 4) for name in MEASURES}
        facts["worse"] = any(facts[f"chance of {name}, adjusted"] < CHANCE for name in MEASURES)
    return found


def percentiles(seconds: list[float]) -> dict[str, Any]:
    """Latency in milliseconds."""
    if not seconds:
        return {"lists": 0}
    facts = {f"p{share:g}, ms": round(1000 * float(np.quantile(seconds, share / 100)), 2) for share in (50, 99, 99.9)}
    return {"lists": len(seconds)} | facts


def measure(
    given: Any, folder: Path, base: Path, arriving: list[Rating], later: list[Rating], url: URL
) -> dict[str, Any]:
    """Both parts with a database."""
    model = shutil.copytree(base, folder / "model")
    (folder / "copies").mkdir()
    requests = [post("/api/recommendations", {"ratings": ratings, "k": 10}) for ratings in visitors(rg.open(model))]
    every = max(5.0, 6 * given.minutes)
    options = ["--learn-every", f"{every:g}s", "--refit-every", f"{20 * given.minutes:g}s"]
    options += ["--learn-memory", f"{given.memory:g}"]
    visits, watch = Visits(iter(arriving)), Watch(model, folder / "copies")
    watch._keep()
    server = Server(model, url, *options)
    timings = asyncio.run(busy_run(server, visits, watch, requests, given, 0.7 * len(arriving) / (60 * given.minutes)))
    server.kill()
    during = [seconds for first, last in watch.busy for seconds in timings.seconds[first:last]]
    result: dict[str, Any] = {
        "options": " ".join(options),
        "lists": percentiles(timings.seconds) | {"failures": timings.failures},
        "lists while it learns": percentiles(during),
        "ratings acknowledged": len(visits.acknowledged),
    }
    seconds = 30 * given.minutes
    server = Server(model, url, "--learn-every", "1s", "--learn-priority", "low", *options[2:])
    kills = asyncio.run(killed_run(server, visits, watch, given, 0.3 * len(arriving) / (2 * seconds), seconds))
    server.kill()
    rounds = rounds_of(model)
    outcomes = [f"{entry['kind']} {entry['outcome']}" for entry in rounds]
    models = compared(watch, visits, later, base)
    files = {path.name for path in folder.iterdir() if path.name.startswith(".")}
    strays = files - {previous_of(model).name, learning_of(model).name}
    return result | {
        "kills": kills,
        "writes repeated after a kill": visits.repeated,
        "ratings acknowledged in all": len(visits.acknowledged),
        "acknowledged ratings lost": lost(visits, url, folder),
        "looks without a model": watch.unreadable,
        "latest rounds": {name: outcomes.count(name) for name in sorted(set(outcomes))},
        "why refused or failed": sorted(
            {entry["why"] for entry in rounds if entry["outcome"] in {"refused", "failed"}}
        ),
        "models taken in": models,
        "models worse on later ratings": sum(facts["worse"] for facts in models),
        "seconds of a round, longest": max((entry["ended"] - entry["began"] for entry in rounds), default=None),
        "learner, most megabytes": round(watch.megabytes),
        "learner, megabytes allowed": 1000 * given.memory,
        "files left behind": sorted(strays),
    }


def failed(result: dict[str, Any]) -> list[str]:
    """The checks that fail."""
    p99 = result["lists while it learns"].get("p99, ms")
    checks = {
        "no acknowledged rating lost": result["acknowledged ratings lost"] == 0,
        "a model at every look": result["looks without a model"] == 0,
        f"p99 of at most {P99:g} ms while it learns": p99 is not None and p99 <= P99,
        "no failed list": not result["lists"]["failures"],
        "some models taken in": bool(result["models taken in"]),
        "no model worse on later ratings": result["models worse on later ratings"] == 0,
        "memory within its limit": result["learner, most megabytes"] <= result["learner, megabytes allowed"],
    }
    return [name for name, holds in checks.items() if not holds]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=["ml-1m", "ml-100k"], default="ml-1m")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="of the first part; the second takes about half as long"
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--memory", type=float, default=3.0, help="of the learner, in GB")
    parser.add_argument("--postgresql", action="store_true", help="keep the ratings in a PostgreSQL server of its own")
    parser.add_argument(
        "--work", type=Path, required=True, help="an existing directory; keeps the trained model for later runs"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results" / "learning.json")
    given = parser.parse_args()
    base, arriving, later = prepared(given.data, given.work)
    folder = given.work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    quiet()
    with postgresql() if given.postgresql else nullcontext() as other:
        url = URL.create("sqlite", database=str(folder / "ratings.sqlite")) if other is None else other.database()
        result = measure(given, folder, base, arriving, later, url)
    command = f"python benchmarks/learning.py --data {given.data} --minutes {given.minutes:g} --kills {given.kills}"
    problems = failed(result)
    whole = describe(command) | {"database": url.get_backend_name()} | result | {"checks that fail": problems}
    given.out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(whole, indent=1) + "\n")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()

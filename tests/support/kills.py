"""Kills a server process while it writes, and counts acknowledged ratings that are lost."""

import os
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, zip_longest
from pathlib import Path

import httpx
from sqlalchemy import URL

from reelgraph.service.database.store import Store

START = 60.0  # seconds that a server may take to answer
WRITERS = 8
CHANGES = 5  # of each rating


class Server:
    """`reelgraph serve` in its own process; it keeps its port when it is restarted.

    Args:
        model: the model's directory.
        url: the database, passed in the environment, since it may contain a password.
        options: more options of the command.
    """

    def __init__(self, model: Path, url: URL, *options: str) -> None:
        self.url, self._port = url, "0"
        self._command = [sys.executable, "-m", "reelgraph", "serve", str(model), "--rate", "0", "--open", *options]
        self.start()

    def start(self) -> None:
        """Start the server and wait until it is ready."""
        environment = os.environ | {"REELGRAPH_DATABASE": self.url.render_as_string(hide_password=False)}
        self.process = subprocess.Popen(
            [*self._command, "--port", self._port], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.process.stdout, selectors.EVENT_READ)
            assert waiting.select(START), "the server did not start"
        match = re.search(r"http://\S+:(\d+)", self.process.stdout.readline())
        assert match, f"the server ended with {self.process.wait(START)}"
        self.address, self._port = match[0], match[1]
        until = time.monotonic() + START
        while not self._ready():
            assert time.monotonic() < until, "the server did not get ready"
            time.sleep(0.02)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.address}/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """Kill the process, whatever it is doing."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Ask the process to end."""
        self.process.terminate()
        self.process.wait(START)


@dataclass(frozen=True)
class Outcome:
    """Numbers of acknowledged writes, of writes cut off by a kill, of kills, and of acknowledged writes lost."""

    acknowledged: int
    broken_off: int
    kills: int
    lost: int


class Writers:
    """Users who give and change ratings, and repeat each write until it is acknowledged.

    Args:
        server: the server.
        movies: ids of movies that the model knows.
        stars: at least two different ratings.
        writes: total number of writes.
    """

    def __init__(self, server: Server, movies: list[str], stars: tuple[float, ...], writes: int) -> None:
        self.server, self.movies, self.stars = server, movies, stars
        self.shares = [writes // WRITERS + (number < writes % WRITERS) for number in range(WRITERS)]
        self.acknowledged, self.broken_off = 0, 0
        self._counting = threading.Condition()

    def plan(self, writer: int) -> Iterator[tuple[str, float]]:
        """Movie and rating of each write. A movie's rating changes `CHANGES` times, with other movies in between."""
        for number in range(self.shares[writer]):
            block, place = divmod(number, 5 * CHANGES)
            yield self.movies[(5 * block + place % 5) % len(self.movies)], self.stars[place // 5 % len(self.stars)]

    def write(self, writer: int) -> None:
        """Write a user's ratings in sequence."""
        with httpx.Client(timeout=10) as client:
            for movie, rating in self.plan(writer):
                while not self._rate(client, {"user": f"user {writer}", "movie": movie, "rating": rating}):
                    time.sleep(0.1)

    def _rate(self, client: httpx.Client, body: dict[str, object]) -> bool:
        acknowledged = broken_off = False
        try:
            answer = client.post(f"{self.server.address}/api/ratings", json=body)
            acknowledged = answer.status_code == 200
        except httpx.ConnectError:
            pass  # no server yet
        except httpx.HTTPError:
            broken_off = True
        with self._counting:
            self.acknowledged += acknowledged
            self.broken_off += broken_off
            self._counting.notify_all()
        return acknowledged

    def wait(self, number: int) -> None:
        """Wait until this number of writes is acknowledged."""
        with self._counting:
            assert self._counting.wait_for(lambda: self.acknowledged >= number, 10 * START), "the writers are stuck"


def lost(writers: Writers) -> int:
    """Number of acknowledged ratings missing in the history or, for the last of a movie, in the present ratings."""
    count, store = 0, Store.open(writers.server.url, create=False)
    for writer in range(WRITERS):
        wanted: dict[str, list[float]] = {}
        for movie, rating in writers.plan(writer):
            wanted.setdefault(movie, []).append(rating)
        changes = store.history(f"user {writer}")
        now = {rated.movie_id: rated.rating for rated in store.ratings(f"user {writer}")}
        for movie, given in wanted.items():
            expected = [rating for rating, _ in groupby(given)]  # The same rating again changes nothing.
            kept = [change.rating for change in changes if change.movie_id == movie]
            count += sum(left != right for left, right in zip_longest(expected, kept))
            count += now.get(movie) != given[-1]
    store.close()
    return count


def endure(writers: Writers, kills: int) -> Outcome:
    """Run all writers and kill the server this many times, the last time at the end."""
    server, writes = writers.server, sum(writers.shares)
    with ThreadPoolExecutor(WRITERS) as threads:
        working = [threads.submit(writers.write, number) for number in range(WRITERS)]
        for number in range(1, kills):
            writers.wait(number * writes // kills)
            server.kill()
            server.start()
        for work in working:
            work.result()
    server.kill()
    return Outcome(writers.acknowledged, writers.broken_off, kills, lost(writers))

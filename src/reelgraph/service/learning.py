"""The service learns: it runs rounds of `reelgraph learn` in a child process, and says how they went.

Outcomes are kept beside the model, so that all servers of one model know them. Of all servers of one database, one
learns at a time.
"""

import asyncio
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, TypeVar

from reelgraph import machine
from reelgraph.errors import ConfigError, DatabaseError, ReelgraphError, SetupError
from reelgraph.files import MANIFEST, check_target, learning_of, new_file, sweep
from reelgraph.service.database.ledger import SHORT_TIMEOUT, Ledger
from reelgraph.service.database.store import Store
from reelgraph.service.errors import ServiceError
from reelgraph.service.model import Current, newest, signature
from reelgraph.service.settings import Settings, seconds_of
from reelgraph.service.telemetry import LOGGER, Metrics

LEASE, BEAT = 15.0, 1.0  # seconds that a lease lasts, and between its renewals
LOOK = 1.0  # seconds between looks whether a round is due
RETRY, MOST_RETRY = 30.0, 3600.0  # seconds to wait after a failed round; doubled with each further one
ROUNDS = 50  # kept
BUSY = "busy"  # outcome of a round that did not begin because another process learns
Answer = TypeVar("Answer")
_STATE = "rounds.json"
_REPLACED = {"REELGRAPH_DATABASE", "REELGRAPH_DATABASE_FILE"}  # variables


def rounds_of(model: Path) -> list[dict[str, Any]]:
    """The latest rounds of a model, newest first."""
    try:
        rounds = json.loads((learning_of(model) / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return rounds if isinstance(rounds, list) else []


def record(model: Path, facts: dict[str, Any]) -> None:
    """Keep the outcome of a round of a model."""
    file = learning_of(model) / _STATE
    file.parent.mkdir(parents=True, exist_ok=True)
    with new_file(file) as temporary:
        temporary.write_text(json.dumps([facts, *rounds_of(model)][:ROUNDS], indent=1), encoding="utf-8")


def holder(process: int) -> str:
    """The name of a process of this machine in the lease."""
    return f"{socket.gethostname()}:{process}"


@contextmanager
def leased(store: Store, parent: int | None) -> Iterator[Callable[[], None] | None]:
    """Hold the lease of the database while the block runs; yields a function that fails if it is lost.

    Yields None if another process has it. The process ends if the lease is lost, or with its `parent`.
    """
    own, ended = holder(os.getpid()), threading.Event()
    if not store.take_lease(own, LEASE):
        yield None
        return

    def confirm() -> None:
        if not store.take_lease(own, LEASE):
            raise SetupError("learn: expected to be the only one that learns, found another one", "run it again")

    def beat() -> None:
        renewed = time.monotonic()
        while not ended.wait(BEAT):
            with suppress(DatabaseError):  # Whoever else learns needs the database, too.
                if parent is not None and os.getppid() != parent:
                    store.end_lease(own)
                    os._exit(1)
                if time.monotonic() > renewed + LEASE / 3:
                    if not store.take_lease(own, LEASE):
                        os._exit(1)
                    renewed = time.monotonic()

    threading.Thread(target=beat, name="lease", daemon=True).start()
    try:
        yield confirm
    finally:
        ended.set()
        with suppress(DatabaseError):
            store.end_lease(own)


@dataclass(frozen=True)
class _Plan:
    """The next round: when, in seconds since 1970 (infinite while unknown), and whether it trains anew."""

    at: float
    refit: bool


@dataclass
class Learner:
    """Runs rounds of learning while the service runs.

    Attributes:
        settings: when to learn, and within which memory and threads.
        current: the model in service.
        ledger: the database of ratings.
        metrics: where rounds are counted.
        started: when the service started, in seconds since 1970.
        began: when the present round began.
    """

    settings: Settings
    current: Current
    ledger: Ledger
    metrics: Metrics
    started: float = field(default_factory=time.time)
    began: float | None = None
    new: int = 0  # changes of ratings since the last round

    @property
    def enabled(self) -> bool:
        """Whether any setting asks for learning."""
        settings = self.settings
        return any(value is not None for value in (settings.learn_every, settings.learn_after, settings.refit_every))

    def check(self) -> None:
        """Refuse at the start what would fail in every round.

        Raises:
            ConfigError: if the model cannot be updated.
            SetupError: if PyTorch is not installed.
            OutputError: if it cannot be replaced.
        """
        model = self.current.served
        if not self.enabled:
            return
        if find_spec("torch") is None:
            raise SetupError("--learn-every: expected PyTorch, found none", "install reelgraph with all it depends on")
        if model is None:
            return
        kind = model.recommender.artifact.manifest["config"]["model"]
        if kind == "gcn":
            problem = "--learn-every: expected a residual model, which can be updated, found gcn"
            raise ConfigError(problem, "train a residual model, or leave out the options for learning")
        check_target(model.path, "reelgraph-artifact")

    @property
    def target(self) -> Path | None:
        """The model that learns."""
        path = newest(self.current.directory)
        return None if path is None else path.resolve()

    def rounds(self) -> list[dict[str, Any]]:
        """The latest rounds, newest first."""
        return [] if self.target is None else rounds_of(self.target)

    def plan(self, rounds: list[dict[str, Any]], position: int | None = None) -> _Plan:
        """The round after the latest ones, for the position of the database if it is known."""
        settings, now = self.settings, time.time()
        last = rounds[0]["ended"] if rounds else self.started
        refit_at = self._refit_at(rounds)
        at = refit_at if settings.learn_every is None else min(refit_at, last + seconds_of(settings.learn_every))
        if position is not None:
            self.new = max(0, position - (rounds[0].get("position", 0) if rounds else 0))
        if settings.learn_after is not None and self.new >= settings.learn_after:
            at = min(at, now)
        if (failures := _failures(rounds)) > 0:
            at = max(at, last + min(_delay(failures), seconds_of(settings.learn_every or "1h")))
        return _Plan(at, refit_at <= max(at, now))

    def _refit_at(self, rounds: list[dict[str, Any]]) -> float:
        """When to train anew; after failures later, so that updates go on in between."""
        if self.settings.refit_every is None:
            return math.inf
        refits = [entry for entry in rounds if entry["kind"] == "refit"]
        failures = _failures(refits)
        last = refits[failures]["ended"] if failures < len(refits) else self._begun()
        at = last + seconds_of(self.settings.refit_every)
        return max(at, refits[0]["ended"] + _delay(failures)) if failures else at

    def _begun(self) -> float:
        """When the model was first seen, kept over restarts."""
        with suppress(OSError):
            if self.target is not None:
                return (learning_of(self.target) / "origin" / MANIFEST).stat().st_mtime
        return self.started

    async def run(self, take_in: Callable[[], Awaitable[Any]]) -> None:
        """Run rounds until cancelled; `take_in` puts the new model in service."""
        if self.enabled and self.target is not None:
            sweep(self.target)
        position: int | None = 0
        while self.enabled:
            await asyncio.sleep(LOOK if position is not None else 10 * LOOK)
            try:
                if (position := await self._ask("position", Store.position)) is None:
                    continue
                plan = self.plan(self.rounds(), position)
                self.metrics.next_round.set(plan.at - time.time())
                if plan.at <= time.time() and (target := self.target) is not None:
                    await self._round(target, plan.refit, take_in)
            except ReelgraphError as error:
                LOGGER.warning("learning", extra={"facts": {"why": str(error)}})
            except Exception:  # Nothing may end the learning while the service runs.
                LOGGER.exception("a look for a round of learning failed")

    async def _ask(self, what: str, question: Callable[[Store], Answer]) -> Answer | None:
        """What the database answers; None while it is away."""
        with suppress(ServiceError):
            return await self.ledger.call(what, question, timeout=SHORT_TIMEOUT)
        return None

    async def _round(self, target: Path, refit: bool, take_in: Callable[[], Awaitable[Any]]) -> None:
        """Run a round in a child process, and put its model in service."""
        if await self._ask("learner", Store.learner) is not None:
            return
        before = signature(target)
        self.began = time.time()
        self.metrics.learning.set(1)
        try:
            with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
                process = self._start(target, refit, output, errors)
                try:
                    while process.poll() is None:
                        await asyncio.sleep(0.1)
                finally:
                    if process.poll() is None:
                        process.kill()
                        process.wait()
                        await self._clean(target, process.pid)
                facts = await self._outcome(target, refit, process, output, errors)
        finally:
            self.began = None
            self.metrics.learning.set(0)
        if facts["outcome"] != BUSY:
            LOGGER.info("learned", extra={"facts": {name: facts[name] for name in ("kind", "outcome", "why")}})
            self.metrics.count_round(facts)
        if signature(target) != before:
            await take_in()

    async def _clean(self, target: Path, process: int) -> None:
        """Remove what a killed round left, and let others learn."""
        sweep(target)
        with suppress(ServiceError):
            await self.ledger.call("end_lease", lambda store: store.end_lease(holder(process)))

    def _start(self, target: Path, refit: bool, output: IO[bytes], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a round; the database's address may contain a password, so it is not an argument."""
        settings = self.settings
        command = [sys.executable, "-m", "reelgraph", "learn", str(target), "--json", "--parent", str(os.getpid())]
        command += ["--memory", str(self.memory), "--threads", str(settings.learn_threads)]
        command += ["--priority", settings.learn_priority, *(["--refit"] * refit)]
        variables = {name: value for name, value in os.environ.items() if name not in _REPLACED}
        variables["REELGRAPH_DATABASE"] = self.ledger.url.render_as_string(hide_password=False)
        variables["OMP_NUM_THREADS"] = str(settings.learn_threads)
        return subprocess.Popen(  # noqa: S603 (this program itself)
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=variables
        )

    @property
    def memory(self) -> float:
        """The most memory of a round, in GB: as set, else half of this machine's or container's."""
        return self.settings.learn_memory or round((machine.whole_memory() or 8e9) / 2e9, 2)

    async def _outcome(
        self, target: Path, refit: bool, process: subprocess.Popen[bytes], output: IO[bytes], errors: IO[bytes]
    ) -> dict[str, Any]:
        """What the round said, or that it failed."""
        for stream in (output, errors):
            stream.seek(0)
        if process.returncode == 0:
            facts: dict[str, Any] = json.loads(output.read())
            return facts
        await self._clean(target, process.pid)
        said = errors.read().decode(errors="replace").strip().splitlines()[-1:]
        code = process.returncode
        why = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        facts = {
            "kind": "refit" if refit else "update", "outcome": "failed", "why": "; ".join([why, *said]),
            "began": self.began, "ended": time.time(),
        }  # fmt: skip
        record(target, facts | {"position": (self.rounds() or [{}])[0].get("position", 0)})
        return facts

    async def facts(self) -> dict[str, Any]:
        """What it does, did and will do, as JSON values."""
        position, settings = await self._ask("position", Store.position), self.settings
        return self.public(position) | {
            "enabled": self.enabled,
            "every": settings.learn_every,
            "after": settings.learn_after,
            "refit_every": settings.refit_every,
            "since": when(self.began),
            "learner": await self._ask("learner", Store.learner),
            "new_ratings": None if position is None else self.new,
        }

    def public(self, position: int | None = None) -> dict[str, Any]:
        """Its state, next round and latest rounds as JSON values; the next one is exact if the position is known."""
        rounds = self.rounds()
        plan = self.plan(rounds, position)
        return {
            "state": "off" if not self.enabled else "learning" if self.began is not None else "waiting",
            "next": {"at": when(plan.at), "refit": plan.refit} if self.enabled else None,
            "rounds": [shown(entry) for entry in rounds],
        }


def _failures(rounds: list[dict[str, Any]]) -> int:
    """How many of the latest rounds failed."""
    return next((place for place, entry in enumerate(rounds) if entry["outcome"] != "failed"), len(rounds))


def _delay(failures: int) -> float:
    return float(min(RETRY * 2 ** (failures - 1), MOST_RETRY))


def shown(facts: dict[str, Any]) -> dict[str, Any]:
    """A round as responses show it."""
    return facts | {name: when(facts[name]) for name in ("began", "ended") if name in facts}


def when(seconds: float | None) -> str | None:
    """A time in seconds since 1970 as text; None if it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return None
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"

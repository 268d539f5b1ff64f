"""The database of ratings as the service uses it: opened when it can be, timed, its failures logged."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import URL

from reelgraph.errors import DatabaseError, SchemaError
from reelgraph.service.database.connection import POOL, WAIT, shown
from reelgraph.service.database.store import Store
from reelgraph.service.errors import ServiceError
from reelgraph.service.telemetry import LOGGER, Metrics

Result = TypeVar("Result")

PATIENCE = 2 * WAIT  # seconds for an answer of the database, the wait for a free thread included

BRIEFLY = 1.0  # for what can do without the answer


class Ledger:
    """A database that may be away for a while: lists do not need it.

    It has threads of its own, as many as connections, so that those who wait for it keep nobody else waiting.

    Args:
        url: where it is.
        metrics: told how long it takes.
    """

    def __init__(self, url: URL, metrics: Metrics) -> None:
        self.url, self.metrics = url, metrics
        self._store: Store | None = None
        self._turn = threading.Lock()
        self._threads = ThreadPoolExecutor(POOL, "database")

    def open(self) -> Store:
        """The database, opened if it is not yet.

        Raises:
            DatabaseError: if it cannot be used.
        """
        with self._turn:
            if self._store is None:
                self._store = Store.open(self.url)
            return self._store

    def start(self) -> None:
        """Open the database before the first request; a server that does not answer may do so later.

        Raises:
            DatabaseError: if it is a file that cannot be used, or its tables are not ours.
        """
        try:
            self.open()
        except DatabaseError as error:
            if self.url.get_backend_name() == "sqlite" or isinstance(error, SchemaError):
                raise
            LOGGER.error("database", extra={"facts": {"why": str(error)}})

    async def do(self, what: str, act: Callable[[Store], Result], patience: float = PATIENCE) -> Result:
        """What the database does, beside the other requests.

        Args:
            what: its name among the measures.
            act: what is to be done. It may be under way when it is given up, so it must be fit to be done again.
            patience: seconds after which it is given up.

        Raises:
            ServiceError: `database_unavailable`.
        """
        run, deadline = contextvars.copy_context().run, time.monotonic() + patience
        work = asyncio.get_running_loop().run_in_executor(self._threads, run, self._timed, what, act, deadline)
        try:
            return await asyncio.wait_for(work, patience)
        except TimeoutError:
            self.metrics.database_errors.inc()
            error: Exception = TimeoutError(f"no answer in {patience:g} s")
        except DatabaseError as failed:
            error = failed
        LOGGER.error("database", extra={"facts": {"what": what, "database": shown(self.url), "why": str(error)}})
        raise ServiceError("database_unavailable", "the database of ratings does not answer; ask again") from error

    def _timed(self, what: str, act: Callable[[Store], Result], deadline: float) -> Result:
        with self.metrics.timed(what):
            return act(self.open().until(deadline))

    def close(self) -> None:
        """Close it."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._store is not None:
            self._store.close()

"""Asynchronous access to the database of ratings, which may be away for a while."""

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
TIMEOUT = 2 * WAIT  # seconds for a call, including the wait for a free thread
SHORT_TIMEOUT = 1.0  # seconds for a call whose result is not essential


class Ledger:
    """A database of ratings that the service can do without for a while.

    It has its own threads, one a connection, so that calls that hang do not delay other requests.

    Args:
        url: its address.
        metrics: where calls are counted and timed.
    """

    def __init__(self, url: URL, metrics: Metrics) -> None:
        self.url, self.metrics = url, metrics
        self._store: Store | None = None
        self._secret: bytes | None = None
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(POOL, "database")

    def open(self) -> Store:
        """The database, opened on first use."""
        with self._lock:
            if self._store is None:
                self._store = Store.open(self.url)
            return self._store

    def start(self) -> None:
        """Open the database before the first request. A server that does not answer may do so later.

        Raises:
            DatabaseError: if it is a file that cannot be used, or its tables belong to another program.
        """
        try:
            self.open()
        except DatabaseError as error:
            if self.url.get_backend_name() == "sqlite" or isinstance(error, SchemaError):
                raise
            LOGGER.error("database", extra={"facts": {"why": str(error)}})

    async def secret(self) -> bytes:
        """The secret that signs visitors' tokens."""
        if self._secret is None:
            self._secret = await self.call("secret", Store.secret)
        return self._secret

    async def call(self, what: str, act: Callable[[Store], Result], timeout: float = TIMEOUT) -> Result:
        """The result of a database call; ServiceError `database_unavailable` if there is none in time.

        Args:
            what: name of the call in logs and metrics.
            act: makes the call. It may still run after a timeout, so repeating it must be harmless.
            timeout: in seconds.
        """
        run, deadline = contextvars.copy_context().run, time.monotonic() + timeout
        work = asyncio.get_running_loop().run_in_executor(self._threads, run, self._timed, what, act, deadline)
        try:
            return await asyncio.wait_for(work, timeout)
        except TimeoutError:
            self.metrics.database_errors.inc()
            error: Exception = TimeoutError(f"no answer in {timeout:g} s")
        except DatabaseError as database_error:
            error = database_error
        LOGGER.error("database", extra={"facts": {"what": what, "database": shown(self.url), "why": str(error)}})
        raise ServiceError("database_unavailable", "the database of ratings does not answer; try again") from error

    def _timed(self, what: str, act: Callable[[Store], Result], deadline: float) -> Result:
        with self.metrics.timed(what):
            return act(self.open().until(deadline))

    def close(self) -> None:
        """Close all connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._store is not None:
            self._store.close()

"""The database of ratings as the service uses it: opened when it can be, timed, its failures logged."""

import threading
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import URL
from starlette.concurrency import run_in_threadpool

from reelgraph.errors import DatabaseError
from reelgraph.service.database import shown
from reelgraph.service.logs import LOGGER
from reelgraph.service.metrics import Metrics
from reelgraph.service.problems import ServiceError
from reelgraph.service.store import Store

Result = TypeVar("Result")


class Ledger:
    """A database that may be away for a while: lists do not need it.

    Args:
        url: where it is.
        metrics: told how long it takes.
    """

    def __init__(self, url: URL, metrics: Metrics) -> None:
        self.url, self.metrics = url, metrics
        self._store: Store | None = None
        self._turn = threading.Lock()

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
            DatabaseError: if it is a file that cannot be used.
        """
        try:
            self.open()
        except DatabaseError as error:
            if self.url.get_backend_name() == "sqlite":
                raise
            LOGGER.error("database", extra={"facts": {"why": str(error)}})

    async def do(self, what: str, act: Callable[[Store], Result]) -> Result:
        """What the database does, beside the other requests.

        Args:
            what: its name among the measures.
            act: what is to be done.

        Raises:
            ServiceError: `database_unavailable`.
        """
        return await run_in_threadpool(self._timed, what, act)

    def _timed(self, what: str, act: Callable[[Store], Result]) -> Result:
        try:
            with self.metrics.timed(what):
                return act(self.open())
        except DatabaseError as error:
            LOGGER.error("database", extra={"facts": {"what": what, "database": shown(self.url), "why": str(error)}})
            raise ServiceError("database_unavailable", "the database of ratings does not answer; ask again") from error

    def close(self) -> None:
        """Close it."""
        if self._store is not None:
            self._store.close()

"""Ratings that people give through the service; a change is acknowledged once it is on disk."""

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import URL, Connection, Engine, delete, func, insert, select

from reelgraph.errors import DatabaseError
from reelgraph.files import new_file
from reelgraph.service.database.connection import (
    HISTORY,
    LOCKS,
    RATINGS,
    READS,
    WAIT,
    database_errors,
    metadata,
    migrate,
    open_engine,
    shown,
)

EXPORT_ROWS = 65_536

EXPORTED = pa.schema([
    ("userId", pa.string()), ("movieId", pa.string()), ("rating", pa.float64()), ("timestamp", pa.int64()),
])  # fmt: skip


@dataclass(frozen=True)
class Rated:
    """A rating as it is kept: in the data's scale, with the second since 1970 (UTC) when it was given."""

    movie_id: str
    rating: float
    timestamp: int


@dataclass(frozen=True)
class Written(Rated):
    """A rating that was given, and the one of the same user and movie that it replaces, if there was one."""

    replaced: float | None


@dataclass(frozen=True)
class Change:
    """One change: a rating given or, where it is None, taken back; `timestamp` in seconds since 1970 (UTC)."""

    movie_id: str
    rating: float | None
    timestamp: int


class Store:
    """The database of ratings; may be used by several threads, and by several processes at once.

    Args:
        url: where it is; `open` makes and migrates it first.
        wait: seconds after which a lock or a free connection is given up.
    """

    def __init__(self, url: URL, wait: float = WAIT) -> None:
        self.url = url
        self._engine: Engine = open_engine(url, wait)
        self._reading = self._engine.execution_options(**READS)
        # SQLite lets those who wait for its lock sleep and try again, in no order; threads had better queue up here.
        self._turn = threading.Lock()
        self._deadline = math.inf

    def until(self, deadline: float) -> "Store":
        """The same database for someone who waits no longer than until a time of `time.monotonic`.

        A change whose turn comes later is not made: whoever asked may have asked for another one meanwhile.
        """
        other = copy(self)
        other._deadline = deadline
        return other

    @classmethod
    def open(cls, url: URL, *, create: bool = True) -> "Store":
        """Open a database, its schema brought up to date.

        Args:
            url: where it is; see `database.address`.
            create: whether to make the file of SQLite where there is none.

        Raises:
            DatabaseError: if it cannot be used.
            SchemaError: if its tables are those of a newer version or of another program.
        """
        if not create and url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
            raise DatabaseError(f"database {shown(url)}: expected a file, found none", "check the path")
        migrate(url)
        return cls(url)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            DatabaseError: if there is none.
        """
        with self._read() as connection:
            connection.execute(select(1))

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with database_errors(self.url), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def _change(self, user: str) -> Iterator[Connection]:
        """A transaction that is the only one to change a user's rows; committed when the block ends well."""
        turn = self._turn if self._engine.dialect.name == "sqlite" else nullcontext()
        with database_errors(self.url), turn, self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(LOCKS + 1, func.hashtext(user))))
            if time.monotonic() > self._deadline:
                raise DatabaseError(f"database {shown(self.url)}: expected a turn in time, found it too late")
            yield connection

    def put(self, user: str, stars: Mapping[str, float], now: int | None = None) -> list[Written]:
        """Keep a user's ratings, all or none; each replaces an earlier one of its movie, and every change is kept.

        A rating that says what is kept already changes nothing, its time included: a request may be repeated.

        Args:
            user: the user's id.
            stars: ratings in the data's scale by movie id.
            now: when they are given, in seconds since 1970 (UTC); now when not given.

        Returns:
            What is kept, in the order of `stars`, once it is on disk.

        Raises:
            DatabaseError: if the database cannot be reached or written.
        """
        now = int(time.time()) if now is None else now
        with self._change(user) as connection:
            query = select(*RATINGS.c["movie_id", "rating", "timestamp"])
            query = query.where(RATINGS.c.user_id == user, RATINGS.c.movie_id.in_(stars))
            before = {movie: (rating, since) for movie, rating, since in connection.execute(query)}
            written, rows = [], []
            for movie, rating in stars.items():
                kept, since = before.get(movie, (None, now))
                written.append(Written(movie, rating, since if kept == rating else now, kept))
                if kept != rating:
                    rows.append({"user_id": user, "movie_id": movie, "rating": rating, "timestamp": now})
            if rows:
                replaced = [row["movie_id"] for row in rows]
                connection.execute(delete(RATINGS).where(RATINGS.c.user_id == user, RATINGS.c.movie_id.in_(replaced)))
                connection.execute(insert(RATINGS), rows)
                connection.execute(insert(HISTORY), rows)
        return written

    def ratings(self, user: str) -> list[Rated]:
        """What a user's ratings are now, the newest first.

        Raises:
            DatabaseError: if the database cannot be reached.
        """
        query = select(*RATINGS.c["movie_id", "rating", "timestamp"]).where(RATINGS.c.user_id == user)
        with self._read() as connection:
            found = connection.execute(query.order_by(RATINGS.c.timestamp.desc(), RATINGS.c.movie_id))
            return [Rated(*row) for row in found]

    def history(self, user: str) -> list[Change]:
        """Every change of a user's ratings, in the order they were made.

        Raises:
            DatabaseError: if the database cannot be reached.
        """
        query = select(*HISTORY.c["movie_id", "rating", "timestamp"]).where(HISTORY.c.user_id == user)
        with self._read() as connection:
            return [Change(*row) for row in connection.execute(query.order_by(HISTORY.c.id))]

    def delete_rating(self, user: str, movie: str, now: int | None = None) -> int:
        """Take a rating back; the change is kept. Returns 1, or 0 where there is no such rating.

        Raises:
            DatabaseError: if the database cannot be reached or written.
        """
        now = int(time.time()) if now is None else now
        with self._change(user) as connection:
            gone = connection.execute(
                delete(RATINGS).where(RATINGS.c.user_id == user, RATINGS.c.movie_id == movie)
            ).rowcount
            if gone:
                row = {"user_id": user, "movie_id": movie, "rating": None, "timestamp": now}
                connection.execute(insert(HISTORY), row)
        return gone

    def delete_user(self, user: str) -> int:
        """Remove everything about a user: ratings and every change of them. Returns the number of rows.

        Raises:
            DatabaseError: if the database cannot be reached or written.
        """
        with self._change(user) as connection:
            gone = sum(
                connection.execute(delete(table).where(table.c.user_id == user)).rowcount
                for table in metadata.sorted_tables
            )
        if self._engine.dialect.name == "sqlite":
            # What was deleted is zeros in the database file, but stays in the write-ahead log until that is cut.
            with database_errors(self.url), self._turn, self._engine.connect() as connection:
                connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def export(self, path: Path) -> int:
        """Write everyone's ratings as Parquet with `userId, movieId, rating, timestamp`, as of one moment.

        Returns:
            The number of rows; they are sorted by user and movie, and never all in memory.

        Raises:
            DatabaseError: if the database cannot be reached.
            OutputError: if the file cannot be written; it is then as it was before.
        """
        query, count = select(RATINGS).order_by(RATINGS.c.user_id, RATINGS.c.movie_id), 0
        with (
            new_file(path) as temporary,
            pq.ParquetWriter(temporary, EXPORTED, compression="zstd") as writer,
            self._read() as connection,
        ):
            for rows in connection.execution_options(yield_per=EXPORT_ROWS).execute(query).partitions():
                writer.write_table(pa.table(list(zip(*rows, strict=True)), schema=EXPORTED))
                count += len(rows)
        return count

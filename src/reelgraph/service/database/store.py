"""Reads and writes of the ratings that users give through the service."""

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import URL, Connection, Engine, delete, event, func, insert, or_, select, update

from reelgraph.errors import DatabaseError
from reelgraph.files import new_file
from reelgraph.service.database.connection import (
    HISTORY,
    LEARNER,
    LOCKS,
    RATINGS,
    READ_ONLY,
    SECRET,
    WAIT,
    database_errors,
    migrate,
    open_engine,
    shown,
)

Identity = tuple[int, int]  # device and inode of a file
EXPORT_ROWS = 65_536
EXPORT_SCHEMA = pa.schema([
    ("userId", pa.string()), ("movieId", pa.string()), ("rating", pa.float64()), ("timestamp", pa.int64()),
])  # fmt: skip


@dataclass(frozen=True)
class StoredRating:
    """A rating on the data's scale and when it was given, in seconds since 1970 (UTC)."""

    movie_id: str
    rating: float
    timestamp: int


@dataclass(frozen=True)
class WrittenRating(StoredRating):
    """A rating as stored by a write, and the rating that it replaced."""

    replaced: float | None


@dataclass(frozen=True)
class RatingChange:
    """A rating given or, if None, removed, and when, in seconds since 1970 (UTC)."""

    movie_id: str
    rating: float | None
    timestamp: int


class LostDatabaseError(DatabaseError):
    """The files of an SQLite database were deleted or replaced while it was open."""


class Store:
    """The database of ratings, for several threads and processes at once.

    All methods raise a DatabaseError if the database does not answer. A write returns once it is on disk.

    Args:
        url: its address; use `Store.open` to create or migrate it first.
        wait: seconds to wait for a lock or a free connection.
    """

    def __init__(self, url: URL, wait: float = WAIT) -> None:
        self.url = url
        self._engine: Engine = open_engine(url, wait)
        self._reader = self._engine.execution_options(**READ_ONLY)
        # SQLite lets writers sleep and retry in random order; a lock among threads is fair.
        self._lock = threading.Lock()
        self._deadline = math.inf
        self._identities: dict[str, Identity] = {}  # of SQLite's files by path; empty before the first connection
        if url.get_backend_name() == "sqlite":
            event.listen(self._engine, "connect", lambda *_: self._remember_files())

    @classmethod
    def open(cls, url: URL, *, create: bool = True) -> "Store":
        """Open a database and bring its schema up to date.

        Args:
            url: its address, see `connection.address`.
            create: whether to create an SQLite file that does not exist.

        Raises:
            DatabaseError: if it cannot be used.
            SchemaError: if its tables belong to a newer version or another program.
        """
        if not create and url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
            raise DatabaseError(f"database {shown(url)}: expected a file, found none", "check the path")
        migrate(url)
        return cls(url)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def until(self, deadline: float) -> "Store":
        """The same database for a caller that waits until `deadline` of `time.monotonic`.

        A write whose turn comes later is not made, since the caller may have asked for another one meanwhile.
        """
        store = copy(self)
        store._deadline = deadline
        return store

    def ping(self) -> None:
        """Check that the database answers."""
        with self._reading() as connection:
            connection.execute(select(1))

    def secret(self) -> bytes:
        """The secret that signs visitors' tokens."""
        with self._reading() as connection:
            return str(connection.scalar(select(SECRET.c.value))).encode()

    def put(self, user: str, ratings: Mapping[str, float], now: int | None = None) -> list[WrittenRating]:
        """Store a user's ratings, all or none; each replaces an earlier one of the same movie.

        Every change is kept in the history. A rating that is stored already changes nothing, not even its time, so
        that requests may be repeated.

        Args:
            user: the user's id.
            ratings: on the data's scale, by movie id.
            now: when they are given, in seconds since 1970 (UTC); by default the present time.
        """
        now = int(time.time()) if now is None else now
        with self._writing(user) as connection:
            query = select(*RATINGS.c["movie_id", "rating", "timestamp"])
            query = query.where(RATINGS.c.user_id == user, RATINGS.c.movie_id.in_(ratings))
            earlier = {movie: (rating, timestamp) for movie, rating, timestamp in connection.execute(query)}
            written, rows = [], []
            for movie, rating in ratings.items():
                replaced, timestamp = earlier.get(movie, (None, now))
                written.append(WrittenRating(movie, rating, timestamp if replaced == rating else now, replaced))
                if replaced != rating:
                    rows.append({"user_id": user, "movie_id": movie, "rating": rating, "timestamp": now})
            if rows:
                changed = [row["movie_id"] for row in rows]
                connection.execute(delete(RATINGS).where(RATINGS.c.user_id == user, RATINGS.c.movie_id.in_(changed)))
                connection.execute(insert(RATINGS), rows)
                connection.execute(insert(HISTORY), rows)
        return written

    def ratings(self, user: str) -> list[StoredRating]:
        """A user's present ratings, newest first."""
        query = select(*RATINGS.c["movie_id", "rating", "timestamp"]).where(RATINGS.c.user_id == user)
        query = query.order_by(RATINGS.c.timestamp.desc(), RATINGS.c.movie_id)
        with self._reading() as connection:
            return [StoredRating(*row) for row in connection.execute(query)]

    def history(self, user: str) -> list[RatingChange]:
        """All changes of a user's ratings, oldest first."""
        query = select(*HISTORY.c["movie_id", "rating", "timestamp"]).where(HISTORY.c.user_id == user)
        with self._reading() as connection:
            return [RatingChange(*row) for row in connection.execute(query.order_by(HISTORY.c.id))]

    def delete_rating(self, user: str, movie: str, now: int | None = None) -> int:
        """Delete a rating and keep the change in the history; returns 1, or 0 if there is no such rating."""
        now = int(time.time()) if now is None else now
        with self._writing(user) as connection:
            condition = (RATINGS.c.user_id == user, RATINGS.c.movie_id == movie)
            deleted = connection.execute(delete(RATINGS).where(*condition)).rowcount
            if deleted:
                row = {"user_id": user, "movie_id": movie, "rating": None, "timestamp": now}
                connection.execute(insert(HISTORY), row)
        return deleted

    def delete_user(self, user: str) -> int:
        """Delete a user's ratings and history; returns the number of rows."""
        with self._writing(user) as connection:
            tables = (RATINGS, HISTORY)
            deleted = sum(connection.execute(delete(table).where(table.c.user_id == user)).rowcount for table in tables)
        if self._engine.dialect.name == "sqlite":
            # Deleted rows are zeroed in the database file, but stay in the write-ahead log until it is truncated.
            with database_errors(self.url), self._lock, self._engine.connect() as connection:
                connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return deleted

    def export(self, path: Path) -> int:
        """Write all ratings of one moment as Parquet with `userId, movieId, rating, timestamp`.

        Rows are sorted by user and movie, and streamed, never all in memory. Returns their number.

        Raises:
            OutputError: if the file cannot be written; it is then as it was before.
        """
        query, count = select(RATINGS).order_by(RATINGS.c.user_id, RATINGS.c.movie_id), 0
        with (
            new_file(path) as temporary,
            pq.ParquetWriter(temporary, EXPORT_SCHEMA, compression="zstd") as writer,
            self._reading() as connection,
        ):
            for rows in connection.execution_options(yield_per=EXPORT_ROWS).execute(query).partitions():
                writer.write_table(pa.table(list(zip(*rows, strict=True)), schema=EXPORT_SCHEMA))
                count += len(rows)
        return count

    def position(self) -> int:
        """The number of the latest change; the difference of two is about the number of changes in between."""
        with self._reading() as connection:
            return int(connection.scalar(select(func.max(HISTORY.c.id))) or 0)

    def take_lease(self, holder: str, seconds: float) -> bool:
        """Let `holder` learn for the next `seconds`, or longer if it holds the lease; False while somebody else does.

        Of all servers of a database, one learns at a time. Who is killed keeps the lease until it expires.
        """
        with self._writing("") as connection:
            now = _clock(connection)
            free = or_(LEARNER.c.holder == holder, LEARNER.c.expires <= now)
            values = {"holder": holder, "expires": now + seconds}
            return bool(connection.execute(update(LEARNER).where(free).values(values)).rowcount)

    def end_lease(self, holder: str) -> None:
        """Let others learn, if it is `holder` who does."""
        with self._writing("") as connection:
            free = {"holder": None, "expires": 0.0}
            connection.execute(update(LEARNER).where(LEARNER.c.holder == holder).values(free))

    def learner(self) -> str | None:
        """Who learns at present, on any server of this database."""
        with self._reading() as connection:
            return connection.scalar(select(LEARNER.c.holder).where(LEARNER.c.expires > _clock(connection)))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self._check_files()
        with database_errors(self.url), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self, user: str) -> Iterator[Connection]:
        """A transaction that alone changes a user's rows, committed when the block succeeds."""
        lock = self._lock if self._engine.dialect.name == "sqlite" else nullcontext()
        self._check_files()
        with database_errors(self.url), lock, self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(LOCKS + 1, func.hashtext(user))))
            if time.monotonic() > self._deadline:
                raise DatabaseError(f"database {shown(self.url)}: expected a lock in time, found it too late")
            yield connection
        self._check_files()  # The commit went to deleted files if they were deleted meanwhile.

    def _remember_files(self) -> None:
        """Keep the identity of SQLite's files once a connection is open.

        Before, another process may still be the last one to close the database, and removes the write-ahead log.
        """
        for path, identity in self._files().items():
            if identity is not None:
                self._identities.setdefault(path, identity)

    def _check_files(self) -> None:
        """Raise an error if SQLite's files were deleted, replaced or emptied, since SQLite would go on without them."""
        files = self._files() if self._identities else {}
        if any(files[path] != identity for path, identity in self._identities.items()):
            raise LostDatabaseError(
                f"database {shown(self.url)}: expected the files that were opened, found them deleted, replaced or "
                "emptied",
                "restore the database and restart the service",
            )

    def _files(self) -> dict[str, Identity | None]:
        """The identity of the database and its log by path; None where there is no file, or an empty database."""
        found: dict[str, Identity | None] = {}
        for path in (str(self.url.database), f"{self.url.database}-wal"):
            found[path] = None
            with suppress(OSError):
                stat = Path(path).stat()
                if stat.st_size or path.endswith("-wal"):
                    found[path] = (stat.st_dev, stat.st_ino)
        return found


def _clock(connection: Connection) -> float:
    """The time of the database, in seconds since 1970: the clocks of its servers may differ."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())

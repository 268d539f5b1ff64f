"""The database of ratings: its address, an engine for it, its schema brought up to date, its errors as one line."""

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Double,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    column,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    table,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from reelgraph.errors import ConfigError, DatabaseError, SchemaError, SetupError
from reelgraph.service.settings import secret

REVISION = "2"  # the newest of `migrations`

metadata = MetaData()


# What a user's ratings are now: one row for a user and movie.
RATINGS = Table(
    "ratings",
    metadata,
    Column("user_id", String, primary_key=True),
    Column("movie_id", String, primary_key=True),
    Column("rating", Double, nullable=False),
    Column("timestamp", BigInteger, nullable=False),  # seconds since 1970, UTC
)


# Every change in the order it was made; a rating of null is one taken back.
HISTORY = Table(
    "history",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),  # SQLite counts plain integers only
    Column("user_id", String, nullable=False),
    Column("movie_id", String, nullable=False),
    Column("rating", Double),
    Column("timestamp", BigInteger, nullable=False),
    Index("history_user", "user_id"),
)


VARIABLE = "REELGRAPH_DATABASE"

MIGRATIONS = Path(__file__).with_name("migrations")

VERSION_TABLE = "reelgraph_schema"  # Another program's migrations may live in the same PostgreSQL database.

POOL = 8  # connections

WAIT = 5.0  # seconds for a lock, a free connection, or an answer of the server

MIGRATION_WAIT = 300.0  # seconds for another server that brings the schema up to date

READS = {"reads_only": True}  # execution option of a transaction that needs no lock

LOCKS = 1_919_248_230  # Advisory locks of one PostgreSQL database are shared by all its programs: ours begin with this.

_FORMS = "sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"

_DRIVERS = {"sqlite": "sqlite"} | dict.fromkeys(("postgresql+psycopg", "postgresql", "postgres"), "postgresql+psycopg")

_SECRET = {"password", "sslpassword"}  # libpq takes them as parameters, too


def address(given: str | None, beside: Path | None = None, environment: Mapping[str, str] | None = None) -> URL:
    """The database that is meant.

    Args:
        given: a URL, the path of an SQLite file, `env:NAME` for a variable or `file:PATH` for a file with a URL in it,
            or None for the variable REELGRAPH_DATABASE or the file that REELGRAPH_DATABASE_FILE names.
        beside: the model beside which an SQLite file is kept when nothing else says where.
        environment: the environment, that of this process when not given.

    Raises:
        ConfigError: if it is no such address, or if a password is part of `given`, which others can read. Messages
            never hold an address.
    """
    environment = os.environ if environment is None else environment
    if given is None and (text := secret(environment, VARIABLE)) is not None:
        return _parse(text, VARIABLE)
    if given is None and beside is not None:
        whole = Path(os.path.abspath(beside))  # noqa: PTH100 (a link to the newest model stays one)
        return URL.create("sqlite", database=str(whole.with_name(f"{whole.name}.ratings.sqlite")))
    if given is None:
        raise ConfigError(f"expected a database, found neither --database nor {VARIABLE}", f"give --database {_FORMS}")
    kind, _, rest = given.partition(":")
    if kind == "env":
        return _parse(secret(environment, rest) or "", f"the variable {rest}")
    if kind == "file":
        try:
            return _parse(Path(rest).read_text(encoding="utf-8").strip(), rest)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--database: expected a text file, found {error}", "name a file to read") from None
    url = _parse(given, "--database")
    if url.password is not None or _SECRET & set(url.query):
        raise ConfigError(
            "--database: expected an address without a password, found one, which every user of this machine can read "
            "in the list of processes",
            f"put it into the variable {VARIABLE}, or into a file for --database file:PATH, or into ~/.pgpass",
        )
    return url


def _parse(text: str, where: str) -> URL:
    wrong = ConfigError(f"{where}: expected {_FORMS}, found something else", "correct the address")
    if text and ":" not in text:
        return URL.create("sqlite", database=text)
    try:
        url = make_url(text)
        driver = _DRIVERS[url.drivername]
    except (ArgumentError, KeyError, ValueError):
        raise wrong from None
    if driver == "sqlite" and url.database in (None, "", ":memory:"):
        raise wrong
    return url.set(drivername=driver)


def shown(url: URL) -> str:
    """A database by what tells it from others, without anything secret."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    host = url.host or next(iter(_texts(url.query.get("host"))), "localhost")
    return f"{url.get_backend_name()}://{host}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def _texts(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value or ()


@contextmanager
def database_errors(url: URL) -> Iterator[None]:
    """Turn what SQLAlchemy says about a database into one clear line without its password or anybody's ratings.

    Raises:
        DatabaseError: for any error of SQLAlchemy inside the block.
    """
    try:
        yield
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        said = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
        for hidden in (url.password, *(text for name in _SECRET for text in _texts(url.query.get(name)))):
            said = said.replace(str(hidden), "***") if hidden else said
        raise DatabaseError(
            f"database {shown(url)}: expected an answer, found {said}", "see that it runs, has room, and may be written"
        ) from None


def open_engine(url: URL, wait: float = WAIT) -> Engine:
    """An engine whose every commit is on disk when it returns, and that gives up after `wait` seconds.

    Raises:
        SetupError: if the driver of PostgreSQL is not installed.
    """
    limits: dict[str, Any] = {"pool_size": POOL, "max_overflow": 0, "pool_timeout": wait, "hide_parameters": True}
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": wait}, **limits)
        event.listen(engine, "connect", lambda connection, _: _set_sqlite(connection, wait))
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    milliseconds, name = round(1000 * wait), "'synchronous_commit'"
    connecting = {
        "application_name": "reelgraph", "connect_timeout": round(WAIT), "tcp_user_timeout": round(1000 * WAIT),
        "keepalives_idle": round(WAIT), "keepalives_interval": 1, "keepalives_count": 5,
    }  # fmt: skip
    try:
        engine = create_engine(url, connect_args=connecting, pool_pre_ping=True, **limits)
    except ImportError as error:
        remedy = "pip install 'reelgraph[postgresql]'"
        raise SetupError(f"--database: expected psycopg for PostgreSQL, found {error}", remedy) from None

    def set_postgresql(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", (f"{milliseconds}ms",))
            # Where a server or role has turned it off, an acknowledged rating could be lost with the machine.
            cursor.execute(f"SELECT set_config({name}, 'on', false) WHERE current_setting({name}) = 'off'")
        connection.commit()

    event.listen(engine, "connect", set_postgresql)
    return engine


def _set_sqlite(connection: sqlite3.Connection, wait: float) -> None:
    connection.isolation_level = None  # `_begin_sqlite` begins transactions, not the driver, which does so too late.
    for setting in ("synchronous = FULL", "secure_delete = ON"):
        connection.execute(f"PRAGMA {setting}")
    until = time.monotonic() + wait
    while True:  # Here SQLite does not wait for others, such as another server that makes the same new file.
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that begins by reading and then writes is refused when another one wrote in between; one that
    # announces its writing waits for its turn.
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("reads_only") else "BEGIN IMMEDIATE")


def migrate(url: URL) -> None:
    """Bring the schema up to date in one transaction; several servers that start at once take turns.

    Raises:
        DatabaseError: if it cannot be reached.
        SchemaError: if it is of a newer schema, or holds tables of another program.
    """
    if url.get_backend_name() == "sqlite":
        with suppress(OSError):  # SQLite says better what is wrong. It would let all users read a file that it makes.
            os.close(os.open(str(url.database), os.O_CREAT | os.O_RDONLY, 0o600))
    engine = open_engine(url, MIGRATION_WAIT)
    try:
        with database_errors(url), engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(LOCKS, 0)))
            tables = set(inspect(connection).get_table_names())
            version = table(VERSION_TABLE, column("version_num", String))
            found = connection.scalar(select(version.c.version_num)) if VERSION_TABLE in tables else None
            if found != REVISION:
                _upgrade(connection, found, shown(url), sorted(tables & metadata.tables.keys()))
    finally:
        engine.dispose()


def _upgrade(connection: Connection, found: str | None, where: str, ours: list[str]) -> None:
    """Go from a schema, None for none yet, to the newest; `ours` are tables there that are named like ours."""
    from alembic import command  # noqa: PLC0415 (slow to import, and needed once in the life of a database)
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise SchemaError(
            f"database {where}: expected a schema of at most {REVISION}, found {found}",
            "install the newer reelgraph that made it",
        )
    if found is None and ours:
        raise SchemaError(
            f"database {where}: expected an empty database or reelgraph's, found a table {ours[0]} of another program",
            "give reelgraph a database of its own",
        )
    config.attributes.update(connection=connection, version_table=VERSION_TABLE)
    command.upgrade(config, "head")

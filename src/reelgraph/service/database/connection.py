"""Address, engine, schema and error messages of the database of ratings."""

import os
import secrets
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
    insert,
    inspect,
    make_url,
    select,
    table,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from reelgraph.errors import ConfigError, DatabaseError, SchemaError, SetupError
from reelgraph.service.settings import secret

VARIABLE = "REELGRAPH_DATABASE"
POOL = 8  # connections
WAIT = 5.0  # seconds for a lock, a free connection, or an answer of the server
MIGRATION_WAIT = 300.0  # seconds for another server that migrates the schema
READ_ONLY = {"reads_only": True}  # execution options of a transaction that needs no write lock
LOCKS = 1_919_248_230  # class of our advisory locks, which all programs of a PostgreSQL database share
MIGRATIONS = Path(__file__).with_name("migrations")
REVISION = "4"  # the newest migration
VERSION_TABLE = "reelgraph_schema"  # other programs may keep their migrations in the same PostgreSQL database
metadata = MetaData()

# The present ratings.
RATINGS = Table(
    "ratings",
    metadata,
    Column("user_id", String, primary_key=True),
    Column("movie_id", String, primary_key=True),
    Column("rating", Double, nullable=False),
    Column("timestamp", BigInteger, nullable=False),  # seconds since 1970, UTC
)

# All changes in their order; a removed rating is null.
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

# One row: the secret that signs visitors' tokens, shared by all servers on this database.
SECRET = Table("reelgraph_secret", metadata, Column("value", String, primary_key=True))

# One row: the process that learns from the ratings, if any, and until when nobody else does, by the database's clock.
LEARNER = Table("reelgraph_learner", metadata, Column("holder", String), Column("expires", Double, nullable=False))
_FORMS = "sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
_DRIVERS = {"sqlite": "sqlite"} | dict.fromkeys(("postgresql+psycopg", "postgresql", "postgres"), "postgresql+psycopg")
_PASSWORDS = {"password", "sslpassword"}  # libpq also takes them as URL parameters


def address(given: str | None, beside: Path | None = None, environment: Mapping[str, str] | None = None) -> URL:
    """The database's address.

    Args:
        given: a URL, the path of an SQLite file, `env:NAME` for a variable or `file:PATH` for a file that contains a
            URL. By default the variable REELGRAPH_DATABASE, or the file that REELGRAPH_DATABASE_FILE names.
        beside: a model; without any other address, the database is an SQLite file beside it.
        environment: by default that of the process.

    Raises:
        ConfigError: if it is not an address, or if `given`, which other users can read, contains a password. Messages
            never contain an address.
    """
    environment = os.environ if environment is None else environment
    if given is None and (text := secret(environment, VARIABLE)) is not None:
        return _parse(text, VARIABLE)
    if given is None and beside is not None:
        model = Path(os.path.abspath(beside))  # noqa: PTH100 (must not resolve a link to the newest model)
        return URL.create("sqlite", database=str(model.with_name(f"{model.name}.ratings.sqlite")))
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
    if url.password is not None or _PASSWORDS & set(url.query):
        raise ConfigError(
            "--database: expected an address without a password, found one, which every user of this machine can read "
            "in the list of processes",
            f"put it into the variable {VARIABLE}, into a file for --database file:PATH, or into ~/.pgpass",
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
    """A database's name for messages, without secrets."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    host = url.host or next(iter(_texts(url.query.get("host"))), "localhost")
    return f"{url.get_backend_name()}://{host}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def _texts(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value or ()


@contextmanager
def database_errors(url: URL) -> Iterator[None]:
    """Turn SQLAlchemy's errors into a one-line DatabaseError without passwords or ratings."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        message = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
        for text in (url.password, *(text for name in _PASSWORDS for text in _texts(url.query.get(name)))):
            message = message.replace(str(text), "***") if text else message
        raise DatabaseError(
            f"database {shown(url)}: expected an answer, found {message}",
            "check that it runs, has free space and can be written",
        ) from None


def open_engine(url: URL, wait: float = WAIT) -> Engine:
    """An engine whose commits are on disk when they return, and that gives up after `wait` seconds.

    Raises:
        SetupError: if the PostgreSQL driver is not installed.
    """
    pool: dict[str, Any] = {"pool_size": POOL, "max_overflow": 0, "pool_timeout": wait, "hide_parameters": True}
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": wait}, **pool)
        event.listen(engine, "connect", lambda connection, _: _set_sqlite(connection, wait))
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    milliseconds, name = round(1000 * wait), "'synchronous_commit'"
    arguments = {
        "application_name": "reelgraph", "connect_timeout": round(WAIT), "tcp_user_timeout": round(1000 * WAIT),
        "keepalives_idle": round(WAIT), "keepalives_interval": 1, "keepalives_count": 5,
    }  # fmt: skip
    try:
        engine = create_engine(url, connect_args=arguments, pool_pre_ping=True, **pool)
    except ImportError as error:
        remedy = "pip install 'reelgraph[postgresql]'"
        raise SetupError(f"--database: expected psycopg for PostgreSQL, found {error}", remedy) from None

    def set_postgresql(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", (f"{milliseconds}ms",))
            # A server or role may have turned it off, and then a crash could lose acknowledged ratings.
            cursor.execute(f"SELECT set_config({name}, 'on', false) WHERE current_setting({name}) = 'off'")
        connection.commit()

    event.listen(engine, "connect", set_postgresql)
    return engine


def _set_sqlite(connection: sqlite3.Connection, wait: float) -> None:
    connection.isolation_level = None  # `_begin_sqlite` begins transactions; the driver would do so too late.
    for setting in ("synchronous = FULL", "secure_delete = ON"):
        connection.execute(f"PRAGMA {setting}")
    deadline = time.monotonic() + wait
    while True:  # SQLite's own timeout does not apply here, for example while another server creates the file.
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and then writes fails if another one wrote in between; one that takes the write
    # lock at its beginning waits for its turn.
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("reads_only") else "BEGIN IMMEDIATE")


def migrate(url: URL) -> None:
    """Bring the schema up to date in one transaction; servers that start at once take turns.

    Raises:
        DatabaseError: if the database does not answer.
        SchemaError: if its tables belong to a newer version or another program.
    """
    if url.get_backend_name() == "sqlite":
        # SQLite would create a file that all users can read. It also has the better message if this fails.
        with suppress(OSError):
            os.close(os.open(str(url.database), os.O_CREAT | os.O_RDONLY, 0o600))
    engine = open_engine(url, MIGRATION_WAIT)
    try:
        with database_errors(url), engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(LOCKS, 0)))
            tables = set(inspect(connection).get_table_names())
            version = table(VERSION_TABLE, column("version_num", String))
            revision = connection.scalar(select(version.c.version_num)) if VERSION_TABLE in tables else None
            if revision != REVISION:
                _upgrade(connection, revision, shown(url), sorted(tables & metadata.tables.keys()))
            if connection.scalar(select(SECRET.c.value)) is None:
                connection.execute(insert(SECRET).values(value=secrets.token_hex(32)))
    finally:
        engine.dispose()


def _upgrade(connection: Connection, revision: str | None, where: str, same_names: list[str]) -> None:
    """Upgrade from `revision`, None for an empty database; `same_names` are existing tables with names of ours."""
    from alembic import command  # noqa: PLC0415 (slow to import, and rarely needed)
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaError(
            f"database {where}: expected a schema of at most {REVISION}, found {revision}",
            "install the newer reelgraph that created it",
        )
    if revision is None and same_names:
        raise SchemaError(
            f"database {where}: expected an empty database or reelgraph's, found a table {same_names[0]} of another "
            "program",
            "give reelgraph a database of its own",
        )
    config.attributes.update(connection=connection, version_table=VERSION_TABLE)
    command.upgrade(config, "head")

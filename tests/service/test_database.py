"""Addresses, schema migrations, and error messages of the database of ratings."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, create_engine, inspect, make_url, text

from reelgraph.errors import ConfigError, DatabaseError, SchemaError, SetupError
from reelgraph.service.database.connection import (
    MIGRATIONS,
    REVISION,
    VERSION_TABLE,
    address,
    metadata,
    migrate,
    open_engine,
    shown,
)
from reelgraph.service.database.store import RatingChange, Store, StoredRating
from tests.support.databases import FAST, PASSWORD, PostgreSQL, postgresql

SERVER = "postgresql+psycopg://ann@db.example:5433/films"
SECRET = "postgresql://ann:s3cret@db.example/films"
ALSO_SECRET = "postgresql://ann@db.example/films?password=s3cret"


def test_forms_of_addresses(tmp_path: Path) -> None:
    assert address("sqlite:///some/r.sqlite", None, {}).database == "some/r.sqlite"
    assert address("some/r.sqlite", None, {}) == make_url("sqlite:///some/r.sqlite")
    assert address(SERVER, None, {}) == make_url(SERVER)
    for other in ("postgresql", "postgres"):
        assert address(SERVER.replace("postgresql+psycopg", other), None, {}) == make_url(SERVER)
    with_password = make_url(SECRET).set(drivername="postgresql+psycopg")
    (tmp_path / "url").write_text(f"{SECRET}\n")
    addresses = [
        address("env:FILMS", None, {"FILMS": SECRET}),
        address(None, None, {"REELGRAPH_DATABASE": SECRET}),
        address(None, None, {"REELGRAPH_DATABASE_FILE": str(tmp_path / "url")}),
        address(f"file:{tmp_path}/url", None, {}),
    ]
    assert addresses == [with_password] * 4
    assert address(SERVER, Path("m"), {"REELGRAPH_DATABASE": SECRET}) == make_url(SERVER), "what is given counts first"


def test_the_default_database_is_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model-7").mkdir()
    (tmp_path / "newest").symlink_to("model-7")
    assert address(None, tmp_path / "newest", {}).database == str(tmp_path / "newest.ratings.sqlite"), (
        "not of one model"
    )
    monkeypatch.chdir(tmp_path / "model-7")
    assert address(None, Path(), {}).database == str(tmp_path / "model-7.ratings.sqlite")


@pytest.mark.parametrize("given", [SECRET, ALSO_SECRET])
def test_a_password_on_the_command_line_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="without a password") as refused:
        address(given, None, {})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("given", ["env:NOTHING", "file:/nowhere/at/all", None])
def test_a_missing_address_is_refused(given: str | None) -> None:
    with pytest.raises(ConfigError, match="expected"):
        address(given, None, {})


@pytest.mark.parametrize(
    "text",
    [
        "mysql://ann:s3cret@h/d", "postgresql+asyncpg://ann:s3cret@h/d", "sqlite://", "sqlite+aiosqlite:///s3cret.db",
        "http://s3cret", "postgresql://h:s3cret/d", "://s3cret", "postgresql:/ann:s3cret@h/d", "sqlite:///:memory:",
    ],
)  # fmt: skip
def test_other_addresses_are_refused_without_being_shown(text: str) -> None:
    for given, environment in ((text, {}), (None, {"REELGRAPH_DATABASE": text})):
        with pytest.raises(ConfigError, match="expected sqlite:///FILE or postgresql") as refused:
            address(given, None, environment)
        assert "s3cret" not in str(refused.value)


def test_shown_addresses_have_no_secrets() -> None:
    assert shown(make_url(SECRET)) == shown(make_url(ALSO_SECRET)) == "postgresql://db.example/films"
    assert shown(make_url("postgresql://ann@/films?host=/run/pg")) == "postgresql:///run/pg/films"
    assert shown(make_url(SERVER)) == "postgresql://db.example:5433/films"
    assert shown(make_url("sqlite:////var/r.sqlite")) == "/var/r.sqlite"


def schema_of(url: URL) -> list[tuple[object, ...]]:
    """Tables, columns, keys and indexes of a database."""
    engine = create_engine(url)
    inspector = inspect(engine)
    parts: list[tuple[object, ...]] = [
        (name, str(inspector.get_columns(name)), inspector.get_pk_constraint(name), inspector.get_indexes(name))
        for name in sorted(inspector.get_table_names())
    ]
    engine.dispose()
    return parts


def to_revision(url: URL, revision: str) -> None:
    """Create an older schema in an empty database."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes.update(connection=connection, version_table=VERSION_TABLE)
        command.upgrade(config, revision)
    engine.dispose()


def run(url: URL, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_the_migrated_schema_matches_the_tables(database: URL) -> None:
    migrate(database)
    engine = create_engine(database)
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    engine.dispose()


def test_every_older_schema_is_migrated_with_its_ratings(new_database: Callable[[], URL]) -> None:
    """Migrating an empty database and each revision, twice, gives the same tables and loses nothing."""
    script = ScriptDirectory(str(MIGRATIONS))
    revisions = [script_revision.revision for script_revision in script.walk_revisions()][::-1]
    assert (revisions, script.get_current_head()) == (["1", "2", "3", "4"], REVISION)
    database, another = new_database(), new_database()
    migrate(another)
    to_revision(database, "1")
    run(database, "INSERT INTO ratings VALUES ('b', '1', 2.5, 200), ('a', '1', 1.5, 300), ('b', '2', 4, 100)")
    for _ in range(2):
        migrate(database)
    assert schema_of(database) == schema_of(another)
    store = Store.open(database)
    assert store.ratings("b") == [StoredRating("1", 2.5, 200), StoredRating("2", 4.0, 100)]
    assert store.history("b") == [RatingChange("2", 4.0, 100), RatingChange("1", 2.5, 200)]
    assert store.put("b", {"1": 3.0}, 400)[0].replaced == 2.5
    assert store.history("b")[-1] == RatingChange("1", 3.0, 400)
    store.close()


def test_a_failed_migration_changes_nothing(database: URL) -> None:
    to_revision(database, "1")
    run(database, "CREATE VIEW history_user AS SELECT 1", "INSERT INTO ratings VALUES ('a', '1', 1, 1)")
    before = schema_of(database)
    with pytest.raises(DatabaseError):
        migrate(database)
    assert schema_of(database) == before
    run(database, "DROP VIEW history_user")
    migrate(database)


def test_a_newer_schema_is_refused_in_one_line(database: URL) -> None:
    migrate(database)
    run(database, f"UPDATE {VERSION_TABLE} SET version_num = '17'")
    before = schema_of(database)
    with pytest.raises(SchemaError, match="expected a schema of at most 4, found 17; install the newer") as refused:
        Store.open(database)
    assert "\n" not in str(refused.value)
    assert schema_of(database) == before


def test_tables_of_another_program_are_refused_and_kept(database: URL) -> None:
    run(database, "CREATE TABLE ratings (product INTEGER, points INTEGER)", "INSERT INTO ratings VALUES (1, 2)")
    before = schema_of(database)
    with pytest.raises(SchemaError, match="found a table ratings of another program"):
        Store.open(database)
    assert schema_of(database) == before


def open_and_write(job: tuple[URL, str]) -> None:
    store = Store.open(job[0])
    store.put(job[1], {"1": 1.0})
    store.close()


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("start", ["empty", "1"])
def test_concurrent_starts_migrate_once(database: URL, start: str, processes: ProcessPoolExecutor) -> None:
    if start != "empty":
        to_revision(database, start)
    jobs = [(database, f"user {number}") for number in range(8)]
    list(processes.map(open_and_write, jobs))
    store = Store.open(database)
    assert [len(store.ratings(user)) for _, user in jobs] == [1] * 8
    store.close()


def test_every_commit_is_on_disk(tmp_path: Path, postgresql_server: PostgreSQL) -> None:
    sqlite = open_engine(URL.create("sqlite", database=str(tmp_path / "r.sqlite")))
    with sqlite.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}
    sqlite.dispose()
    for set_to, expected in (("off", "on"), ("remote_apply", "remote_apply"), ("on", "on")):
        url = postgresql_server.database()
        postgresql_server.execute(f"ALTER DATABASE {url.database} SET synchronous_commit = {set_to}")
        engine = open_engine(url)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == expected
        engine.dispose()


def test_only_the_owner_can_read_a_new_file(tmp_path: Path) -> None:
    store = Store.open(URL.create("sqlite", database=str(tmp_path / "r.sqlite")))
    store.put("ann", {"1": 1.0})
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == dict.fromkeys(
        ("r.sqlite", "r.sqlite-shm", "r.sqlite-wal"), 0o600
    )
    store.close()


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SetupError, match=r"expected psycopg for PostgreSQL, found .*reelgraph\[postgresql\]"):
        Store.open(make_url(SERVER))


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database " * 100)
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (tmp_path / "text", folder, tmp_path / "nowhere" / "r.sqlite"):
        with pytest.raises(DatabaseError) as refused:
            Store.open(URL.create("sqlite", database=str(path)))
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)
    with pytest.raises(DatabaseError, match="expected a file, found none"):
        Store.open(URL.create("sqlite", database=str(tmp_path / "none")), create=False)
    assert not (tmp_path / "none").exists()


@pytest.mark.postgresql
def test_a_store_reconnects_to_a_restarted_server() -> None:
    with postgresql(*FAST) as server:
        url = server.database()
        store = Store.open(url)
        store.put("ann", {"1": 1.0})
        server.stop()
        for ask in (
            store.ping,
            lambda: store.put("ann", {"1": 2.0}),
            lambda: store.ratings("ann"),
            lambda: Store.open(url),
        ):
            with pytest.raises(DatabaseError) as refused:
                ask()
            assert PASSWORD not in str(refused.value)
            assert "\n" not in str(refused.value)
        server.start()
        store.ping()
        assert [rated.rating for rated in store.ratings("ann")] == [1.0]
        wrong = url.set(password="a wrong one")
        with pytest.raises(DatabaseError, match="password authentication failed") as refused:
            Store.open(wrong)
        assert "a wrong one" not in str(refused.value)
        store.close()

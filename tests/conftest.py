"""Fixtures that several test files share."""

import gc
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.support.clusters import Cluster, running_cluster, running_connect_server, settings
from tests.support.commands import CommandLine, command_line
from tests.support.databases import FAST, PostgreSQL, postgresql
from tests.support.worlds import write_files

pytest_plugins = ("tests.support.serving",)

gc.set_threshold(100_000)  # see `pytest_collection_finish`

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs with Ctrl-C ignored. The commands that tests interrupt must not inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Fixtures that start a program of the system, or take long; a test that uses one of them gets the marker of that name.
PROGRAMS = {
    "spark": {"standalone", "connect_server", "no_workers", "spark", "open_session", "session"},
    "browser": {"browser", "call"},
    "postgresql": {"postgresql_server"},
    "slow": {"reader", "site", "wheel", "proxied"},
}
# The files that take longest start first, so that the processes of pytest-xdist end at about the same time.
LONGEST = (
    "training/test_processes.py", "doctor/test_doctor_on_spark.py", "spark/test_lists.py", "data/test_parity.py",
    "service/test_durability.py", "spark/test_prepare_on_a_cluster.py", "docs/test_pages.py", "bench/test_compare.py",
    "engines/test_engine_opening.py", "page/test_walk.py", "bench/test_methods.py", "cli/test_commands.py",
    "bench/test_scale.py", "service/test_fuzz.py", "service/test_process.py", "cli/test_model_commands.py",
    "service/test_learning.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need Spark, a browser or PostgreSQL, and put the longest files first."""
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        values = getattr(item, "callspec", None)
        for name, fixtures in PROGRAMS.items():
            if used & fixtures or (values and values.params.get("new_database") == name):
                item.add_marker(name)
    order = {name: place for place, name in enumerate(LONGEST)}
    tests = Path(__file__).parent
    items.sort(key=lambda item: order.get(item.path.relative_to(tests).as_posix(), len(order)))


def pytest_collection_finish() -> None:
    """Leave the objects of modules and tests out of garbage collection, which took a tenth of the time."""
    gc.freeze()


@pytest.fixture(scope="session")
def movielens() -> Path:
    """The directory with ml-100k, ml-1m and ml-latest-small."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("REELGRAPH_DATA", beside))
    if not (folder / "ml-latest-small" / "ratings.csv").is_file():
        pytest.fail(
            f"{folder}: expected the MovieLens folders ml-100k, ml-1m and ml-latest-small; "
            "set REELGRAPH_DATA to the folder that holds a copy of them"
        )
    return folder


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ratings.csv, movies.csv and users.csv of 60 users and 80 movies; tests must not change it."""
    return write_files(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="session")
def model_dir(tables: Path, command: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model trained on `tables` by the command line; tests must not change it."""
    out = tmp_path_factory.mktemp("model") / "model"
    done = command("train", tables, "--max-steps", 60, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def command() -> Iterator[CommandLine]:
    """The command line, as a function of its arguments."""
    with command_line() as command:
        yield command


@pytest.fixture(scope="session", autouse=True)
def no_wait_for_the_disk() -> Iterator[None]:
    """Files count as written before the disk has them: the tests end processes of ours, never the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def spark_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every Spark that a test or its commands start is small and listens on loopback only."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings(tmp_path_factory.mktemp("spark") / "conf").items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster behind `cluster`, started for the first test that needs it."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(standalone: Cluster) -> Cluster:
    """A Spark cluster on this machine: a master and two free workers, repaired after the test before."""
    standalone.mend()
    return standalone


@pytest.fixture(scope="session")
def connect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Spark Connect server on this machine, `sc://127.0.0.1:port`."""
    with running_connect_server(tmp_path_factory.mktemp("connect")) as (address, _):
        yield address


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """A real PostgreSQL server."""
    with postgresql(*FAST) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], URL]:
    """Makes empty databases; a test that uses it, or `database`, runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return lambda: URL.create("sqlite", database=str(Path(tempfile.mkdtemp(dir=tmp_path)) / "ratings.sqlite"))
    server: PostgreSQL = request.getfixturevalue("postgresql_server")
    return server.database


@pytest.fixture
def database(new_database: Callable[[], URL]) -> URL:
    """A new, empty database."""
    return new_database()

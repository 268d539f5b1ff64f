"""Reads and writes of the store, on SQLite and PostgreSQL, sequential and concurrent."""

import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import URL, create_engine, text

from reelgraph.errors import DatabaseError, OutputError
from reelgraph.service.database import store as module
from reelgraph.service.database.connection import POOL
from reelgraph.service.database.store import RatingChange, Store, StoredRating, WrittenRating
from tests.support.serving import until

Result = TypeVar("Result")
UNUSUAL = (
    "Zoë", "Жанна", "李雷", "👩\u200d👩\u200d👧", "o'hara", 'a "quoted" one', "a,b;c\\d", "'; DROP TABLE ratings; --",
    "100 %", "%", "_", " spaced ", "null", "NaN", "0012", "1e5", "a" * 200, "e\u0301", "\u00e9", "user", "USER",
)  # fmt: skip


@pytest.fixture
def store(database: URL) -> Iterator[Store]:
    opened = Store.open(database)
    yield opened
    opened.close()


def test_a_rating_is_kept_replaced_and_repeated(store: Store) -> None:
    assert store.put("ann", {"31": 4.5}, now=100) == [WrittenRating("31", 4.5, 100, None)]
    assert store.put("ann", {"31": 2.0}, now=200) == [WrittenRating("31", 2.0, 200, 4.5)]
    assert store.put("ann", {"31": 2.0}, now=300) == [WrittenRating("31", 2.0, 200, 2.0)], "repeated: nothing changes"
    assert store.ratings("ann") == [StoredRating("31", 2.0, 200)]
    assert store.history("ann") == [RatingChange("31", 4.5, 100), RatingChange("31", 2.0, 200)]
    assert (store.ratings("bob"), store.history("bob")) == ([], [])


def test_batches(store: Store) -> None:
    store.put("ann", {"1": 1.0, "2": 2.0}, now=100)
    written = store.put("ann", {"3": 3.0, "2": 2.0, "1": 5.0}, now=200)
    assert written == [
        WrittenRating("3", 3.0, 200, None),
        WrittenRating("2", 2.0, 100, 2.0),
        WrittenRating("1", 5.0, 200, 1.0),
    ]
    assert store.ratings("ann") == [
        StoredRating("1", 5.0, 200),
        StoredRating("3", 3.0, 200),
        StoredRating("2", 2.0, 100),
    ]
    many = {str(number): float(number % 5) for number in range(5000)}
    store.put("bob", many, now=100)
    assert {rated.movie_id: rated.rating for rated in store.ratings("bob")} == many
    assert store.put("bob", {}) == []


def test_batches_are_atomic(store: Store) -> None:
    store.put("ann", {"1": 1.0}, now=100)
    with pytest.raises(DatabaseError) as refused:
        store.put("ann", {"1": 2.0, "2": 3.0, "3": object()}, now=200)  # type: ignore[dict-item]
    assert "\n" not in str(refused.value)
    assert store.ratings("ann") == [StoredRating("1", 1.0, 100)]
    assert store.history("ann") == [RatingChange("1", 1.0, 100)]


def test_delete_a_rating(store: Store) -> None:
    store.put("ann", {"1": 1.0, "2": 2.0}, now=100)
    store.put("bob", {"1": 5.0}, now=100)
    assert [store.delete_rating("ann", "1", now=200), store.delete_rating("ann", "1", now=300)] == [1, 0]
    assert store.ratings("ann") == [StoredRating("2", 2.0, 100)]
    assert store.history("ann")[-1] == RatingChange("1", None, 200)
    assert len(store.history("ann")) == 3
    assert store.put("ann", {"1": 1.0}, now=400) == [WrittenRating("1", 1.0, 400, None)]
    assert store.ratings("bob") == [StoredRating("1", 5.0, 100)]


def test_delete_a_user(store: Store) -> None:
    store.put("ann", {"1": 1.0, "2": 2.0}, now=100)
    store.put("ann", {"1": 3.0}, now=200)
    store.delete_rating("ann", "2", now=300)
    store.put("ann'", {"1": 4.0}, now=300)
    assert store.delete_user("ann") == 1 + 4, "one rating and four changes"
    assert (store.ratings("ann"), store.history("ann")) == ([], [])
    assert store.delete_user("ann") == 0
    assert store.ratings("ann'") == [StoredRating("1", 4.0, 300)]


def test_deleted_users_leave_nothing_in_the_files(tmp_path: Path) -> None:
    store = Store.open(URL.create("sqlite", database=str(tmp_path / "r.sqlite")))
    store.put("someone-who-leaves", {"1": 1.0}, now=100)
    store.put("someone-who-stays", {"1": 1.0}, now=100)
    store.delete_user("someone-who-leaves")
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"someone-who-stays" in content
    assert b"someone-who-leaves" not in content
    store.close()


def test_unusual_ids_and_values(store: Store, tmp_path: Path) -> None:
    kept = {user: {movie: 0.5 + place for place, movie in enumerate(UNUSUAL)} for user in UNUSUAL}
    for user, stars in kept.items():
        store.put(user, stars, now=2**40)
    assert {user: {rated.movie_id: rated.rating for rated in store.ratings(user)} for user in UNUSUAL} == kept
    assert store.export(tmp_path / "all.parquet") == len(UNUSUAL) ** 2
    rows = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert {user: {row["movieId"]: row["rating"] for row in rows if row["userId"] == user} for user in UNUSUAL} == kept
    assert {row["timestamp"] for row in rows} == {2**40}
    assert store.delete_user("%") == 2 * len(UNUSUAL)
    assert len(store.ratings("_")) == len(UNUSUAL)


def test_exports_in_several_blocks_are_complete(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXPORT_ROWS", 7)
    for user in ("b", "a"):
        store.put(user, {f"{movie:02}": movie / 2 for movie in range(25)}, now=int(user, 16))
    path = tmp_path / "all.parquet"
    assert store.export(path) == 50
    table = pq.read_table(path)
    assert table.schema.names == ["userId", "movieId", "rating", "timestamp"]
    assert table.to_pylist() == [
        {"userId": user, "movieId": f"{movie:02}", "rating": movie / 2, "timestamp": int(user, 16)}
        for user in ("a", "b")
        for movie in range(25)
    ]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_empty_exports(store: Store, tmp_path: Path) -> None:
    assert store.export(tmp_path / "none.parquet") == 0
    assert pq.read_table(tmp_path / "none.parquet").schema == module.EXPORT_SCHEMA


def test_failed_exports_keep_the_old_file(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    path.write_text("older")
    engine = create_engine(store.url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE ratings"))
    engine.dispose()
    with pytest.raises(DatabaseError):
        store.export(path)
    assert path.read_text() == "older"
    with pytest.raises(OutputError):
        store.export(tmp_path / "nowhere" / "all.parquet")


def at_once(works: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run functions in threads that start together."""
    together = threading.Barrier(len(works))

    def run(work: Callable[[], Result]) -> Result:
        together.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(run, works))


def test_concurrent_replacements_have_one_order(store: Store) -> None:
    """Two servers with more threads than connections make changes in one order, and none is overlooked."""
    other = Store(store.url)
    values = [float(number) for number in range(3 * POOL)]
    written = at_once([partial((store, other)[int(value) % 2].put, "ann", {"1": value}) for value in values])
    changes = [change.rating for change in store.history("ann") if change.rating is not None]
    assert sorted(changes) == values, "each change is kept"
    assert [rated.rating for rated in store.ratings("ann")] == changes[-1:], "the last one counts"
    seen = {(rating.replaced, rating.rating) for (rating,) in written}
    assert seen == {(None, changes[0]), *pairwise(changes)}, "each says truly what it replaced"
    other.close()


def test_deletion_during_writes(store: Store) -> None:
    """In any order, present ratings match the history since the last deletion."""

    def rate(first: int) -> None:
        for number in range(first, first + 8):
            store.put("ann", {str(number % 5): float(number)})
            store.delete_rating("ann", str((number + 1) % 5))

    def remove() -> None:
        for _ in range(5):
            store.delete_user("ann")

    at_once([lambda: rate(0), lambda: rate(100), lambda: rate(200), remove])
    last = {change.movie_id: change.rating for change in store.history("ann")}
    kept = {rated.movie_id: rated.rating for rated in store.ratings("ann")}
    assert kept == {movie: rating for movie, rating in last.items() if rating is not None}
    store.delete_user("ann")
    assert (store.ratings("ann"), store.history("ann")) == ([], [])


def test_readers_do_not_wait_for_a_writer(store: Store) -> None:
    store.put("ann", {"1": 1.0})
    engine = create_engine(store.url)
    with engine.begin() as writer:
        writer.execute(text("UPDATE ratings SET rating = 2"))
        assert [rated.rating for rated in store.ratings("ann")] == [1.0], "what is not committed is not seen"
    assert [rated.rating for rated in store.ratings("ann")] == [2.0]
    engine.dispose()


def test_locks_are_awaited_up_to_the_timeout(database: URL) -> None:
    Store.open(database).close()
    hasty, patient, holder = Store(database, wait=0.1), Store(database), Store(database)
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with holder._writing("ann"):
            holding.set()
            done.wait(30)

    with ThreadPoolExecutor(2) as threads:
        held = threads.submit(hold)
        holding.wait(30)
        with pytest.raises(DatabaseError) as refused:
            hasty.put("ann", {"1": 1.0})
        assert "lock" in str(refused.value)
        waiting = threads.submit(patient.put, "ann", {"1": 2.0})
        done.set()
        held.result()
        assert [written.rating for written in waiting.result()] == [2.0]
    assert hasty.put("ann", {"1": 3.0})[0].replaced == 2.0, "a store that gave up goes on"
    for store in (hasty, patient, holder):
        store.close()


def test_another_process_that_closes_the_database_meanwhile_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = URL.create("sqlite", database=str(tmp_path / "r.sqlite"))
    other = Store.open(url)
    other.put("ann", {"1": 1.0})
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def connect_later(*arguments: Any, **settings: Any) -> sqlite3.Connection:
        other.close()  # the last connection: SQLite removes the write-ahead log
        (tmp_path / "takes the number of its inode").touch()
        return connect(*arguments, **settings)

    store = Store(url)
    monkeypatch.setattr("sqlite3.dbapi2.connect", connect_later)
    store.put("bob", {"2": 2.0})
    store.put("bob", {"3": 3.0})
    assert [len(store.ratings(user)) for user in ("ann", "bob")] == [1, 2]
    store.close()


def test_full_disk(tmp_path: Path) -> None:
    """Acknowledged ratings are there, others are not, and later writes that fit succeed."""
    store = Store.open(URL.create("sqlite", database=str(tmp_path / "r.sqlite")))

    def room(pages: int) -> None:
        with store._engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    room(25)
    stars, acknowledged = {f"{movie:0100}": 3.0 for movie in range(50)}, 0
    with suppress(DatabaseError):
        while True:
            store.put(f"user {acknowledged}", stars)
            acknowledged += 1
    assert acknowledged > 1
    with pytest.raises(DatabaseError, match="full"):
        store.put("someone", stars)
    assert {len(store.ratings(f"user {number}")) for number in range(acknowledged)} == {50}
    assert store.ratings(f"user {acknowledged}") == []
    room(10_000)
    assert len(store.put(f"user {acknowledged}", stars)) == 50
    store.close()


class Kept(RuleBasedStateMachine):
    """Any sequence of writes, deletions and restarts matches a dictionary."""

    users, movies = st.sampled_from(["ann", "bob", "Zoë"]), st.sampled_from(["1", "2", "30"])
    stars = st.sampled_from([0.5, 1.0, 3.5, 5.0])

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="reelgraph-store-")
        self.url = URL.create("sqlite", database=f"{self.folder}/r.sqlite")
        self.store = Store.open(self.url)
        self.clock = 0
        self.kept: dict[str, dict[str, tuple[float, int]]] = {}
        self.changes: dict[str, list[RatingChange]] = {}

    @rule(user=users, given=st.dictionaries(movies, stars, max_size=3))
    def put(self, user: str, given: dict[str, float]) -> None:
        self.clock += 1
        theirs, expected = self.kept.setdefault(user, {}), []
        for movie, rating in given.items():
            before, since = theirs.get(movie, (None, 0))
            if before != rating:
                theirs[movie] = (rating, self.clock)
                self.changes.setdefault(user, []).append(RatingChange(movie, rating, self.clock))
            expected.append(WrittenRating(movie, rating, since if before == rating else self.clock, before))
        assert self.store.put(user, given, self.clock) == expected

    @rule(user=users, movie=movies)
    def delete_rating(self, user: str, movie: str) -> None:
        self.clock += 1
        gone = self.kept.get(user, {}).pop(movie, None)
        assert self.store.delete_rating(user, movie, self.clock) == int(gone is not None)
        if gone is not None:
            self.changes[user].append(RatingChange(movie, None, self.clock))

    @rule(user=users)
    def delete_user(self, user: str) -> None:
        rows = len(self.kept.pop(user, {})) + len(self.changes.pop(user, []))
        assert self.store.delete_user(user) == rows

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store.open(self.url)

    @invariant()
    def agrees(self) -> None:
        for user in ("ann", "bob", "Zoë"):
            theirs = {rated.movie_id: (rated.rating, rated.timestamp) for rated in self.store.ratings(user)}
            assert theirs == self.kept.get(user, {})
            assert self.store.history(user) == self.changes.get(user, [])

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


Kept.TestCase.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
TestKept = Kept.TestCase


def test_one_process_at_a_time_holds_the_lease(store: Store) -> None:
    assert store.learner() is None
    assert store.take_lease("one", 60)
    assert not store.take_lease("two", 60)
    assert store.take_lease("one", 60), "renewed"
    assert store.learner() == "one"
    store.end_lease("two")
    assert store.learner() == "one", "nobody ends the lease of another"
    store.end_lease("one")
    assert store.learner() is None
    assert store.take_lease("two", 0.05)
    until(lambda: store.take_lease("three", 60))  # Two was killed.
    assert (store.learner(), store.take_lease("two", 60)) == ("three", False)


def test_of_many_who_ask_at_once_one_takes_the_lease(store: Store) -> None:
    with ThreadPoolExecutor(POOL) as threads:
        taken = list(threads.map(lambda number: store.take_lease(f"server {number}", 60), range(POOL)))
    assert sum(taken) == 1
    assert store.learner() == f"server {taken.index(True)}"


def test_the_position_counts_changes(store: Store) -> None:
    start = store.position()
    store.put("ann", {"1": 1.0, "2": 2.0})
    store.put("ann", {"1": 1.0, "2": 3.0})
    store.delete_rating("ann", "1")
    assert store.position() - start == 4

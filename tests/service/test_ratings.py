"""Ratings over HTTP: kept, replaced, read, removed, exported; the service goes on when the database does not."""

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from databases import FAST, PASSWORD, postgresql
from sqlalchemy import URL
from starlette.testclient import TestClient

from reelgraph.artifact import read_artifact
from reelgraph.recommender import open_model
from reelgraph.service.app import create_app
from reelgraph.service.settings import Settings

Command = Callable[..., subprocess.CompletedProcess[str]]
HERE = ("127.0.0.1", 50_000)
UNUSUAL = (
    "Zoë", "李雷", "o'hara", 'a "quoted", one', "a/b", "a?b#c&d=e", "100 %", " spaced ", "👩\u200d👧", "0012",
    "a" * 100,
)  # fmt: skip


def client_of(model: Path, url: URL, patch: pytest.MonkeyPatch, **settings: Any) -> TestClient:
    """A service over a database whose address may hold a password."""
    patch.setenv("REELGRAPH_DATABASE", url.render_as_string(hide_password=False))
    app = create_app(model, Settings(**settings))
    return TestClient(app, "http://127.0.0.1", client=HERE)


@pytest.fixture
def client(model_dir: Path, database: URL, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    with client_of(model_dir, database, monkeypatch) as client:
        yield client


@pytest.fixture(scope="module")
def movies(model_dir: Path) -> list[str]:
    return list(open_model(model_dir).items.ids.to_pylist())


@pytest.fixture(scope="module")
def plain(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service for tests that need only one kind of database."""
    settings = Settings(database=str(tmp_path_factory.mktemp("ratings") / "r.sqlite"))
    with TestClient(create_app(model_dir, settings), "http://127.0.0.1", client=HERE) as client:
        yield client


def rate(client: TestClient, user: str, movie: str, rating: float) -> dict[str, Any]:
    answer = client.post("/api/ratings", json={"user": user, "movie": movie, "rating": rating})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def failure(answer: Any, status: int, code: str) -> str:
    """The message of a failure in the one shape, which tells nothing of the inside."""
    assert (answer.status_code, set(answer.json())) == (status, {"error"}), answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert not any(word in answer.text for word in ("Traceback", "sqlalchemy", "psycopg", "SELECT", quote(PASSWORD)))
    return str(error["message"])


def test_a_rating_is_kept_replaced_repeated_and_read(client: TestClient, movies: list[str]) -> None:
    before = int(time.time())
    first = rate(client, "ann", movies[0], 4)
    assert (first["user"], first["movie"], first["rating"], first["replaced"]) == ("ann", movies[0], 4.0, None)
    assert before <= first["timestamp"] <= time.time()
    assert rate(client, "ann", movies[0], 2)["replaced"] == 4.0
    assert rate(client, "ann", movies[0], 2)["replaced"] == 2.0
    several = {"user": "ann", "ratings": {movies[1]: 5, movies[0]: 2}}
    assert client.post("/api/ratings/batch", json=several).json() == {"written": 2}
    found = client.get("/api/users/ann/ratings").json()
    assert {row["movie"]: row["rating"] for row in found["ratings"]} == {movies[0]: 2.0, movies[1]: 5.0}
    assert "history" not in found or found["history"] is None
    history = client.get("/api/users/ann/ratings", params={"history": True}).json()["history"]
    assert [(row["movie"], row["rating"]) for row in history] == [(movies[0], 4.0), (movies[0], 2.0), (movies[1], 5.0)]


def test_ratings_taken_back_and_users_removed(client: TestClient, movies: list[str]) -> None:
    for movie in movies[:3]:
        rate(client, "ann", movie, 3)
    rate(client, "bob", movies[0], 3)
    assert client.delete(f"/api/users/ann/ratings/{movies[0]}").json() == {"deleted": 1}
    assert client.delete(f"/api/users/ann/ratings/{movies[0]}").json() == {"deleted": 0}
    assert client.delete("/api/users/ann").json() == {"deleted": 2 + 4}
    assert client.delete("/api/users/ann").json() == {"deleted": 0}
    assert client.get("/api/users/ann/ratings", params={"history": True}).json()["history"] == []
    assert len(client.get("/api/users/bob/ratings").json()["ratings"]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"user": "a\nb"}, {"user": "a\x00b"}, {"user": "a\x85b"}, {"user": "a\x1bb"}, {"user": ""}, {"user": "a" * 101},
        {"user": 7}, {"user": "\ud800"}, {"rating": 0.5}, {"rating": 5.5}, {"rating": "4"}, {"rating": None},
        {"rating": float("nan")}, {"rating": 1e999}, {"rating": True}, {"more": 1}, {"movie": None},
    ],
    ids=repr,
)  # fmt: skip
def test_what_cannot_be_kept_is_refused(plain: TestClient, movies: list[str], change: dict[str, Any]) -> None:
    body = {"user": "eve", "movie": movies[0], "rating": 4.0} | change
    content = json.dumps(body)
    failure(plain.post("/api/ratings", content=content, headers={"Content-Type": "application/json"}), 422, "invalid")
    assert plain.get("/api/users/eve/ratings").json()["ratings"] == []


def test_movies_that_nobody_knows_are_refused(plain: TestClient, movies: list[str]) -> None:
    failure(plain.post("/api/ratings", json={"user": "eve", "movie": "no such", "rating": 4}), 404, "unknown_id")
    batch = {"user": "eve", "ratings": {movies[0]: 4, "no such": 4}}
    failure(plain.post("/api/ratings/batch", json=batch), 404, "unknown_id")
    failure(plain.post("/api/ratings/batch", json={"user": "eve", "ratings": {movies[0]: 9}}), 422, "invalid")
    assert plain.get("/api/users/eve/ratings").json()["ratings"] == []


def test_unusual_ids_from_request_to_training(
    client: TestClient, movies: list[str], model_dir: Path, database: URL, tmp_path: Path, command: Command
) -> None:
    """What was given over HTTP comes back over HTTP, by `export`, and in the models that `update` and `train` make."""
    given = {
        user: {movie: float(1 + (place + row) % 5) for row, movie in enumerate(movies[:9])}
        for place, user in enumerate(UNUSUAL)
    }
    for user, stars in given.items():
        assert client.post("/api/ratings/batch", json={"user": user, "ratings": stars}).json() == {"written": 9}
    for user, stars in given.items():
        found = client.get(f"/api/users/{quote(user, safe='')}/ratings").json()
        assert (found["user"], {row["movie"]: row["rating"] for row in found["ratings"]}) == (user, stars)
    removed = client.delete(f"/api/users/{quote(UNUSUAL[-1], safe='')}/ratings/{movies[0]}")
    assert removed.json() == {"deleted": 1}
    del given[UNUSUAL[-1]][movies[0]]

    out = tmp_path / "rated.parquet"
    done = command("export", "--out", out)  # REELGRAPH_DATABASE says where from.
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert f"{9 * len(UNUSUAL) - 1} ratings" in done.stderr
    rows = pq.read_table(out).to_pylist()
    assert {user: {row["movieId"]: row["rating"] for row in rows if row["userId"] == user} for user in UNUSUAL} == given

    assert command("update", model_dir, out, "--steps", 0, "--out", tmp_path / "updated").returncode == 0
    before, after = read_artifact(model_dir), read_artifact(tmp_path / "updated")
    assert after.seen.num_rows == before.seen.num_rows + len(rows)
    done = command("train", out, "--max-steps", 4, "--no-ranking", "--tune", "none", "--out", tmp_path / "own")
    assert done.returncode == 0, done.stderr
    for made in (after, read_artifact(tmp_path / "own")):
        assert set(UNUSUAL) <= set(made.users["userId"].to_pylist())
        assert "rejects.parquet" not in {file.name for file in (tmp_path / "own").iterdir()}


def test_export_says_what_is_wrong_in_one_line(tmp_path: Path, command: Command) -> None:
    database = tmp_path / "r.sqlite"
    for arguments, expected in (
        (("--database", database), "expected a file, found none"),
        (("--database", "postgresql://ann:s3cret@127.0.0.1:1/r"), "without a password"),
        (("--database", "postgresql://ann@127.0.0.1:1/r?connect_timeout=1"), "expected an answer"),
        (("--database", "env:NOTHING"), "the variable NOTHING: expected"),
        ((), "neither --database nor REELGRAPH_DATABASE"),
    ):
        done = command("export", *arguments, "--out", tmp_path / "out.parquet")
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert expected in line
        assert "s3cret" not in line
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_goes_and_comes_back(
    model_dir: Path, movies: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with postgresql(*FAST) as server, client_of(model_dir, server.database(), monkeypatch) as client:
        rate(client, "ann", movies[0], 4)
        known = read_artifact(model_dir).users["userId"][0].as_py()
        server.stop()
        one = {"user": "ann", "movie": movies[0], "rating": 1}
        for answer in (
            client.post("/api/ratings", json=one),
            client.post("/api/ratings/batch", json={"user": "ann", "ratings": {movies[0]: 1}}),
            client.get("/api/users/ann/ratings"),
            client.delete(f"/api/users/ann/ratings/{movies[0]}"),
            client.delete("/api/users/ann"),
        ):
            assert "database" in failure(answer, 503, "database_unavailable")
        assert client.post("/api/recommendations", json={"ratings": {movies[0]: 4}}).status_code == 200
        assert client.get(f"/api/users/{known}/recommendations").status_code == 200
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["database"]) == (200, "unavailable")
        assert "reelgraph_database_errors_total 7" in client.get("/metrics").text
        server.start()
        assert client.get("/health/ready").json()["database"] == "ok"
        assert [row["rating"] for row in client.get("/api/users/ann/ratings").json()["ratings"]] == [4.0]
    assert PASSWORD not in caplog.text
    assert quote(PASSWORD, safe="") not in caplog.text


def test_a_database_that_is_away_at_the_start(
    model_dir: Path, movies: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgresql(*FAST) as server:
        url = server.database()
        server.stop()
        with client_of(model_dir, url, monkeypatch) as client:
            failure(client.get("/api/users/ann/ratings"), 503, "database_unavailable")
            server.start()
            rate(client, "ann", movies[0], 4)


def test_a_disk_that_is_full(
    model_dir: Path, movies: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No rating is acknowledged that found no room; what was, is there, and the next one that fits is taken."""
    with client_of(model_dir, URL.create("sqlite", database=str(tmp_path / "r.sqlite")), monkeypatch) as client:
        engine = client.app.state.service.ledger.open()._engine  # type: ignore[attr-defined]

        def room(pages: int) -> None:
            with engine.connect() as connection:
                connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

        room(20)
        acknowledged = []
        for number in range(100):
            user = f"{number}".rjust(100, "u")
            answer = client.post("/api/ratings/batch", json={"user": user, "ratings": dict.fromkeys(movies[:50], 3)})
            if answer.status_code != 200:
                failure(answer, 503, "database_unavailable")
                break
            acknowledged.append(user)
        else:
            pytest.fail("there was room for all")
        assert acknowledged
        room(10_000)
        rate(client, "ann", movies[0], 4)
        for wanted, number in ((acknowledged, 50), ([user], 0)):
            assert {len(client.get(f"/api/users/{one}/ratings").json()["ratings"]) for one in wanted} == {number}


def test_a_database_that_hangs_is_given_up_and_holds_nobody_up(plain: TestClient, movies: list[str]) -> None:
    """More requests than the database has threads wait for it; lists are made meanwhile."""
    ledger, hold = plain.app.state.service.ledger, threading.Event()  # type: ignore[attr-defined]

    async def hang() -> list[Any]:
        works = [asyncio.create_task(ledger.do("hang", lambda _: hold.wait(30), patience=0.5)) for _ in range(20)]
        lists = await asyncio.to_thread(plain.post, "/api/recommendations", json={"ratings": {movies[0]: 4}})
        assert lists.status_code == 200
        found = await asyncio.gather(*works, return_exceptions=True)
        hold.set()
        return [getattr(error, "code", error) for error in found]

    assert asyncio.run(hang()) == ["database_unavailable"] * 20
    assert rate(plain, "ann", movies[0], 3)["rating"] == 3.0

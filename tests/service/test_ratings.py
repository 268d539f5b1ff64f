"""Ratings over HTTP: stored, replaced, read, deleted and exported, and failures of the database."""

import asyncio
import json
import os
import re
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow.parquet as pq
import pytest
from sqlalchemy import URL

from reelgraph.cli.main import main
from reelgraph.errors import DatabaseError
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.service.app import create_app
from reelgraph.service.database.connection import address
from reelgraph.service.database.store import Store
from reelgraph.service.errors import ServiceError
from reelgraph.service.settings import Settings
from tests.support.databases import FAST, PASSWORD, postgresql
from tests.support.serving import serving, until

UNUSUAL = (
    "Zoë", "李雷", "o'hara", 'a "quoted", one', "a/b", "a?b#c&d=e", "100 %", "%2F", "two  blanks", "👩\u200d👧", "0012",
    "a" * 100,
)  # fmt: skip


Over = Callable[[URL], httpx.Client]


@pytest.fixture
def over(serve: Callable[..., httpx.Client], model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Over:
    """Starts a service on a database whose address may contain a password."""

    def start(url: URL) -> httpx.Client:
        monkeypatch.setenv("REELGRAPH_DATABASE", url.render_as_string(hide_password=False))
        return serve(model_dir, database=None)

    return start


@pytest.fixture
def service(over: Over, database: URL) -> httpx.Client:
    return over(database)


@pytest.fixture
def movies(model: Recommender) -> list[str]:
    return list(model.items.ids.to_pylist())


def rate(client: httpx.Client, user: str, movie: str, rating: float) -> dict[str, Any]:
    answer = client.post("/api/ratings", json={"user": user, "movie": movie, "rating": rating})
    assert answer.status_code == 200, answer.text
    stored: dict[str, Any] = answer.json()
    return stored


def failure(answer: Any, status: int, code: str) -> str:
    """The message of an error response, which must reveal no internals."""
    assert (answer.status_code, set(answer.json())) == (status, {"error"}), answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert not any(word in answer.text for word in ("Traceback", "sqlalchemy", "psycopg", "SELECT", quote(PASSWORD)))
    return str(error["message"])


def test_ratings_are_stored_replaced_repeated_and_read(service: httpx.Client, movies: list[str]) -> None:
    before = int(time.time())
    first = rate(service, "ann", movies[0], 4)
    assert (first["user"], first["movie"], first["rating"], first["replaced"]) == ("ann", movies[0], 4.0, None)
    assert before <= first["timestamp"] <= time.time()
    assert rate(service, "ann", movies[0], 2)["replaced"] == 4.0
    assert rate(service, "ann", movies[0], 2)["replaced"] == 2.0
    several = {"user": "ann", "ratings": {movies[1]: 5, movies[0]: 2}}
    assert service.post("/api/ratings/batch", json=several).json() == {"written": 2}
    content = service.get("/api/users/ann/ratings").json()
    assert {row["movie"]: row["rating"] for row in content["ratings"]} == {movies[0]: 2.0, movies[1]: 5.0}
    assert "history" not in content or content["history"] is None
    history = service.get("/api/users/ann/ratings", params={"history": True}).json()["history"]
    assert [(row["movie"], row["rating"]) for row in history] == [(movies[0], 4.0), (movies[0], 2.0), (movies[1], 5.0)]


def test_ratings_and_users_are_deleted(service: httpx.Client, movies: list[str]) -> None:
    for movie in movies[:3]:
        rate(service, "ann", movie, 3)
    rate(service, "bob", movies[0], 3)
    assert service.delete(f"/api/users/ann/ratings/{movies[0]}").json() == {"deleted": 1}
    assert service.delete(f"/api/users/ann/ratings/{movies[0]}").json() == {"deleted": 0}
    assert service.delete("/api/users/ann").json() == {"deleted": 2 + 4}
    assert service.delete("/api/users/ann").json() == {"deleted": 0}
    assert service.get("/api/users/ann/ratings", params={"history": True}).json()["history"] == []
    assert len(service.get("/api/users/bob/ratings").json()["ratings"]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"user": "a\nb"}, {"user": "a\x00b"}, {"user": "a\x85b"}, {"user": "a\x1bb"}, {"user": ""}, {"user": "a" * 101},
        {"user": 7}, {"user": "\ud800"}, {"rating": 0.5}, {"rating": 5.5}, {"rating": "4"}, {"rating": None},
        {"rating": float("nan")}, {"rating": 1e999}, {"rating": True}, {"more": 1}, {"movie": None},
    ],
    ids=repr,
)  # fmt: skip
def test_invalid_ratings_are_refused(client: httpx.Client, movies: list[str], change: dict[str, Any]) -> None:
    body = {"user": "eve", "movie": movies[0], "rating": 4.0} | change
    content = json.dumps(body)
    failure(client.post("/api/ratings", content=content, headers={"Content-Type": "application/json"}), 422, "invalid")
    assert client.get("/api/users/eve/ratings").json()["ratings"] == []


def test_unknown_movies_are_refused(client: httpx.Client, movies: list[str]) -> None:
    failure(client.post("/api/ratings", json={"user": "eve", "movie": "no such", "rating": 4}), 404, "unknown_id")
    batch = {"user": "eve", "ratings": {movies[0]: 4, "no such": 4}}
    failure(client.post("/api/ratings/batch", json=batch), 404, "unknown_id")
    failure(client.post("/api/ratings/batch", json={"user": "eve", "ratings": {movies[0]: 9}}), 422, "invalid")
    assert client.get("/api/users/eve/ratings").json()["ratings"] == []


def given_by(users: Iterable[str], movies: list[str]) -> dict[str, dict[str, float]]:
    """Ratings of nine movies by each user."""
    return {
        user: {movie: float(1 + (place + row) % 5) for row, movie in enumerate(movies[:9])}
        for place, user in enumerate(users)
    }


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str]:
    """Exit code and standard error of a command."""
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    return ended.value.code, capsys.readouterr().err


def test_unusual_ids_are_stored_and_exported(
    service: httpx.Client, movies: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = given_by(UNUSUAL, movies)
    for user, stars in given.items():
        assert service.post("/api/ratings/batch", json={"user": user, "ratings": stars}).json() == {"written": 9}
    for user, stars in given.items():
        content = service.get(f"/api/users/{quote(user, safe='')}/ratings").json()
        assert (content["user"], {row["movie"]: row["rating"] for row in content["ratings"]}) == (user, stars)
    removed = service.delete(f"/api/users/{quote(UNUSUAL[-1], safe='')}/ratings/{movies[0]}")
    assert removed.json() == {"deleted": 1}
    del given[UNUSUAL[-1]][movies[0]]

    out = tmp_path / "rated.parquet"
    code, said = run(capsys, "export", "--out", out)  # REELGRAPH_DATABASE says where from.
    assert (code, f"{9 * len(UNUSUAL) - 1} ratings" in said) == (0, True)
    rows = pq.read_table(out).to_pylist()
    assert {user: {row["movieId"]: row["rating"] for row in rows if row["userId"] == user} for user in UNUSUAL} == given


def test_update_and_train_accept_the_export(
    model_dir: Path, movies: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database, out = tmp_path / "r.sqlite", tmp_path / "rated.parquet"
    store, given = Store.open(address(str(database))), given_by(UNUSUAL, movies)
    for user, stars in given.items():
        store.put(user, stars)
    store.close()
    assert run(capsys, "export", "--database", database, "--out", out)[0] == 0
    assert run(capsys, "update", model_dir, out, "--steps", 0, "--out", tmp_path / "more")[0] == 0
    fast = ("--max-steps", 2, "--no-ranking", "--tune", "none", "--test-share", 0.1)
    assert run(capsys, "train", out, *fast, "--out", tmp_path / "own")[0] == 0
    more, own = open_model(tmp_path / "more"), open_model(tmp_path / "own")
    learned = {user: [column.tolist() for column in more.predictor.seen(more.users.index(user))] for user in UNUSUAL}
    assert {
        user: {more.items.id(item): rating for item, rating in zip(*columns, strict=True)}
        for user, columns in learned.items()
    } == given
    assert set(own.users.ids.to_pylist()) == set(UNUSUAL)
    counts = own.artifact.manifest["data"]["counts"]
    assert (counts["rows"], counts["rejected"]) == (9 * len(UNUSUAL), 0)


def test_serve_reports_a_bad_database(
    model_dir: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    newer = tmp_path / "newer.sqlite"
    Store.open(address(str(newer))).close()
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute("UPDATE reelgraph_schema SET version_num = '17'")
        connection.commit()
    done = command("serve", model_dir, "--port", 0, "--database", newer)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert re.match(
        rf"error: database {newer}: expected a schema of at most \d+, found 17;", done.stderr.splitlines()[-1]
    )
    assert command("serve", tmp_path / "no model", "--port", 0).returncode == 2
    assert {path.name for path in tmp_path.iterdir()} == {newer.name}, "no database is made beside nothing"


def test_export_reports_errors_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (
        (("--database", tmp_path / "r.sqlite"), "expected a file, found none"),
        (("--database", "postgresql://ann:s3cret@127.0.0.1:1/r"), "without a password"),
        (("--database", "postgresql://ann@127.0.0.1:1/r"), "expected an answer"),
        (("--database", "env:NOTHING"), "the variable NOTHING: expected"),
        ((), "neither --database nor REELGRAPH_DATABASE"),
    ):
        code, said = run(capsys, "export", *arguments, "--out", tmp_path / "out.parquet")
        assert code == 2
        (line,) = said.splitlines()
        assert expected in line
        assert "s3cret" not in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.postgresql
def test_the_service_survives_restarts_of_the_database(
    over: Over, model: Recommender, movies: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with postgresql(*FAST) as server:
        url = server.database()
        server.stop()
        client = over(url)
        failure(client.get("/api/users/ann/ratings"), 503, "database_unavailable")
        server.start()
        rate(client, "ann", movies[0], 4)
        server.stop()
        body = {"user": "ann", "movie": movies[0], "rating": 1}
        for answer in (
            client.post("/api/ratings", json=body),
            client.post("/api/ratings/batch", json={"user": "ann", "ratings": {movies[0]: 1}}),
            client.get("/api/users/ann/ratings"),
            client.delete(f"/api/users/ann/ratings/{movies[0]}"),
            client.delete("/api/users/ann"),
        ):
            failure(answer, 503, "database_unavailable")
        assert client.post("/api/recommendations", json={"ratings": {movies[0]: 4}}).status_code == 200
        assert client.get(f"/api/users/{model.users.id(0)}/recommendations").status_code == 200
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["database"]) == (200, "unavailable")
        assert "reelgraph_database_errors_total 8" in client.get("/metrics").text
        server.start()
        assert client.get("/health/ready").json()["database"] == "ok"
        assert [row["rating"] for row in client.get("/api/users/ann/ratings").json()["ratings"]] == [4.0]
    assert "database" in caplog.text
    assert PASSWORD not in caplog.text
    assert quote(PASSWORD, safe="") not in caplog.text


def test_a_hanging_database_delays_no_other_requests(model_dir: Path, movies: list[str], tmp_path: Path) -> None:
    """More calls than the database has threads wait, and lists are made meanwhile."""
    app = create_app(model_dir, Settings(database=str(tmp_path / "r.sqlite"), watch=0, open=True))
    ledger, hold = app.state.service.ledger, threading.Event()

    async def hang(client: httpx.Client) -> list[Any]:
        works = [asyncio.create_task(ledger.call("hang", lambda _: hold.wait(30), timeout=0.5)) for _ in range(20)]
        lists = await asyncio.to_thread(client.post, "/api/recommendations", json={"ratings": {movies[0]: 4}})
        assert lists.status_code == 200
        outcomes = await asyncio.gather(*works, return_exceptions=True)
        hold.set()
        return [getattr(error, "code", error) for error in outcomes]

    with serving(app) as client:
        assert asyncio.run(hang(client)) == ["database_unavailable"] * 20
        assert rate(client, "ann", movies[0], 3)["rating"] == 3.0


def test_a_write_that_timed_out_is_not_made_later(
    model_dir: Path, movies: list[str], database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REELGRAPH_DATABASE", database.render_as_string(hide_password=False))
    app = create_app(model_dir, Settings(watch=0, open=True))
    ledger, holder = app.state.service.ledger, Store(database)
    with holder._writing("ann"), pytest.raises(ServiceError, match="does not answer"):
        asyncio.run(ledger.call("put", lambda store: store.put("ann", {movies[0]: 1.0}), timeout=0.2))
    ledger._threads.shutdown(wait=True)  # Its turn came when the other one's ended.
    holder.put("ann", {movies[0]: 5.0})
    assert [change.rating for change in holder.history("ann")] == [5.0]
    holder.close()


@pytest.mark.parametrize(
    ("pattern", "how"),
    [*product(["r.sqlite*", "r.sqlite", "r.sqlite-wal"], ["deleted", "moved", "replaced"]), ("r.sqlite", "emptied")],
)
def test_a_database_file_that_disappears_is_noticed(
    serve: Callable[..., httpx.Client], model_dir: Path, movies: list[str], tmp_path: Path, pattern: str, how: str
) -> None:
    client = serve(model_dir, database=str(tmp_path / "r.sqlite"))
    rate(client, "ann", movies[0], 4)
    assert client.get("/health/ready").status_code == 200
    for path in tmp_path.glob(pattern):
        if how == "emptied":
            os.truncate(path, 0)
            continue
        path.rename(tmp_path / f"moved-{path.name}")
        if how == "replaced":
            shutil.copy(tmp_path / f"moved-{path.name}", path)
        if how != "moved":
            (tmp_path / f"moved-{path.name}").unlink()
    body = {"user": "ann", "movie": movies[0], "rating": 1}
    failure(client.post("/api/ratings", json=body), 503, "database_unavailable")
    failure(client.delete("/api/users/ann"), 503, "database_unavailable")
    failure(client.get("/api/users/ann/ratings"), 503, "database_unavailable")
    until(lambda: client.get("/health/ready").status_code == 503)  # A slow machine may take more than one try.
    failure(client.get("/health/ready"), 503, "not_ready")
    assert client.get("/health/live").status_code == 200
    assert client.post("/api/recommendations", json={"ratings": {movies[0]: 4}}).status_code == 200
    restarted = serve(model_dir, database=str(tmp_path / "r2.sqlite"))
    assert restarted.get("/health/ready").json()["database"] == "ok"


def test_a_database_file_that_disappears_during_a_write_is_noticed(tmp_path: Path) -> None:
    store = Store.open(address(str(tmp_path / "r.sqlite")))
    store.put("ann", {"1": 4.0})
    with pytest.raises(DatabaseError, match=r"r\.sqlite"), store._writing("ann"):
        (tmp_path / "r.sqlite").unlink()
    store.close()


def test_blanks_around_ids_do_not_count(service: httpx.Client, movies: list[str]) -> None:
    assert rate(service, " ann ", f" {movies[0]} ", 4)["user"] == "ann"
    assert len(service.get("/api/users/%20ann/ratings").json()["ratings"]) == 1
    assert service.delete(f"/api/users/ann%20/ratings/%20{movies[0]}").json() == {"deleted": 1}

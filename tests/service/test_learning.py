"""A service that learns: rounds in a child process, their outcomes, and who takes over from whom."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from sqlalchemy import URL

from reelgraph.artifact import read_artifact, write_artifact
from reelgraph.errors import ConfigError, OutputError, SetupError
from reelgraph.files import learning_of
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.service import learning
from reelgraph.service.database.ledger import Ledger
from reelgraph.service.database.store import Store
from reelgraph.service.learning import Learner, record, rounds_of
from reelgraph.service.model import Current
from reelgraph.service.settings import Settings
from reelgraph.service.telemetry import Metrics
from tests.support.commands import CommandLine
from tests.support.databases import PostgreSQL
from tests.support.kills import Server
from tests.support.serving import PATIENCE
from tests.support.serving import until as wait

Serve = Callable[..., httpx.Client]
VISITORS = 6
until = partial(wait, seconds=120)  # A round imports PyTorch.
SOON = ("--learn-every", "1s", "--learn-priority", "normal")


@pytest.fixture
def place(model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the model, to be replaced."""
    return shutil.copytree(model_dir, tmp_path / "models" / "served")


def tastes(model: Recommender, visitors: int = VISITORS) -> dict[str, dict[str, float]]:
    """Ratings of visitors who like one genre."""
    genres, rng = model.catalogue.genre_members, np.random.default_rng(0)
    given = {}
    for number in range(visitors):
        liked = genres[("Drama", "Comedy", "Horror")[number % 3]]
        movies = rng.permutation(len(model.items))[:30].tolist()
        given[f"visitor-{number}"] = {model.items.id(movie): 5.0 if liked[movie] else 2.0 for movie in movies}
    return given


def fill(url: URL, given: dict[str, dict[str, float]]) -> None:
    store = Store.open(url)
    for user, ratings in given.items():
        for number, (movie, stars) in enumerate(ratings.items()):
            store.put(user, {movie: stars}, now=1_700_000_000 + number)
    store.close()


def learners(process: int) -> list[psutil.Process]:
    """The running rounds of a server."""
    found = []
    for child in psutil.Process(process).children():
        with suppress(psutil.NoSuchProcess):  # or a zombie
            found += [child] if "learn" in child.cmdline() else []
    return found


@pytest.fixture
def sqlite(tmp_path: Path) -> URL:
    return URL.create("sqlite", database=str(tmp_path / "ratings.sqlite"))


@contextmanager
def server(model: Path, url: URL, *options: str) -> Iterator[Server]:
    running = Server(model, url, *options)
    try:
        yield running
    finally:
        running.kill()


def outcomes(client: httpx.Client) -> list[dict[str, Any]]:
    answer = client.get("/api/admin/learning")
    assert answer.status_code == 200, answer.text
    rounds: list[dict[str, Any]] = answer.json()["rounds"]
    return rounds


@pytest.mark.slow
def test_a_service_learns_from_its_visitors(serve: Serve, place: Path, model: Recommender, database: URL) -> None:
    fill(database, tastes(model))
    address = database.render_as_string(hide_password=False)
    Path(place.parent / "address").write_text(address)
    client = serve(
        place, database=f"file:{place.parent}/address", learn_after=100, learn_priority="normal", refit_every="1h"
    )
    before = client.get("/health/ready").json()["artifact"]["id"]
    until(lambda: outcomes(client) != [])
    until(lambda: client.get("/health/ready").json()["artifact"]["id"] != before)
    (entry,) = outcomes(client)
    assert (entry["kind"], entry["outcome"], entry["collected"], entry["new"]) == ("update", "taken", 180, 180)
    assert entry["judges"] == 36
    assert entry["measures"].keys() == {"rmse", "ndcg"}
    facts = client.get("/api/admin/learning").json()
    assert (facts["state"], facts["new_ratings"], facts["learner"]) == ("waiting", 0, None)
    assert facts["next"]["refit"], "an hour from now"
    metrics = client.get("/metrics").text
    assert 'reelgraph_learning_rounds_total{kind="update",outcome="taken"} 1.0' in metrics
    assert 'reelgraph_swaps_total{outcome="learn"} 1.0' in metrics
    assert (
        f'reelgraph_learning_measure{{measure="rmse",model="candidate"}} {entry["measures"]["rmse"]["candidate"]}'
        in metrics
    )
    assert client.get("/api/insights").json()["learning"]["rounds"][0]["outcome"] == "taken"
    learned = open_model(place)
    assert len(learned.users) == len(model.users) + VISITORS
    # Learned users are as private as before.
    assert client.get("/api/users/visitor-1/recommendations", headers={"Host": "elsewhere"}).status_code == 404
    request = {"user": "visitor-1", "movie": model.items.id(0)}
    assert client.post("/api/explanations", json=request).status_code == 404
    assert client.get("/api/insights/compare", params={"user": "visitor-1"}).status_code == 404
    own = client.get("/api/users/visitor-1/recommendations").json()["movies"]
    expected = learned.recommend(ratings=tastes(model)["visitor-1"])
    assert [movie["movie_id"] for movie in own] == [line.movie.movie_id for line in expected]


def test_a_learned_model_that_the_watch_has_found_is_not_read_again(place: Path, other_dir: Path) -> None:
    current = Current(place)
    first = current.load()
    write_artifact(read_artifact(other_dir), place)
    assert current.look() is None, "it may still be copied"
    second = current.look()
    assert second is not None
    assert current.refresh() is None
    assert current.rollback().checksum == first.checksum


def test_learning_is_off_by_default(serve: Serve, place: Path) -> None:
    client = serve(place)
    facts = client.get("/api/admin/learning").json()
    assert (facts["enabled"], facts["state"], facts["next"], facts["rounds"]) == (False, "off", None, [])
    assert not learning_of(place).exists()


def test_only_administrators_see_it(serve: Serve, place: Path) -> None:
    client = serve(place, open=False)
    assert client.get("/api/admin/learning").status_code == 403


@pytest.mark.slow
def test_a_killed_round_leaves_nothing_and_is_repeated(place: Path, model: Recommender, sqlite: URL) -> None:
    fill(sqlite, tastes(model))
    before = read_artifact(place).checksum
    with server(place, sqlite, *SOON) as running:
        client = httpx.Client(base_url=running.address, timeout=PATIENCE)
        until(lambda: learners(running.process.pid) != [])
        learners(running.process.pid)[0].send_signal(signal.SIGKILL)
        until(lambda: outcomes(client) != [])
        assert outcomes(client)[-1]["outcome"] == "failed"
        assert "killed by signal 9" in outcomes(client)[-1]["why"]
        assert read_artifact(place).checksum == before
        files = {"served", ".served.learning"}
        until(lambda: {path.name for path in place.parent.iterdir()} == files)
        until(lambda: {path.name for path in learning_of(place).iterdir()} <= {"origin", "rounds.json"})
        until(lambda: any(entry["outcome"] == "taken" for entry in outcomes(client)))


@pytest.mark.slow
def test_a_round_ends_with_its_server(place: Path, model: Recommender, sqlite: URL) -> None:
    fill(sqlite, tastes(model))
    with server(place, sqlite, *SOON) as running:
        until(lambda: learners(running.process.pid) != [])
        learner = learners(running.process.pid)[0]
        running.kill()
    until(lambda: not learner.is_running() or learner.status() == psutil.STATUS_ZOMBIE)
    store = Store.open(sqlite)
    until(lambda: store.take_lease("another", 1))
    store.close()


@pytest.mark.slow
def test_when_a_server_and_its_learner_die_the_other_server_learns(
    model_dir: Path, tmp_path: Path, model: Recommender, postgresql_server: PostgreSQL
) -> None:
    url, places = postgresql_server.database(), [tmp_path / name / "model" for name in ("one", "two")]
    fill(url, tastes(model))
    for place in places:
        shutil.copytree(model_dir, place)
    with server(places[0], url, *SOON) as one:
        store = Store.open(url)
        until(lambda: store.learner() is not None)
        first = store.learner()
        with server(places[1], url, *SOON) as two:
            facts = httpx.get(f"{two.address}/api/admin/learning").json()
            if facts["learner"] == first:
                assert learners(two.process.pid) == [], "one learns at a time"
            doomed = learners(one.process.pid)
            one.kill()
            for learner in doomed:
                learner.kill()
            until(lambda: [entry["outcome"] for entry in rounds_of(places[1])][-1:] == ["taken"])
        store.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--learn-every", "3600"), "expected a duration with its unit, such as 90s, 30m, 1h or 1d, found '3600'"),
        (("--learn-every", "soon"), "expected a duration with its unit"),
        (("--refit-every", "0s"), "expected a duration of 1s or more, found '0s'"),
        (("--learn-after", "0"), "greater than or equal to 1, found 0"),
        (("--learn-memory", "-1"), "greater than 0, found -1.0"),
    ],
)
def test_bad_options_are_refused_in_one_line(
    command: CommandLine, model_dir: Path, options: tuple[str, ...], message: str
) -> None:
    done = command("serve", model_dir, "--port", 0, *options)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert message in done.stderr


def test_what_would_fail_in_every_round_is_refused_at_the_start(place: Path, serve: Serve) -> None:
    (place.parent / "link").symlink_to(place)
    (place.parent / ".served.previous").mkdir()
    (place.parent / ".served.previous" / "notes.txt").write_text("not a model")
    with pytest.raises(OutputError, match="expected a new directory or an earlier reelgraph-artifact, found other"):
        serve(place.parent / "link", learn_every="1h")


def test_a_model_that_cannot_be_updated_is_refused_at_the_start(place: Path) -> None:
    current, settings = Current(place), Settings(learn_every="1h")
    current.load().recommender.artifact.manifest["config"]["model"] = "gcn"
    metrics = Metrics(current)
    learner = Learner(settings, current, Ledger(URL.create("sqlite", database="unused"), metrics), metrics)
    with pytest.raises(ConfigError, match="--learn-every: expected a residual model, which can be updated, found gcn"):
        learner.check()


def test_learning_needs_pytorch(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    current = Current(place)
    metrics = Metrics(current)
    ledger = Ledger(URL.create("sqlite", database="unused"), metrics)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SetupError, match="expected PyTorch, found none"):
        Learner(Settings(learn_every="1h"), current, ledger, metrics).check()
    Learner(Settings(), current, ledger, metrics).check()


def test_a_lost_lease_ends_the_round(database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "LEASE", 600.0)  # A process that cannot renew its lease in time would end.
    store = Store.open(database)
    with learning.leased(store, None) as confirm:
        assert confirm is not None
        confirm()
        store.end_lease(learning.holder(os.getpid()))
        assert store.take_lease("another server", 60)
        with pytest.raises(SetupError, match="learn: expected to be the only one"):
            confirm()
    assert store.learner() == "another server", "it is not ours to end"
    store.close()


@pytest.mark.slow
def test_a_round_by_hand(command: CommandLine, place: Path, model: Recommender, sqlite: URL, monkeypatch: Any) -> None:
    monkeypatch.setenv("REELGRAPH_DATABASE", sqlite.render_as_string(hide_password=False))
    store = Store.open(sqlite)
    done = command("learn", place)
    assert (done.returncode, done.stdout) == (0, "skipped: expected 20 new ratings or more, found 0\n"), done.stderr
    fill(sqlite, tastes(model))
    store.take_lease("another server", 60)
    done = command("learn", place)
    assert (done.returncode, done.stdout) == (0, "busy: another server learns at present\n")
    store.end_lease("another server")
    done = command("learn", place, "--json", "--memory", "0.3")
    assert done.returncode == 2
    assert "learn: expected to need at most 0.3 GB, found more; allow more memory" in done.stderr
    done = command("learn", place, "--json", "--memory", "2")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "taken"
    assert store.learner() is None
    store.close()


def test_the_latest_rounds_are_kept(place: Path) -> None:
    write_artifact(read_artifact(place), place)
    for number in range(60):
        record(place, {"number": number})
    assert [entry["number"] for entry in rounds_of(place)] == list(range(59, 9, -1))

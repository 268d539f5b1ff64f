"""Killed servers lose no acknowledged rating; benchmarks/durability.py runs a longer version."""

from pathlib import Path

import pytest
from sqlalchemy import URL

from reelgraph.recommend.recommender import open_model
from reelgraph.service.database.store import Store
from tests.support.kills import Server, Writers, endure, lost

WRITES, KILLS = 200, 3


@pytest.fixture
def writers(model_dir: Path, database: URL) -> Writers:
    movies = open_model(model_dir).items.ids.to_pylist()
    return Writers(Server(model_dir, database), movies, (1.0, 5.0, 2.0), WRITES)


@pytest.mark.slow
def test_no_acknowledged_rating_is_lost(writers: Writers) -> None:
    outcome = endure(writers, KILLS)
    assert outcome.acknowledged == WRITES
    assert (outcome.kills, outcome.lost) == (KILLS, 0)
    assert outcome.broken_off > 0, "the server was killed while it was asked"
    store, (movie, rating) = Store.open(writers.server.url), list(writers.plan(3))[-1]
    store.delete_rating("user 3", movie)
    assert lost(writers) == 1, "a loss is seen"
    store.put("user 3", {movie: rating})
    store.delete_user("user 5")
    assert lost(writers) > 20
    store.close()

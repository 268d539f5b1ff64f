"""Rounds of learning of a model of likes, which has lists and no stars."""

from pathlib import Path

import numpy as np
import pytest

import reelgraph as rg
from reelgraph.artifact import Artifact, read_artifact, write_artifact
from reelgraph.files import learning_of
from reelgraph.recommend.recommender import open_model
from reelgraph.training import learning
from reelgraph.training.learning import learn
from reelgraph.training.update import update
from tests.support.worlds import views
from tests.training.test_learning import Row, pairs, table


@pytest.fixture(scope="module")
def trained() -> Artifact:
    """A model of 40 users, of which those of an odd number like the movies of an odd number."""
    return rg.fit(rg.load(views(), implicit=True), tune="none", rank_dim=8, rank_max_steps=40, seed=1).artifact


@pytest.fixture
def place(trained: Artifact, tmp_path: Path) -> Path:
    write_artifact(trained, tmp_path / "model")
    return tmp_path / "model"


def likes(visitors: int) -> list[Row]:
    """Likes of visitors with the taste of one group, of whatever movie at whatever time."""
    rng = np.random.default_rng(3)
    own = [(visitor, item) for visitor in range(visitors) for item in range(visitor % 2, 30, 2)]
    given = [pair for pair in own if rng.random() < 0.7]
    times = rng.permutation(len(given)).tolist()
    return [(f"visitor-{visitor}", f"m{item}", 1.0, at) for (visitor, item), at in zip(given, times, strict=True)]


@pytest.mark.parametrize("refit", [False, True])
def test_a_model_of_likes_takes_in_new_ones(place: Path, trained: Artifact, refit: bool) -> None:
    rows = likes(16)
    outcome = learn(place, table(rows), refit=refit)
    assert outcome.outcome == "taken", outcome
    assert outcome.measures.keys() == {"ndcg"}
    assert outcome.judges == round(0.2 * len(rows))
    learned = read_artifact(place)
    assert not learned.has_stars
    assert pairs(learned) == pairs(trained) | dict.fromkeys([row[:2] for row in rows], 1.0)
    model = open_model(place)
    for visitor in (3, 4):
        listed = [int(line.movie.movie_id[1:]) for line in model.recommend(f"visitor-{visitor}", k=3)]
        assert {movie % 2 for movie in listed} == {visitor % 2}
    assert learn(place, table(rows)).outcome == "skipped"
    outcome = learn(place, table([row for row in rows if row[0] != "visitor-3"]))
    assert outcome.deleted == sum(row[0] == "visitor-3" for row in rows)
    assert "visitor-3" not in open_model(place).users
    if refit:
        fitted = read_artifact(learning_of(place) / "fit")
        assert fitted.manifest["given"] == trained.manifest["given"], "the settings of the first training"


def test_worse_lists_are_refused_with_their_figures(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_artifact(place)

    def spoilt(model: Artifact, *rows: object) -> tuple[Artifact, object]:
        made, summary = update(model, *rows)  # type: ignore[arg-type]
        made.weights["rank.item.state"] = -made.weights["rank.item.state"]
        return made, summary

    monkeypatch.setattr(learning, "update", spoilt)
    outcome = learn(place, table(likes(16)))
    assert outcome.outcome == "refused", outcome
    values = outcome.measures["ndcg"]
    assert values["candidate"] < values["service"]
    assert f"ndcg of {values['candidate']:.4f} where {values['service']:.4f} is in service" in outcome.why
    assert read_artifact(place).checksum == before.checksum

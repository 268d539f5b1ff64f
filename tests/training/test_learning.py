"""Rounds of learning: what is taken in, refused or deleted, and that the judges are unknown to both models."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from reelgraph.artifact import Artifact, read_artifact, write_artifact
from reelgraph.errors import ConfigError
from reelgraph.evaluation.differences import paired
from reelgraph.files import learning_of, previous_of
from reelgraph.recommend.recommender import open_model
from reelgraph.training import learning
from reelgraph.training.fit import fit
from reelgraph.training.learning import learn, without_deleted
from reelgraph.training.update import forget, update
from tests.support.worlds import checkerboard, settings

Row = tuple[str, str, float, int]


@pytest.fixture(scope="module")
def trained() -> Artifact:
    """A model of 40 users, of which those of an odd number like the movies of an odd number."""
    config = settings(ranking=True, max_steps=60, rank_max_steps=40, rank_dim=6, tune="none", use_all=True)
    return fit(checkerboard(), config).artifact


@pytest.fixture
def place(trained: Artifact, tmp_path: Path) -> Path:
    write_artifact(trained, tmp_path / "model")
    return tmp_path / "model"


def table(rows: list[Row]) -> pa.Table:
    names = ("userId", "movieId", "rating", "timestamp")
    return pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)})


def board(users: int, movies: int = 30, first: int = 0) -> list[Row]:
    """Ratings of visitors with the tastes of the checkerboard, but not as sure of them, in order of time."""
    rows = []
    for user in range(first, first + users):
        for item, less in enumerate(np.random.default_rng(user).integers(0, 2, movies).tolist()):
            stars = 5.0 - less if user % 2 == item % 2 else 1.0 + less
            rows.append((f"visitor-{user}", f"m{item}", stars, 1000 * item + user))
    return rows


def pairs(model: Artifact) -> dict[tuple[str, str], float]:
    ratings = model.ratings
    users, movies = model.users["userId"].to_pylist(), model.items["movieId"].to_pylist()
    columns = ratings.user_index.tolist(), ratings.item_index.tolist(), ratings.rating.tolist()
    return {(users[user], movies[item]): rating for user, item, rating in zip(*columns, strict=True)}


def test_a_model_takes_in_new_ratings(place: Path, trained: Artifact) -> None:
    rows, made = board(12), (place / "manifest.json").stat()
    outcome = learn(place, table(rows))
    assert (outcome.kind, outcome.outcome) == ("update", "taken"), outcome
    found = (place / "manifest.json").stat()
    assert (found.st_mtime_ns, found.st_ino != made.st_ino) == (made.st_mtime_ns, True), "no newer than its neighbours"
    assert (outcome.collected, outcome.new, outcome.judges, outcome.judging_users) == (360, 360, 72, 12)
    assert outcome.measures.keys() == {"rmse", "ndcg"}
    learned = read_artifact(place)
    assert pairs(learned) == pairs(trained) | {row[:2]: row[2] for row in rows}
    assert pairs(read_artifact(previous_of(place))) == pairs(trained), "for a rollback"
    assert pairs(read_artifact(learning_of(place) / "origin")) == pairs(trained)
    assert learn(place, table(rows)).outcome == "skipped", "nothing is new"
    assert learn(place, table(rows + board(3, 5, first=12))).outcome == "skipped", "too few are new"


def test_the_judges_are_the_newest_and_no_model_knows_them(
    place: Path, trained: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models that are judged hold no judge, and visitors are not folded in from one."""
    judged: list[Any] = []
    errors = learning.errors_as_served

    def watched(model: Any, known_users: Any, known: pa.Table, judges: pa.Table) -> Any:
        ids = [
            list(zip(part["userId"].to_pylist(), part["movieId"].to_pylist(), strict=True)) for part in (known, judges)
        ]
        judged.append((set(pairs(model.artifact)), *ids))
        return errors(model, known_users, known, judges)

    monkeypatch.setattr(learning, "errors_as_served", watched)
    monkeypatch.setattr(learning, "CHANCE", 0.0)  # All are taken in.
    again = [("u0", "m0", 5.0, 10**6), ("u1", "m1", 5.0, 10**6)]  # known already, so no judges, however new
    for refit in (False, True):
        rows = board(10 + 10 * refit)
        outcome = learn(place, table(rows + again), refit=refit)
        assert outcome.outcome == "taken", outcome
        newest = sorted(rows, key=lambda row: row[3])[-outcome.judges :]
        for held, known, judges in judged[-2:]:
            assert set(judges) == {row[:2] for row in newest}
            assert not held & set(judges)
            assert not set(known) & set(judges)
    assert len(judged) == 4
    assert {row[:2] for row in board(20)} <= pairs(read_artifact(place)).keys(), "in the end they are learned, too"


def test_a_worse_model_is_refused_with_its_figures(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_artifact(place)

    def spoilt(model: Artifact, *rows: object, **options: object) -> tuple[Artifact, object]:
        made, summary = update(model, *rows, **options)  # type: ignore[arg-type]
        made.weights["item.state"] = -made.weights["item.state"]
        made.weights["rank.item.bias"] = np.arange(30, dtype=np.float32)
        return made, summary

    monkeypatch.setattr(learning, "update", spoilt)
    outcome = learn(place, table(board(12)))
    assert outcome.outcome == "refused"
    rmse, ndcg = outcome.measures["rmse"], outcome.measures["ndcg"]
    assert rmse["candidate"] > rmse["service"] + 0.5
    assert rmse["chance"] < 0.025
    assert ndcg["candidate"] < ndcg["service"]
    assert f"rmse of {rmse['candidate']:.4f} where {rmse['service']:.4f} is in service" in outcome.why
    assert read_artifact(place).checksum == before.checksum


def test_a_refit_trains_on_all_ratings_and_later_updates_start_from_it(place: Path, trained: Artifact) -> None:
    rows = board(12)
    outcome = learn(place, table(rows), refit=True)
    assert (outcome.kind, outcome.outcome) == ("refit", "taken"), outcome
    model = read_artifact(place)
    assert pairs(model) == pairs(trained) | {row[:2]: row[2] for row in rows}
    fitted = read_artifact(learning_of(place) / "fit")
    assert fitted.manifest["given"] == trained.manifest["given"], "the settings of the first training"
    assert fitted.users.num_rows == 52
    assert len(pairs(fitted)) == len(pairs(trained)) + 360 - outcome.judges
    more = rows + board(4, first=12)
    assert learn(place, table(more)).outcome == "taken"
    expected = update(fitted, *learning._ids(table(more)), np.asarray([row[2] for row in more]))[0]
    for name, array in read_artifact(place).weights.items():
        np.testing.assert_allclose(array, expected.weights[name], atol=1e-5, err_msg=name)


def test_deleted_ratings_leave_the_model_at_once(place: Path, trained: Artifact) -> None:
    """Also when nothing is new, from each copy, and what they replaced returns."""
    movie, stars = next((movie, stars) for (user, movie), stars in pairs(trained).items() if user == "u7")
    replacing: list[Row] = [("u7", movie, 3.0, 5)]
    rows = board(12)
    learn(place, table(rows + replacing), refit=True)
    assert pairs(read_artifact(place))["u7", movie] == 3.0
    outcome = learn(place, table([row for row in rows if row[0] != "visitor-3" and row[1] != "m4"]))
    assert (outcome.outcome, outcome.deleted) == ("skipped", 30 + 11)
    kept = {row[:2]: row[2] for row in rows if row[0] != "visitor-3" and row[1] != "m4"}
    assert pairs(read_artifact(place)) == pairs(trained) | kept
    assert pairs(read_artifact(place))["u7", movie] == stars
    assert pairs(read_artifact(learning_of(place) / "fit")).items() <= (pairs(trained) | kept).items()
    assert not previous_of(place).exists(), "no rollback brings them back"
    assert "visitor-3" not in open_model(place).users
    learn(place, table([]))
    assert pairs(read_artifact(place)) == pairs(trained)


def test_a_model_without_deletions_stays_as_it_is(place: Path, trained: Artifact) -> None:
    rows = table(board(12))
    learn(place, rows)
    model = read_artifact(place)
    assert without_deleted(model, trained, rows) is model


def test_a_model_that_somebody_puts_in_place_is_a_new_beginning(place: Path, trained: Artifact) -> None:
    learn(place, table(board(12)))
    (learning_of(place) / "fit").mkdir()
    own = update(read_artifact(place), ["u1"], ["m1"], np.asarray([4.0]))[0]
    write_artifact(own, place)
    assert learn(place, table([])).deleted == 0, "all of its ratings are the operator's own"
    assert pairs(read_artifact(learning_of(place) / "origin")) == pairs(own)
    assert not (learning_of(place) / "fit").exists()


def test_a_model_that_is_replaced_meanwhile_wins(place: Path, trained: Artifact) -> None:
    other = forget(trained, "u3")
    outcome = learn(place, table(board(12)), may_write=lambda: write_artifact(other, place))
    assert outcome.outcome == "overtaken"
    assert pairs(read_artifact(place)) == pairs(other)


def test_who_may_not_write_changes_nothing(place: Path) -> None:
    before = read_artifact(place)

    def refuse() -> None:
        raise ConfigError("lost the lease")

    with pytest.raises(ConfigError):
        learn(place, table(board(12)), may_write=refuse)
    assert read_artifact(place).checksum == before.checksum


@pytest.mark.parametrize("worse", [0.0, 0.3])
def test_the_paired_test_tells_chance_from_harm(worse: float) -> None:
    rng = np.random.default_rng(1)
    users = [f"u{number % 60}" for number in range(600)]
    refused = 0
    for seed in range(40):
        mood = rng.normal(0, 0.3, 60)[np.arange(600) % 60]
        first = rng.random(600)
        found = paired(first, first + mood + rng.normal(worse, 0.5, 600), users, seed)
        refused += found.chance < 0.05
    assert refused <= 6 if worse == 0 else refused == 40


def test_a_forgotten_user_does_not_return(place: Path, trained: Artifact) -> None:
    learn(place, table(board(12)))
    write_artifact(forget(read_artifact(place), "u3"), place, keep=False)
    learning.forget_everywhere(place, "u3")
    assert learn(place, table(board(14))).outcome == "taken"
    expected = {pair: stars for pair, stars in pairs(trained).items() if pair[0] != "u3"}
    assert pairs(read_artifact(place)) == expected | {row[:2]: row[2] for row in board(14)}


def test_movies_that_the_operator_has_removed_do_not_return(place: Path, trained: Artifact) -> None:
    outcome = learn(place, table([*board(12), ("visitor-1", "removed", 4.0, 5)]))
    assert (outcome.outcome, outcome.collected) == ("taken", 360)
    assert read_artifact(place).items.equals(trained.items)


def test_users_of_collected_ratings_are_marked(place: Path) -> None:
    learn(place, table([*board(12), ("u3", "m0", 4.0, 5)]))
    users = read_artifact(place).users
    assert set(users.filter(users["collected"])["userId"].to_pylist()) == {f"visitor-{user}" for user in range(12)}


def test_the_paired_test_of_few_users_blames_chance() -> None:
    found = paired(np.zeros(300), np.ones(300), [f"u{number % 3}" for number in range(300)])
    assert (found.users, found.first, found.second) == (3, 0.0, 1.0)
    assert found.chance == pytest.approx(1 / 8, abs=0.02)


def test_equal_models_are_no_worse() -> None:
    assert paired(np.arange(5.0), np.arange(5.0), list("abcde")).chance == 1.0

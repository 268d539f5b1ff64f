"""Updates of a model and forgotten users, compared with models of the same ratings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from reelgraph.artifact import Artifact
from reelgraph.data.dataset import NO_TIME, Dataset, Interactions
from reelgraph.errors import ConfigError, DataError, UnknownIdError
from reelgraph.metrics.ratings import rmse
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.training.fit import fit
from reelgraph.training.update import compare, forget, rebuild, update
from tests.support.worlds import checkerboard, dataset, interactions, moody, settings


@pytest.fixture(scope="module")
def data() -> Dataset:
    return checkerboard()


@pytest.fixture(scope="module")
def model(data: Dataset) -> Artifact:
    """A model with both heads of the training ratings alone."""
    config = settings(ranking=True, max_steps=60, rank_max_steps=40, rank_dim=6, tune="none", refit=False)
    return fit(data, config).artifact


@pytest.fixture(scope="module")
def timed() -> Artifact:
    """A model that has learned from the times of rating."""
    model = fit(moody(), settings(tune="none")).artifact
    assert model.manifest["session"] is not None
    return model


def same(first: Artifact, other: Artifact, names: set[str] | None = None) -> None:
    assert first.weights.keys() == other.weights.keys()
    for name in names or first.weights.keys():
        np.testing.assert_allclose(first.weights[name], other.weights[name], atol=2e-5, err_msg=name)


def test_the_same_ratings_make_the_same_model(model: Artifact) -> None:
    same(rebuild(model, model.ratings, {}), model)


def test_the_same_ratings_make_the_same_model_with_side_features(model_dir: Path) -> None:
    model = open_model(model_dir).artifact
    same(rebuild(model, model.ratings, {}), model)


def test_the_same_ratings_make_the_same_model_with_times(timed: Artifact) -> None:
    again = rebuild(timed, timed.ratings, {})
    same(again, timed)
    for name in ("timestamp", "residual"):
        np.testing.assert_allclose(again.seen[name].to_numpy(), timed.seen[name].to_numpy(), atol=1e-4)


def without_user(part: Interactions, user: int) -> Interactions:
    kept = part.user_index != user
    index = part.user_index[kept] - (part.user_index[kept] > user)
    return Interactions(index.astype(np.int32), part.item_index[kept], part.rating[kept], None)


def test_forgetting_equals_a_model_that_never_saw_the_user(data: Dataset, model: Artifact) -> None:
    """The arrays equal those of the same tables over a graph without the user."""
    user, smaller = 7, forget(model, "u7")
    assert "u7" not in smaller.users["userId"].to_pylist()
    assert smaller.users.num_rows == len(data.users) - 1
    left = without_user(data.train, user)
    assert np.array_equal(smaller.seen["user_index"].to_numpy(), left.user_index)
    assert smaller.manifest["changes"] == {"forgotten": 1}
    assert smaller.manifest["data"]["counts"]["train"] == len(left)
    # Another user 7, with ratings of the opposite kind, leaves no trace either: the rest is the same to the last digit.
    other_train = data.train.rating.copy()
    other_train[data.train.user_index == user] = 6 - other_train[data.train.user_index == user]
    other = Interactions(data.train.user_index, data.train.item_index, other_train, None)
    same(forget(rebuild(model, other, {}), "u7"), smaller)
    # Statistics by hand: the movies' biases are those of the others' ratings alone.
    fresh = fit(
        dataset(left, interactions([], [], []), interactions([], [], []), len(data.users) - 1, len(data.items)),
        settings(max_steps=1, tune="none"),
    ).artifact
    mean, std = (model.manifest["standardise"][name] for name in ("mean", "std"))
    theirs = fresh.manifest["standardise"]
    for name in ("item.bias", "user.bias"):
        found, expected = smaller.weights[name] * std, fresh.weights[name] * theirs["std"]
        np.testing.assert_allclose(found, expected, atol=2e-4, err_msg=name)
    found_mean = float(smaller.weights["mean"]) * std + mean
    assert found_mean == pytest.approx(float(fresh.weights["mean"]) * theirs["std"] + theirs["mean"], abs=1e-4)


def test_only_the_forgotten_user_is_unknown(model: Artifact) -> None:
    smaller = Recommender(forget(model, "u7"))
    with pytest.raises(UnknownIdError, match="u7"):
        smaller.recommend("u7")
    assert all(neighbour.user_id != "u7" for neighbour in smaller.explain("u9", movie="m1").neighbours)
    whole = Recommender(model)
    pairs = [(f"u{user}", f"m{item}") for user in range(40) if user != 7 for item in range(30)]
    assert np.abs(smaller.predict(pairs) - whole.predict(pairs)).mean() < 0.1, "one of forty users changes little"
    with pytest.raises(UnknownIdError):
        forget(model, "nobody")


def cells(part: Interactions) -> dict[tuple[int, int], float]:
    """Ratings by user and movie."""
    rows = zip(part.user_index.tolist(), part.item_index.tolist(), part.rating.tolist(), strict=True)
    return {(user, item): rating for user, item, rating in rows}


def test_an_update_adds_ratings_users_and_movies(data: Dataset, model: Artifact) -> None:
    users = ["u0", "u1", "new", "new", "new", "u2", "u4"]
    movies = ["m0", "fresh", "m0", "m2", "m1", "fresh", "fresh"]
    stars = np.asarray([1.0, 1.0, 5.0, 5.0, 1.0, 5.0, 5.0])
    was = {
        (u, i): r for u, i, r in zip(*(data.train.user_index, data.train.item_index, data.train.rating), strict=True)
    }
    larger, change = update(model, users, movies, stars, steps=0)
    known = int((0, 0) in was)
    assert (change.new_users, change.new_movies, change.replaced, change.added) == (1, 1, known, 7 - known)
    assert larger.users["userId"].to_pylist()[-1] == "new"
    assert larger.items["movieId"].to_pylist()[-1] == "fresh"
    at = larger.ratings
    now = {
        (u, i): r for u, i, r in zip(at.user_index.tolist(), at.item_index.tolist(), at.rating.tolist(), strict=True)
    }
    new, fresh = len(data.users), len(data.items)
    assert now == was | {(0, 0): 1, (1, fresh): 1, (new, 0): 5, (new, 2): 5, (new, 1): 1, (2, fresh): 5, (4, fresh): 5}
    order = np.lexsort((at.item_index, at.user_index))
    assert np.array_equal(order, np.arange(len(at))), "sorted, as serving needs them"
    recommender = Recommender(larger)
    best = recommender.recommend("new", k=8)
    assert all(int(line.movie.movie_id.removeprefix("m")) % 2 == 0 for line in best if line.movie.movie_id != "fresh")
    assert recommender.predict([("u6", "fresh")]) > recommender.predict([("u7", "fresh")]), "the camps differ on it"
    assert np.isfinite(recommender.predict([("new", "fresh"), ("nobody", "fresh")])).all()


def test_a_new_user_gets_the_predictions_of_a_visitor_with_the_same_ratings(model: Artifact) -> None:
    """Without steps, the updated arrays and the fold-in of a visitor agree."""
    ratings = {"m0": 5.0, "m2": 5.0, "m1": 1.0}
    larger, _ = update(model, ["new"] * 3, list(ratings), np.asarray(list(ratings.values())), steps=0)
    recommender = Recommender(larger)
    one, other = recommender.recommend("new", k=10), recommender.recommend(ratings=ratings, k=10)
    assert [line.movie for line in one] == [line.movie for line in other]
    assert [line.prediction for line in one] == pytest.approx([line.prediction for line in other], abs=1e-4)


def test_new_ratings_reduce_the_error(data: Dataset, model: Artifact) -> None:
    """The error for users without ratings before the update comes close to that of a full fit."""
    late = data.train.user_index >= 30
    train = data.train
    early = Interactions(train.user_index[~late], train.item_index[~late], train.rating[~late], None)
    config = settings(ranking=True, max_steps=60, rank_max_steps=40, rank_dim=6, tune="none", refit=False)
    nothing = interactions([], [], [])
    before = fit(dataset(early, data.valid, nothing, 40, 30), config).artifact
    ids = [f"u{user}" for user in data.train.user_index[late]], [f"m{item}" for item in data.train.item_index[late]]
    test = [f"u{user}" for user in data.test.user_index], [f"m{item}" for item in data.test.item_index]
    of_late = data.test.user_index >= 30

    def error(artifact: Artifact) -> float:
        return rmse(Recommender(artifact).predictor.predict(*test)[of_late], data.test.rating[of_late])

    plain, _ = update(before, *ids, data.train.rating[late], steps=0)
    warm, change = update(before, *ids, data.train.rating[late], steps=10)
    assert change.steps == 10
    assert error(plain) < 0.6 * error(before)
    assert error(warm) < 1.1 * error(plain)
    again, _ = update(before, *ids, data.train.rating[late], steps=10)
    same(again, warm)


def test_the_last_rating_of_a_pair_counts(model: Artifact) -> None:
    larger, change = update(model, ["x", "x"], ["m0", "m0"], np.asarray([1.0, 4.0]), steps=0)
    at = larger.ratings
    assert at.rating[at.user_index == 40].tolist() == [4.0]
    assert (change.added, change.replaced) == (1, 0)


def test_a_new_movie_uses_its_side_features_at_once(model_dir: Path) -> None:
    """Contributions are linear in the side features, so a new movie with the features of a known one has the same."""
    model = open_model(model_dir).artifact
    twin = model.items.slice(4, 1).to_pylist()[0]
    table = pa.table({name: [value] for name, value in (twin | {"movieId": "9999"}).items()}, schema=model.items.schema)
    larger, _ = update(model, ["1"], ["9999"], np.asarray([4.0]), item_table=table, steps=0)
    assert larger.items.to_pylist()[-1] == twin | {"movieId": "9999"}
    for name in ("item.side", "rank.item.side"):
        np.testing.assert_allclose(larger.weights[name][-1], larger.weights[name][4], atol=1e-3)
    assert Recommender(larger).catalogue.movie(len(model.items)).title == twin["title"]


def test_times_are_kept_and_may_be_missing(timed: Artifact) -> None:
    later = np.asarray([2_000_000, NO_TIME])
    larger, _ = update(timed, ["u1", "new"], ["m9", "m9"], np.asarray([4.0, 2.0]), later, steps=0)
    at, plain = larger.ratings, update(timed, ["new"], ["m9"], np.asarray([2.0]), steps=0)[0]
    assert at.timestamp is not None
    users, movies = larger.users["userId"].to_pylist(), larger.items["movieId"].to_pylist()
    mine = (at.user_index == users.index("u1")) & (at.item_index == movies.index("m9"))
    assert at.timestamp[mine].tolist() == [2_000_000]
    for changed in (larger, plain):
        found = Recommender(changed).predict([("new", "m2"), ("u1", "m2")], timestamps=[2_000_010, 2_000_010])
        assert np.isfinite(found).all()


def test_distance_from_a_full_fit(data: Dataset) -> None:
    # With a third of the ratings, lists of ten are a choice: of the whole checkerboard a user has rated all but six.
    train = data.train.take(np.random.default_rng(0).random(len(data.train)) < 0.33)
    config = settings(ranking=True, max_steps=60, rank_max_steps=40, rank_dim=6, tune="none", refit=False)
    model = fit(replace(data, train=train), config).artifact
    found, seconds = compare(model)
    assert seconds > 0
    assert found.pairs > 1000
    assert found.users == 40
    assert 0 <= found.prediction < 1
    assert 0.3 < found.overlap <= 1
    wild = {name: -array if name.endswith("item.state") else array for name, array in model.weights.items()}
    upset = Artifact(model.manifest, wild, model.users, model.items, model.seen, model.history, model.rejects)
    far, _ = compare(upset)
    assert far.prediction > 2 * found.prediction
    assert far.overlap < found.overlap


def test_bad_updates_are_refused(model: Artifact, data: Dataset) -> None:
    with pytest.raises(DataError, match="rating 7 in row 2: expected 1 to 5, the scale of the model"):
        update(model, ["u0", "u0"], ["m0", "m1"], np.asarray([3.0, 7.0]))
    with pytest.raises(DataError, match="rating nan in row 1"):
        update(model, ["u0"], ["m0"], np.asarray([np.nan]))
    gcn = fit(data, model="gcn", max_steps=2).artifact
    for change in (lambda: update(gcn, ["u0"], ["m0"], np.asarray([3.0])), lambda: forget(gcn, "u0")):
        with pytest.raises(ConfigError, match="expected a residual model, found gcn"):
            change()
    nothing = interactions([], [], [])
    alone = fit(dataset(interactions([0, 0], [0, 1], [1, 5]), nothing, nothing, 1, 2), max_steps=1)
    with pytest.raises(ConfigError, match="expected ratings of other users than u0, found none"):
        forget(alone.artifact, "u0")

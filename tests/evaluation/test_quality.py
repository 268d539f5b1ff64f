"""Quality of lists, explanations and similar movies, on models with known answers."""

from pathlib import Path

import numpy as np
import pytest

from reelgraph.arrays import NO_ITEM
from reelgraph.data.dataset import Dataset, Interactions
from reelgraph.evaluation import quality
from reelgraph.evaluation.quality import OPTIONS, deletion_test, measure_lists, measure_quality, similarity_test
from reelgraph.metrics.ranking import evaluate_lists
from reelgraph.recommend.lists import ORDERS
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.training.fit import fit
from tests.support.worlds import checkerboard, settings


@pytest.fixture(scope="module")
def data() -> Dataset:
    return checkerboard()


@pytest.fixture(scope="module")
def model(data: Dataset) -> Recommender:
    return fit(data, settings(ranking=True, max_steps=60, rank_max_steps=60, rank_dim=6, tune="none"))


def test_lists_are_evaluated_as_recommend_returns_them(model: Recommender, data: Dataset) -> None:
    measures = measure_lists(model, data.test)
    names = {f"order {order}" for order in ORDERS} | {"default", "popularity"} | set(OPTIONS)
    assert set(measures) == names - {"calibration 0.5"}
    assert measures["default"] == measures["order best"]
    assert model.ranker is not None

    def lists(users: np.ndarray) -> np.ndarray:
        rows = np.full((len(users), 20), NO_ITEM, np.int32)
        for row, user in enumerate(users.tolist()):
            ids = [line.movie.movie_id for line in model.recommend(f"u{user}", k=20, diversity=0.3)]
            rows[row, : len(ids)] = [model.items.index(movie) for movie in ids]
        return rows

    seen = model.artifact.ratings
    expected = evaluate_lists(lists, seen, data.test, len(data.items), 5.0, states=model.ranker.item_states)
    assert measures["diversity 0.3"] == pytest.approx(expected.to_json())
    assert measures["default"]["ndcg"] > 0.5, "users like the movies of their own camp"  # type: ignore[operator]


def test_lists_are_evaluated_on_a_sample_of_users(
    model: Recommender, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "MAX_USERS", 5)
    assert {row["users"] for row in measure_lists(model, data.test).values()} == {5}
    assert measure_lists(model, data.test) == measure_lists(model, data.test)


def test_deleting_top_contributions_changes_predictions_most(model_dir: Path, data: Dataset) -> None:
    model = open_model(model_dir)
    rng = np.random.default_rng(0)
    pairs = sorted({(int(user), int(item)) for user, item in rng.integers(0, (60, 80), (150, 2))})
    user, item = (np.asarray(column, np.int32) for column in zip(*pairs, strict=True))
    changes = deletion_test(model, Interactions(user, item, np.ones(len(user), np.float32), None))
    assert changes is not None
    for name in ("prediction", "ranking"):
        assert changes[name]["pairs"] == len(pairs)
        assert changes[name]["top"] > 1.5 * changes[name]["random"] > 0


def test_deletion_test_by_hand(model: Recommender, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "MAX_PAIRS", 1)
    pair = Interactions(data.test.user_index[:1], data.test.item_index[:1], data.test.rating[:1], None)
    movie = f"m{pair.item_index[0]}"
    items, stars = model.predictor.seen(int(pair.user_index[0]))
    ratings = {f"m{item}": float(rating) for item, rating in zip(items, stars, strict=True)}
    whole = model.explain(ratings=ratings, movie=movie)
    top = [reason.movie.movie_id for reason in whole.because[: quality.DELETED]]
    left = {name: rating for name, rating in ratings.items() if name not in top}
    changes = deletion_test(model, pair)
    assert changes is not None
    change = abs(whole.prediction - model.explain(ratings=left, movie=movie).prediction)
    assert changes["prediction"]["top"] == pytest.approx(change, abs=1e-5)


def test_similar_movies_share_genres_and_raters(model_dir: Path) -> None:
    model = open_model(model_dir)
    results = similarity_test(model)
    assert results is not None
    for name in ("random", "popular"):
        assert results["similar"]["genre"] > results[name]["genre"]  # type: ignore[operator]
    assert set(results) == {"similar", "random", "popular"}


def test_lift_by_hand(model: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "NEIGHBOURS", len(model.items) - 1)
    results = similarity_test(model)
    assert results is not None
    assert results["similar"]["genre"] is None, "the data set has no genres"
    raters = [set(model.predictor.raters(item)[0].tolist()) for item in range(len(model.items))]
    lifts = [
        len(raters[movie] & raters[other]) * len(model.users) / len(raters[movie]) / len(raters[other])
        for movie in range(len(raters))
        for other in range(len(raters))
        if movie != other and len(raters[movie]) >= quality.MIN_RATINGS
    ]
    for result in results.values():  # Every other movie is a neighbour, a random and a popular one.
        assert result["lift"] == pytest.approx(np.mean(lifts))


def test_gcn_and_empty_test_ratings(data: Dataset) -> None:
    gcn = fit(data, model="gcn", max_steps=2)
    assert deletion_test(gcn, data.test) is None
    empty = Interactions(data.test.user_index[:0], data.test.item_index[:0], data.test.rating[:0], None)
    lists = measure_quality(gcn, empty)["lists"]
    assert all(row["users"] == 0 and row["ndcg"] is None for row in lists.values())
    assert "order rank" not in lists
    assert similarity_test(fit(data, settings(max_steps=1))) is not None

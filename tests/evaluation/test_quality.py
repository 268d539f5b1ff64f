"""What the report says of lists, reasons and similar movies, on models where the answer is known."""

from pathlib import Path

import numpy as np
import pytest

from reelgraph.arrays import NO_ITEM
from reelgraph.data.dataset import Dataset, Interactions
from reelgraph.evaluation import quality
from reelgraph.evaluation.quality import WISHES, deletion_test, judge, judge_lists, similar_test
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


def test_every_order_and_wish_is_judged_as_the_lists_that_people_get(model: Recommender, data: Dataset) -> None:
    found = judge_lists(model, data.test)
    assert set(found) == {f"order {order}" for order in ORDERS} | {"default"} | set(WISHES)
    assert found["default"] == found["order blend"]
    assert model.ranker is not None

    def lists(users: np.ndarray) -> np.ndarray:
        rows = np.full((len(users), 20), NO_ITEM, np.int32)
        for row, user in enumerate(users.tolist()):
            ids = [line.movie.movie_id for line in model.recommend(f"u{user}", k=20, diversity=0.3)]
            rows[row, : len(ids)] = [model.items.index(movie) for movie in ids]
        return rows

    seen = model.artifact.ratings
    expected = evaluate_lists(lists, seen, data.test, len(data.items), 5.0, states=model.ranker.item_states)
    assert found["diversity 0.3"] == pytest.approx(expected.to_json())
    assert found["default"]["ndcg"] > 0.5, "liked movies are those of the own camp"  # type: ignore[operator]


def test_only_some_users_are_judged_of_many(model: Recommender, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "MOST_USERS", 5)
    assert {row["users"] for row in judge_lists(model, data.test).values()} == {5}
    assert judge_lists(model, data.test) == judge_lists(model, data.test)


def test_top_contributions_move_predictions_more_than_random_ones(model_dir: Path, data: Dataset) -> None:
    model = open_model(model_dir)
    rng = np.random.default_rng(0)
    pairs = sorted({(int(user), int(item)) for user, item in rng.integers(0, (60, 80), (150, 2))})
    user, item = (np.asarray(column, np.int32) for column in zip(*pairs, strict=True))
    found = deletion_test(model, Interactions(user, item, np.ones(len(user), np.float32), None))
    assert found is not None
    for name in ("prediction", "ranking"):
        assert found[name]["pairs"] == len(pairs)
        assert found[name]["top"] > 1.5 * found[name]["random"] > 0


def test_the_deletion_test_counts_by_hand(model: Recommender, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "MOST_PAIRS", 1)
    one = Interactions(data.test.user_index[:1], data.test.item_index[:1], data.test.rating[:1], None)
    user, movie = f"u{one.user_index[0]}", f"m{one.item_index[0]}"
    items, stars = model.predictor.seen(int(one.user_index[0]))
    ratings = {f"m{item}": float(rating) for item, rating in zip(items, stars, strict=True)}
    whole = model.explain(ratings=ratings, movie=movie)
    top = [reason.movie.movie_id for reason in whole.because[: quality.DELETED]]
    left = {name: rating for name, rating in ratings.items() if name not in top}
    found = deletion_test(model, one)
    assert found is not None
    change = abs(whole.prediction - model.explain(ratings=left, movie=movie).prediction)
    assert found["prediction"]["top"] == pytest.approx(change, abs=1e-5)
    assert user in model.users.ids.to_pylist()


def test_similar_movies_share_genres_and_raters(model_dir: Path) -> None:
    model = open_model(model_dir)
    found = similar_test(model)
    assert found is not None
    for name in ("random", "popular"):
        assert found["similar"]["genre"] > found[name]["genre"]  # type: ignore[operator]
    assert set(found) == {"similar", "random", "popular"}


def test_lift_by_hand(model: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "NEAR", len(model.items) - 1)
    found = similar_test(model)
    assert found is not None
    assert found["similar"]["genre"] is None, "no genres are known"
    raters = [set(model.predictor.raters(item)[0].tolist()) for item in range(len(model.items))]
    lifts = [
        len(raters[one] & raters[other]) * len(model.users) / len(raters[one]) / len(raters[other])
        for one in range(len(raters))
        for other in range(len(raters))
        if one != other and len(raters[one]) >= quality.FEWEST_RATINGS
    ]
    for kind in found.values():  # All others are near, at random, and popular.
        assert kind["lift"] == pytest.approx(np.mean(lifts))


def test_models_without_reasons_or_ratings_are_judged_by_what_there_is(data: Dataset) -> None:
    gcn = fit(data, model="gcn", max_steps=2)
    assert deletion_test(gcn, data.test) is None
    empty = Interactions(data.test.user_index[:0], data.test.item_index[:0], data.test.rating[:0], None)
    found = judge(gcn, empty)
    assert all(row["users"] == 0 and row["ndcg"] is None for row in found["lists"].values())
    assert "order rank" not in found["lists"]
    assert similar_test(fit(data, settings(max_steps=1))) is not None

"""Every form in which Python holds pairs, ratings and ids gives the same answers, and nothing else is guessed."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import reelgraph as rg
from reelgraph.recommend.recommender import Recommender

RATINGS = pd.DataFrame({
    "userId": [user for user in range(1, 31) for _ in range(12)],
    "movieId": [(user * 7 + 5 * rank) % 40 + 1 for user in range(1, 31) for rank in range(12)],
    "rating": [1 + (user + rank) % 5 for user in range(1, 31) for rank in range(12)],
})  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Recommender:
    return rg.fit(rg.load(RATINGS), tune="none", ranking=False, max_steps=10)


@pytest.mark.parametrize(
    "pairs",
    [
        [(1, 2), (2, 3)],
        [("1", "2"), ("2", "3")],
        [(1.0, 2.0), (np.int16(2), np.float32(3))],
        [(" 1", "2.0"), ("2", "3 ")],
        [{"userId": 1, "movieId": 2}, {"userId": 2, "movieId": 3}],
        {"userId": [1, 2], "movieId": [2, 3]},
        np.array([[1, 2], [2, 3]]),
        pd.DataFrame({"movieId": [2.0, 3.0], "userId": [1, 2]}),
        pa.table({"userId": [1, 2], "movieId": ["2", "3"]}),
        ((user, movie) for user, movie in [(1, 2), (2, 3)]),
    ],
)
def test_pairs_in_any_form_are_the_same_pairs(model: Recommender, pairs: Any) -> None:
    assert model.predict(pairs).tolist() == model.predict([("1", "2"), ("2", "3")]).tolist()


@pytest.mark.parametrize(
    "ratings",
    [
        {1: 5.0, 2: 1},
        {"1": np.float32(5), 2.0: 1},
        pd.Series({1: 5.0, 2: 1.0}),
        [(1, 5.0), (2, 1.0)],
        pd.DataFrame({"movieId": [1, 2], "rating": [5, 1]}),
        {"movieId": [1, 2], "rating": [5.0, 1.0]},
    ],
)
def test_a_visitors_ratings_in_any_form(model: Recommender, ratings: Any) -> None:
    def listed(ratings: Any) -> list[str]:
        return [suggestion.movie.movie_id for suggestion in model.recommend(ratings=ratings, k=5)]

    assert listed(ratings) == listed({"1": 5.0, "2": 1.0})


@pytest.mark.parametrize("ids", ["38", 38, 38.0, ["38"], {38}, np.array([38]), pd.Series([38.0]), (" 38 ",)])
def test_one_or_more_ids_to_deny_and_allow(model: Recommender, ids: Any) -> None:
    visitor = {"1": 5.0}
    all_movies = [suggestion.movie.movie_id for suggestion in model.recommend(ratings=visitor, k=39)]
    denied = [suggestion.movie.movie_id for suggestion in model.recommend(ratings=visitor, k=39, deny=ids)]
    assert denied == [movie for movie in all_movies if movie != "38"]
    assert [suggestion.movie.movie_id for suggestion in model.recommend(ratings=visitor, allow=ids)] == ["38"]


def test_evaluation_takes_tables_and_uses_their_rows(model: Recommender) -> None:
    tuples = list(RATINGS.itertuples(index=False, name=None))
    assert model.evaluate(RATINGS).rmse == model.evaluate(tuples).rmse == model.evaluate(pa.table(RATINGS)).rmse


def test_update_takes_tables(model: Recommender) -> None:
    larger = rg.update(
        model,
        pd.DataFrame({"userId": ["new", "1"], "movieId": [99, 99], "rating": [4, 5]}),
        items=pd.DataFrame({"movieId": [99], "title": ["Heat"]}),
        steps=0,
    )
    assert "new" in larger.users
    assert "99" in larger.items
    assert "99" not in model.items
    assert "31 users" in repr(larger)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda model: model.predict([("1",)]), "movieId"),
        (lambda model: model.predict([("1", None)]), "row 1"),
        (lambda model: model.predict(3), "int"),
        (lambda model: model.predict([("1", "2")], timestamps=[1, 2]), "timestamps"),
        (lambda model: model.predict([("1", "2")], timestamps=1_500_000_000), "1500000000"),
        (lambda model: model.recommend("1", genre=5), "genre: expected a name, found 5"),
        (lambda model: model.recommend("1", order=["best"]), "['best']"),
        (lambda model: model.evaluate([("1", "2", float("nan"))]), "row 1"),
        (lambda model: model.evaluate([("1", "2", 50.0)]), "50"),
        (lambda model: model.evaluate([("nobody", "nothing", 3.0)]), "nobody"),
        (lambda model: model.recommend(ratings={"1": "4.5"}), "'4.5'"),
        (lambda model: model.recommend(ratings={"1": float("nan")}), "nan"),
        (lambda model: model.recommend("1", k="3"), "'3'"),
        (lambda model: model.recommend("1", k=2.5), "2.5"),
        (lambda model: model.recommend("1", diversity="much"), "'much'"),
        (lambda model: rg.update(model, [("1", "2", 9.0)]), "9"),
    ],
)
def test_mistakes_are_one_sentence(model: Recommender, call: Any, said: str) -> None:
    with pytest.raises(rg.ReelgraphError) as refused:
        call(model)
    assert said in str(refused.value)


def test_small_integer_types_are_whole_numbers(model: Recommender) -> None:
    int_like: Any = np.uint8(3)
    assert len(model.recommend(ratings={"1": 5.0}, k=int_like)) == 3

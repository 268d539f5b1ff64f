"""Visitors whose ratings are added and removed."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelgraph.errors import DataError, UnknownIdError
from reelgraph.recommend.recommender import Recommender, open_model

MOVIES = st.integers(1, 80).map(lambda number: str(10 * number))
ACTIONS = st.lists(st.tuples(MOVIES, st.one_of(st.none(), st.integers(1, 5))), max_size=40)


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Recommender:
    return open_model(model_dir)


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_changed_ratings_equal_a_new_visitor(model: Recommender, actions: list[tuple[str, int | None]]) -> None:
    visitor, left = model.visitor(), dict[str, float]()
    for movie, stars in actions:
        if stars is None:
            visitor.remove(movie)
            left.pop(movie, None)
        else:
            visitor.rate(movie, stars)
            left[movie] = float(stars)
    assert visitor.ratings == left
    items = np.asarray([model.items.index(movie) for movie in left], np.int32)
    own = model.predictor.standardise(np.asarray(list(left.values()), np.float32))
    whole = model.scorer.visitor(items, own)  # all ratings at once
    np.testing.assert_allclose(model.scorer.score(visitor.person.state), model.scorer.score(whole), atol=1e-5)
    assert model.ranker is not None
    assert visitor.person.rank_state is not None
    np.testing.assert_allclose(visitor.person.rank_state, model.ranker.fold_in.state(items, own)[1], atol=1e-5)
    suggestions, expected = visitor.recommend(k=10), model.recommend(ratings=left, k=10)
    assert [line.score for line in suggestions] == pytest.approx([line.score for line in expected], abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(MOVIES, st.integers(1, 5)), st.dictionaries(MOVIES, st.integers(1, 5)))
def test_rating_all_at_once_equals_rating_one_by_one(
    model: Recommender, first: dict[str, int], then: dict[str, int]
) -> None:
    at_once, one_by_one = model.visitor(first), model.visitor()
    at_once.rate_all(then)
    for movie, stars in [*first.items(), *then.items()]:
        one_by_one.rate(movie, stars)
    assert at_once.ratings == one_by_one.ratings == first | then
    np.testing.assert_allclose(at_once.predict(), one_by_one.predict(), atol=1e-5)
    with pytest.raises(DataError, match="movie 30: expected 1 to 5, found 9"):
        at_once.rate_all({"20": 3, "30": 9})
    assert at_once.ratings == first | then


def test_a_visitor_without_ratings_left_is_a_new_visitor(model: Recommender) -> None:
    visitor = model.visitor({"10": 5, "20": 1})
    before = model.visitor().predict()
    visitor.remove("10")
    visitor.remove("20")
    assert np.array_equal(visitor.predict(), before)
    assert [line.movie for line in visitor.recommend()] == [line.movie for line in model.recommend(ratings={})]


def test_a_rating_changes_the_list_and_the_explanation(model: Recommender) -> None:
    visitor = model.visitor()
    first = visitor.recommend(k=5)
    visitor.rate(first[0].movie.movie_id, 5)
    assert first[0].movie not in [line.movie for line in visitor.recommend(k=5)]
    explanation = visitor.explain("20")
    assert [reason.movie.movie_id for reason in explanation.because] == [first[0].movie.movie_id]


def test_a_refused_rating_changes_nothing(model: Recommender) -> None:
    visitor = model.visitor({"10": 5})
    before = visitor.predict()
    for stars in (0.5, 6, math.nan, math.inf):
        with pytest.raises(DataError, match="expected 1 to 5"):
            visitor.rate("10", stars)
    with pytest.raises(UnknownIdError, match="movie 'x'"):
        visitor.rate("x", 3)
    with pytest.raises(UnknownIdError, match="movie 'x'"):
        visitor.remove("x")
    assert visitor.ratings == {"10": 5.0}
    assert np.array_equal(visitor.predict(), before)

"""What a person is told of an explanation: order, words, sums."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelgraph.recommend.catalogue import Movie
from reelgraph.recommend.explain import Explanation, Reason, rounded, signed
from reelgraph.recommend.recommender import Recommender, open_model


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Recommender:
    return open_model(model_dir)


def made(*reasons: tuple[str, float, float, bool]) -> Explanation:
    """An explanation of movie X with the given title, rating, contribution and dislike of each rated movie."""
    because = tuple(Reason(Movie(name, name, None, ()), *rest) for name, *rest in reasons)  # type: ignore[arg-type]
    by_size = tuple(sorted(because, key=lambda reason: -abs(reason.contribution)))
    prediction = 3.5 + sum(reason.contribution for reason in because)
    return Explanation(Movie("X", "X", None, ()), prediction, 3.5, 0.0, -0.001, 0, 0, by_size, 0, 0, (), None)


def test_reasons_are_told_before_objections_and_small_parts_as_one_sum() -> None:
    told = made(
        ("A", 4.5, 0.2, False), ("B", 1, 0.3, True), ("C", 5, -0.4, False), ("D", 2, -0.1, True),
        ("E", 4, 0.001, False), ("F", 4, -0.004, False), ("X", 5, 0.25, False),
    )  # fmt: skip
    assert told.text() == [
        "X: 3.75 stars predicted",
        "3.50 on average, 0.00 your level, 0.00 this movie's, +0.25 your taste",
        "because you gave A 4.5 stars: +0.20",
        "because you disliked B (1 star), and so do people who like this: +0.30",
        "but you gave C 5 stars: -0.40",
        "but you disliked D (2 stars): -0.10",
        "your own rating of this movie: +0.25",
        "your 2 other ratings: 0.00",
        "together: +0.25",
    ]
    assert made().text() == [
        "X: 3.50 stars predicted",
        "3.50 on average, 0.00 your level, 0.00 this movie's, 0.00 your taste",
    ]
    assert made(("A", 4, 0.001, False)).text()[2:] == ["your rating: 0.00"]


def test_the_numbers_told_add_up_as_they_are_shown() -> None:
    told = made(("A", 4, 0.023, False), ("B", 4, 0.014, False), ("C", 4, 0.006, False), ("D", 4, 0.001, False)).text()
    assert told[1:] == [
        "3.50 on average, 0.00 your level, 0.00 this movie's, +0.04 your taste",
        "because you gave A 4 stars: +0.02", "because you gave B 4 stars: +0.01", "because you gave C 4 stars: +0.01",
        "your other rating: 0.00", "together: +0.04",
    ]  # fmt: skip
    assert rounded([0.014, 0.024], 0.038) == [0.02, 0.02]
    assert rounded([-0.014, -0.024], -0.038) == [-0.02, -0.02]
    assert rounded([0.006, 0.006, 0.007], 0.019) == [0.0, 0.01, 0.01]
    assert rounded([0.005], 0.005) == [0.01], "as it is shown with two decimals"
    assert rounded([], 0.0) == []


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_rounded_parts_are_near_the_exact_ones(parts: list[float]) -> None:
    shown = rounded(parts, sum(parts))
    assert sum(shown) == pytest.approx(round(sum(parts), 2), abs=1e-9)
    assert all(abs(one - other) <= 0.0151 for one, other in zip(parts, shown, strict=True))


@pytest.mark.parametrize("most", [1, 3, 5, 1000])
@pytest.mark.parametrize("ranking", [False, True])
def test_what_is_told_sums_to_the_contributions(model: Recommender, most: int, ranking: bool) -> None:
    for movie in ("20", "500"):
        explanation = model.explain("9", movie=movie)
        told = explanation.grounds(ranking=ranking, most=most)
        because = explanation.ranking.because if ranking and explanation.ranking else explanation.because
        parts = [reason.contribution for reason in (*told.supporting, *told.opposing, *filter(None, [told.own]))]
        assert sum(parts) + told.rest == pytest.approx(told.total, abs=1e-6)
        assert told.total == pytest.approx(sum(reason.contribution for reason in because), abs=1e-6)
        assert len(parts) + told.rest_number == len(because)
        assert len(told.supporting) <= most + 1
        assert all(signed(reason.contribution).startswith("+") for reason in told.supporting)
        assert all(signed(reason.contribution).startswith("-") for reason in told.opposing)


def test_a_rated_movie_is_no_reason_for_itself(model: Recommender) -> None:
    told = model.explain(ratings={"10": 5.0, "70": 1.0}, movie="10").grounds()
    assert told.own is not None
    assert (told.own.movie.movie_id, told.own.rating) == ("10", 5.0)
    assert "10" not in {reason.movie.movie_id for reason in (*told.supporting, *told.opposing)}
    assert {reason.movie.movie_id for reason in model.explain(ratings={"70": 1.0}, movie="10").because} == {"70"}


def test_a_low_rating_is_told_as_a_dislike(model: Recommender) -> None:
    ratings = {"10": 1.0, "20": 2.0, "50": 3.0, "70": 5.0}
    disliked = {
        reason.movie.movie_id: reason.disliked for reason in model.explain(ratings=ratings, movie="500").because
    }
    assert disliked == {"10": True, "20": True, "50": False, "70": False}


def test_a_suggestion_falls_without_the_reasons_told_for_it(model: Recommender) -> None:
    """Deleting the told reasons lowers the ranking score, and more than deleting as many random ratings."""
    rng, falls, by_chance = np.random.default_rng(0), [], []
    for user in map(str, range(1, 21)):
        items, stars = model.predictor.seen(model.users.index(user))
        ratings = {model.items.id(int(item)): float(star) for item, star in zip(items, stars, strict=True)}
        for suggestion in model.recommend(ratings=ratings, k=3):
            movie = suggestion.movie.movie_id

            def score(names: list[str], movie: str = movie, ratings: dict[str, float] = ratings) -> float:
                kept = {name: star for name, star in ratings.items() if name not in names}
                explanation = model.explain(ratings=kept, movie=movie)
                assert explanation.ranking is not None
                return explanation.ranking.score

            told = model.explain(ratings=ratings, movie=movie).grounds(ranking=True, most=3).supporting
            chosen = rng.choice(list(ratings), len(told), replace=False).tolist()
            falls.append(score([]) - score([reason.movie.movie_id for reason in told]))
            by_chance.append(score([]) - score(chosen))
    assert np.mean(falls) > 1.5 * abs(np.mean(by_chance))
    assert np.mean(np.asarray(falls) > 0) > 0.9


def test_a_reason_of_a_model_without_stars_is_a_like(model: Recommender) -> None:
    liked = replace(model.explain(ratings={"10": 5.0}, movie="20").because[0], rating=None)
    assert str(liked) == f"you like {liked.movie}"

"""A model of views has lists, similar movies and reasons, and refuses what needs stars."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reelgraph as rg
from reelgraph.errors import ConfigError, DataError
from reelgraph.recommend.explain_plot import draw
from tests.support.worlds import views

SMALL: dict[str, Any] = {"tune": "none", "rank_dim": 8, "rank_max_steps": 60, "seed": 1}


@pytest.fixture(scope="module")
def data() -> rg.Dataset:
    return rg.load(views(), implicit=True)


@pytest.fixture(scope="module")
def model(data: rg.Dataset, tmp_path_factory: pytest.TempPathFactory) -> rg.Recommender:
    """Written and read, so that the checks of saved models have passed."""
    path = tmp_path_factory.mktemp("views") / "model"
    rg.fit(data, **SMALL).save(path)
    return rg.open(path)


def same_group(user: str, movies: Iterable[Any]) -> float:
    """The share of the movies that the user's group watches."""
    return float(np.mean([int(line.movie.movie_id[1:]) % 2 == int(user[1:]) % 2 for line in movies]))


def test_lists_hold_what_the_own_group_watches_and_nothing_seen(model: rg.Recommender) -> None:
    seen = set(views())
    for user in ("u0", "u1", "u7"):
        movies = model.recommend(user, k=3)
        assert same_group(user, movies) == 1
        assert not seen & {(user, line.movie.movie_id) for line in movies}
        assert {line.prediction for line in movies} == {None}
    assert not any(name.startswith(("user.", "item.")) for name in model.artifact.weights)


def test_metrics_are_of_lists_beside_popularity(model: rg.Recommender) -> None:
    for split in ("valid", "test"):
        rows = model.artifact.manifest["metrics"][split]
        assert rows["model"].keys() == {"ndcg", "recall"}
        assert rows["model"]["ndcg"] > rows["popularity"]["ndcg"]
    assert {row["valid_rmse"] for row in model.artifact.history} == {None}


def test_a_visitor_with_likes_alone_is_like_a_user_with_them(model: rg.Recommender) -> None:
    liked = [movie for user, movie in views() if user == "u0"]
    forms: tuple[Any, ...] = (liked, dict.fromkeys(liked, 1), dict.fromkeys(liked, 7), [(movie,) for movie in liked])
    listed = [[line.movie.movie_id for line in model.recommend(ratings=form, k=5)] for form in forms]
    assert listed[0] == [line.movie.movie_id for line in model.recommend("u0", k=5)]
    assert all(other == listed[0] for other in listed)
    assert len(model.recommend(ratings={}, k=5)) == 5
    with pytest.raises(DataError, match="a count above 0, found 0"):
        model.recommend(ratings={"m0": 0})


def test_the_reasons_add_up_to_the_ranking_score(model: rg.Recommender, tmp_path: Path) -> None:
    for person in ({"user": "u0"}, {"ratings": ["m0", "m2"]}):
        found = model.explain(**person, movie="m4")
        score = found.ranking
        assert (found.prediction, found.because) == (None, ())
        assert score is not None
        assert score.score == pytest.approx(score.movie + sum(part.contribution for part in score.because), abs=1e-4)
        others = sum(part.contribution for part in score.neighbours)
        assert score.score == pytest.approx(score.movie + score.movie_free + score.movie_side + others, abs=1e-3)
        assert {part.rating for part in score.because} == {None}
        assert "stars" not in "".join(found.text())
        draw(found, tmp_path / "why.svg")
        assert "stars" not in (tmp_path / "why.svg").read_text(encoding="utf-8")


def test_similar_movies_are_of_the_same_group(model: rg.Recommender) -> None:
    assert {int(movie.movie_id[1:]) % 2 for movie, _ in model.similar("m0", 4)} == {0}
    assert {int(user[1:]) % 2 for user, _ in model.similar_users("u1", 4)} == {1}


def test_what_needs_stars_is_refused(model: rg.Recommender) -> None:
    for ask in (
        lambda: model.predict([("u0", "m0")]),
        lambda: model.interval([("u0", "m0")]),
        lambda: model.evaluate([("u0", "m0", 1)]),
        lambda: model.recommend("u0", order="stars"),
        lambda: model.visitor(["m0"]).predict(),
    ):
        with pytest.raises(ConfigError, match="which has no stars"):
            ask()


def test_lists_are_evaluated_on_pairs(data: rg.Dataset, model: rg.Recommender) -> None:
    test = list(zip(*data.raw_ids(data.test), strict=True))
    measured = rg.fit(data, **SMALL, use_all=False)
    report = measured.evaluate_lists([*test, test[0]])
    assert report.ndcg == pytest.approx(measured.artifact.manifest["metrics"]["test"]["model"]["ndcg"])
    assert measured.evaluate_lists([(*pair, 0) for pair in test[1:]] + [(*test[0], 2)]).users == 1
    with pytest.warns(UserWarning, match="among the model's own"):
        model.evaluate_lists(test)


def test_views_are_added_and_users_removed(model: rg.Recommender, tmp_path: Path) -> None:
    more = rg.update(model, [("new", "m0", 1), ("new", "m2", 3), ("new", "m1", 0), ("new", "m0", 1)], steps=2)
    index = more.users.index("new")
    assert {more.items.id(item) for item in more.predictor.seen(index)[0].tolist()} == {"m0", "m2"}
    assert same_group("u0", more.recommend("new", k=3)) == 1
    more.save(tmp_path / "more")
    from reelgraph.training.update import compare, forget  # noqa: PLC0415

    assert "new" not in rg.open(tmp_path / "more").users or forget(more.artifact, "new").users.num_rows == 40
    assert compare(more.artifact)[0].prediction is None


def test_lists_of_everybody_have_no_predictions(model: rg.Recommender) -> None:
    table = next(model.recommend_all(k=3))
    assert table.column_names == ["userId", "movieId", "rank", "score"]


def test_the_same_data_and_seed_give_the_same_model(data: rg.Dataset, model: rg.Recommender) -> None:
    again = rg.fit(data, **SMALL)
    for name, array in model.artifact.weights.items():
        assert np.array_equal(array, again.artifact.weights[name]), name

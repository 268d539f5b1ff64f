"""The public interface: lists against brute force, predictions against their parts."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelgraph.errors import ConfigError, DataError, UnknownIdError
from reelgraph.recommend.recommender import Recommender, open_model


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Recommender:
    return open_model(model_dir)


def brute_force(
    model: Recommender, user: str, k: int, seen: set[str], genre: str | None = None, year: int | None = None
) -> list[str]:
    """All movies sorted by ranking score plus a share of the unclipped prediction, in plain loops."""
    weights, index = model.artifact.weights, model.users.index(user)
    stars = prediction_of(model, user)
    rows = []
    for item in range(len(model.items)):
        movie = model.catalogue.movie(item)
        if movie.movie_id in seen or (genre and genre not in movie.genres) or (year and movie.year != year):
            continue
        score = weights["rank.user.state"][index].astype(float) @ weights["rank.item.state"][item].astype(float)
        score += weights["rank.item.bias"][item] + model.artifact.manifest["ranking"]["blend"] * float(stars[item])
        rows.append((-score, item, movie.movie_id))
    return [movie_id for _, _, movie_id in sorted(rows)[:k]]


def prediction_of(model: Recommender, user: str) -> np.ndarray:
    prediction: np.ndarray = model.scorer.score(model.scorer.users(np.asarray([model.users.index(user)])))[0]
    return prediction


def seen_by(model: Recommender, user: str) -> set[str]:
    return {model.items.id(int(item)) for item in model.predictor.seen(model.users.index(user))[0]}


@pytest.mark.parametrize(("genre", "year"), [(None, None), ("Comedy", None), (None, 1975), ("War", 1984)])
def test_lists_equal_brute_force(model: Recommender, genre: str | None, year: int | None) -> None:
    for user in ("1", "17", "60"):
        for k in (1, 10, 80):
            movies = [line.movie.movie_id for line in model.recommend(user, k=k, order="blend", genre=genre, year=year)]
            assert movies == brute_force(model, user, k, seen_by(model, user), genre, year)
            everything = [line.movie.movie_id for line in model.recommend(user, k=k, order="blend", include_seen=True)]
            assert everything == brute_force(model, user, k, set())


def test_suggestions_have_predictions_titles_and_genres(model: Recommender) -> None:
    for line in model.recommend("5", k=20):
        assert line.prediction == pytest.approx(float(model.predict([("5", line.movie.movie_id)])[0]), abs=1e-5)
        index = int(line.movie.movie_id) // 10 - 1
        assert line.movie.title == f"Movie, The {index + 1}"
        assert line.movie.year == 1970 + index % 40
        assert line.movie.genres


def test_short_lists(model: Recommender) -> None:
    unseen = len(model.items) - len(seen_by(model, "3"))
    assert len(model.recommend("3", k=len(model.items))) == unseen
    assert not model.recommend("3", k=5, year=1900)


def test_recommend_all_equals_recommend(model: Recommender) -> None:
    table = pa.concat_tables(model.recommend_all(k=7, genre="Drama"))
    rows: dict[str, list[dict[str, object]]] = {}
    for row in table.to_pylist():
        rows.setdefault(row["userId"], []).append(row)
    for user in model.users.ids.to_pylist():
        lines = model.recommend(user, k=7, genre="Drama")
        assert [row["movieId"] for row in rows.get(user, [])] == [line.movie.movie_id for line in lines]
        assert [row["rank"] for row in rows.get(user, [])] == list(range(1, len(lines) + 1))
        mine = rows.get(user, [])
        assert [row["prediction"] for row in mine] == [np.float32(line.prediction) for line in lines]
        assert [row["score"] for row in mine] == [np.float32(line.score) for line in lines]


def test_lists_do_not_depend_on_the_order_of_ratings(model: Recommender) -> None:
    items, stars = model.predictor.seen(model.users.index("7"))
    ratings = {model.items.id(int(item)): float(rating) for item, rating in zip(items, stars, strict=True)}
    visitor = model.recommend(ratings=ratings, k=10)
    assert not {line.movie.movie_id for line in visitor} & set(ratings)
    backwards = model.recommend(ratings=dict(reversed(ratings.items())), k=10)
    assert [x.movie for x in backwards] == [x.movie for x in visitor]
    assert [x.score for x in backwards] == pytest.approx([x.score for x in visitor], abs=1e-5)


def test_a_visitor_gets_movies_of_liked_genres(model: Recommender) -> None:
    def share(genre: str, ratings: dict[str, float]) -> float:
        return float(np.mean([genre in line.movie.genres for line in model.recommend(ratings=ratings, k=10)]))

    genres = {movie.movie_id: movie.genres[0] for movie in map(model.catalogue.movie, range(len(model.items)))}
    drama = {name: 5.0 if kind == "Drama" else 1.0 for name, kind in list(genres.items())[:30]}
    horror = {name: 5.0 if kind == "Horror" else 1.0 for name, kind in list(genres.items())[:30]}
    assert share("Drama", drama) > share("Drama", horror) + 0.3


def test_a_visitor_without_ratings_gets_a_list(model: Recommender) -> None:
    assert len(model.recommend(ratings={}, k=10)) == 10


@pytest.mark.parametrize("visitor", [False, True])
def test_an_explanation_sums_to_the_unclipped_prediction(model: Recommender, visitor: bool) -> None:
    ratings = {"10": 5.0, "70": 1.0, "300": 4.0}
    for movie in ("20", "500", "10"):
        parts = model.explain(ratings=ratings, movie=movie) if visitor else model.explain("9", movie=movie)
        person = model.visitor(ratings).person if visitor else model.person("9")
        rated = set(ratings) if visitor else seen_by(model, "9")
        index = model.items.index(movie)
        predictor = model.predictor
        if visitor:
            assert (parts.free, parts.side) == (0, 0)
        expected = float(model.scorer.score(person.state)[0][index]) * predictor.std + predictor.mean
        baseline = parts.mean + parts.user + parts.movie
        by_ratings = baseline + parts.free + parts.side + sum(reason.contribution for reason in parts.because)
        by_raters = baseline + parts.movie_free + parts.movie_side + sum(who.contribution for who in parts.neighbours)
        assert by_ratings == pytest.approx(expected, abs=1e-5)
        assert by_raters == pytest.approx(expected, abs=1e-5)
        assert parts.prediction == pytest.approx(by_ratings, abs=1e-6)
        assert {reason.movie.movie_id for reason in parts.because} == rated
        raters = {who.user_id for who in parts.neighbours}
        assert raters == {user for user in model.users.ids.to_pylist() if movie in seen_by(model, user)}
        score = parts.ranking
        assert score is not None
        assert model.ranker is not None
        assert person.rank_state is not None
        wanted = float(model.ranker.score(person.rank_state)[0][index])
        assert score.movie + sum(reason.contribution for reason in score.because) == pytest.approx(wanted, abs=1e-5)
        theirs = score.movie_free + score.movie_side + sum(who.contribution for who in score.neighbours)
        assert score.movie + theirs == pytest.approx(wanted, abs=1e-5)
        assert score.score == pytest.approx(wanted, abs=1e-5)
        for reasons in (parts.because, parts.neighbours, score.because, score.neighbours):
            sizes = [abs(reason.contribution) for reason in reasons]
            assert sizes == sorted(sizes, reverse=True)


def test_similar_movies_by_the_cosine_of_their_states(model: Recommender) -> None:
    assert model.ranker is not None
    states = model.ranker.item_states.astype(float)
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    index = model.items.index("50")
    similar = model.similar("50", k=6)
    cosine = unit @ unit[index]
    expected = [i for i in np.argsort(-cosine, kind="stable") if i != index][:6]
    assert [movie.movie_id for movie, _ in similar] == [model.items.id(int(i)) for i in expected]
    np.testing.assert_allclose([value for _, value in similar], cosine[expected], atol=1e-5)


def test_unknown_ids_are_predicted_from_the_known_side(model: Recommender) -> None:
    nobody, nothing = model.predict([("stranger", "10")])[0], model.predict([("1", "unheard of")])[0]
    weights = model.artifact.weights
    item, user = model.items.index("10"), model.users.index("1")
    by_movie = weights["mean"] + weights["item.bias"][item] + weights["item.offset"][item]
    by_user = weights["mean"] + weights["user.bias"][user] + weights["user.offset"][user]
    assert nobody == pytest.approx(float(by_movie) * model.predictor.std + model.predictor.mean, abs=1e-5)
    assert nothing == pytest.approx(float(by_user) * model.predictor.std + model.predictor.mean, abs=1e-5)
    assert model.predict([("stranger", "unheard of")])[0] == pytest.approx(
        float(weights["mean"]) * model.predictor.std + model.predictor.mean
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(-2, 70), st.integers(-2, 90)), max_size=30))
def test_predictions_keep_the_order_of_pairs(model: Recommender, pairs: list[tuple[int, int]]) -> None:
    together = model.predict((user, 10 * movie) for user, movie in pairs)
    alone = [float(model.predict([(user, 10 * movie)])[0]) for user, movie in pairs]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert ((together >= 1) & (together <= 5)).all()


def test_evaluation_equals_a_loop(model: Recommender) -> None:
    rows = [("1", "10", 4.0), ("2", "20", 1.0), ("stranger", "10", 5.0), ("stranger", "nothing", 2.0)]
    report = model.evaluate(rows)
    prediction = [float(model.predict([row[:2]])[0]) for row in rows]
    errors = [p - row[2] for p, row in zip(prediction, rows, strict=True)]
    assert report.rmse == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert report.mae == pytest.approx(np.mean(np.abs(errors)))
    assert (report.pairs, report.unknown_users, report.unknown_movies, report.unknown_pairs) == (4, 1, 1, 2)


def test_invalid_arguments_are_refused(model: Recommender) -> None:
    with pytest.raises(UnknownIdError, match=r"user '6x'.*similar ids are 6"):
        model.recommend("6x")
    with pytest.raises(UnknownIdError, match="movie 'x'"):
        model.recommend(ratings={"x": 3.0})
    with pytest.raises(DataError, match=r"expected 1 to 5, found 5\.5"):
        model.recommend(ratings={"10": 5.5})
    with pytest.raises(DataError, match="expected 1 to 5, found nan"):
        model.recommend(ratings={"10": float("nan")})
    with pytest.raises(ConfigError, match="found none"):
        model.recommend()
    with pytest.raises(ConfigError, match="found both"):
        model.recommend("1", ratings={})
    for k in (0, -1, 81):
        with pytest.raises(ConfigError, match=rf"expected 1 to 80 \(the catalogue\), found {k}"):
            model.recommend("1", k=k)


def test_gcn_has_lists_but_no_explanations(tables: Path) -> None:
    import reelgraph as rg  # noqa: PLC0415

    model = rg.fit(rg.load(tables / "ratings.csv"), model="gcn", max_steps=3)
    with pytest.raises(ConfigError, match="found gcn"):
        model.explain("1", movie="10")
    table = pa.concat_tables(model.recommend_all(k=3))
    assert table.num_rows == 3 * len(model.users)


def test_serving_imports_neither_torch_nor_engines(model_dir: Path) -> None:
    code = f"""
import sys
import reelgraph as rg
model = rg.open({str(model_dir)!r})
model.recommend("1"); model.recommend(ratings={{"10": 5}}); model.predict([("1", "10")]); model.similar("10")
model.explain("1", movie="10"); list(model.recommend_all()); model.evaluate([("1", "10", 3.0)])
heavy = {{"torch", "torch_geometric", "duckdb", "pyspark"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("weight", [np.nan, np.inf, 3e38, -1e30])
def test_weights_without_finite_predictions_are_not_written(model: Recommender, tmp_path: Path, weight: float) -> None:
    from reelgraph.artifact import write_artifact  # noqa: PLC0415
    from reelgraph.errors import ArtifactError  # noqa: PLC0415

    weights = dict(model.artifact.weights)
    weights["item.state"] = weights["item.state"].copy()
    weights["item.state"][3, 1] = weight
    with pytest.raises(ArtifactError, match=r"expected float32 from .* in item\.state"):
        write_artifact(replace(model.artifact, weights=weights), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_movie_without_ratings_is_explained_by_its_side_features(tables: Path, tmp_path: Path) -> None:
    """Nobody rated movie 9990, so its prediction consists of the baseline and its genre, scaled by the gain."""
    import reelgraph as rg  # noqa: PLC0415

    (tmp_path / "movies.csv").write_text((tables / "movies.csv").read_text() + "9990,New One (1999),Horror\n")
    model = rg.fit(rg.load(tables / "ratings.csv", items=tmp_path / "movies.csv"), max_steps=40, ranking=False)
    assert "9990" in model.items.ids.to_pylist()
    gain = float(model.artifact.weights["gain"])
    assert 0 < gain <= 1
    for who in ({"user": "1"}, {"ratings": {"10": 5.0, "20": 1.0}}):
        parts = model.explain(movie="9990", **who)
        assert parts.neighbours == ()
        assert parts.movie_free == 0
        by_ratings = parts.free + parts.side + sum(reason.contribution for reason in parts.because)
        assert parts.movie_side == pytest.approx(by_ratings, abs=1e-5)
        assert parts.movie_side != 0

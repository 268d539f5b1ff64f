"""Lists against brute force, for every order, option and filter."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelgraph.arrays import NO_ITEM
from reelgraph.errors import ConfigError
from reelgraph.recommend.lists import LESS_KNOWN, ORDERS, START_DIVERSITY, SURPRISE_DIVERSITY, Choice
from reelgraph.recommend.ordering import POOL
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.recommend.variety import SMOOTHING

Scores = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Recommender:
    return open_model(model_dir)


def score_of(model: Recommender, user: str, order: str, penalty: float = 0.0) -> Scores:
    """Scores of a user's list, one movie at a time."""
    assert model.ranker is not None
    index = np.asarray([model.users.index(user)])
    prediction = model.scorer.score(model.scorer.users(index))[0]
    rank = model.ranker.score(model.ranker.users(index))[0]
    ranking = model.artifact.manifest["ranking"]
    damping = {"best": ranking["damping"]["best"], "less-known": ranking["damping"]["less_known"]}
    blend = rank + ranking["blend"] * prediction
    score, scores = {"rank": rank, "stars": prediction}.get(order, blend), []
    for item in range(len(model.items)):
        log_count = np.log1p((model.predictor.seen_item == item).sum())
        scores.append(float(score[item]) - (penalty + damping.get(order, 0.0)) * log_count)
    return np.asarray(scores)


def popularity(model: Recommender) -> Scores:
    """Popularity term of the scores without a ranking head: 3 times its share of the most rated movie's."""
    share = np.log1p(model.predictor.item_counts) / np.log1p(model.predictor.item_counts.max())
    return np.asarray(3.0 * share)


def plain(score: Scores, allowed: list[int], k: int) -> list[int]:
    return sorted(allowed, key=lambda item: (-score[item], item))[:k]


def marginal(
    model: Recommender, score: Scores, allowed: list[int], k: int, diversity: float, rated: list[int] | None = None
) -> list[int]:
    """Maximal marginal relevance in plain loops; also away from the mean of `rated` movies."""
    pool = plain(score, allowed, POOL * k)
    low, high = min(score[item] for item in pool), max(score[item] for item in pool)
    assert model.ranker is not None
    states = model.ranker.item_states.astype(float)

    def cosine(left: int, right: int) -> float:
        return float(states[left] @ states[right] / np.linalg.norm(states[left]) / np.linalg.norm(states[right]))

    def familiar(item: int) -> list[float]:
        if rated is None:
            return []
        mean = sum(states[other] / np.linalg.norm(states[other]) for other in rated)
        return [float(states[item] @ mean / np.linalg.norm(states[item]) / np.linalg.norm(mean))]

    chosen: list[int] = []
    while len(chosen) < min(k, len(pool)):
        values: list[tuple[float, int, int]] = []
        for item in pool:
            if item not in chosen:
                near = max([cosine(item, other) for other in chosen] + familiar(item), default=0.0)
                relevance = (score[item] - low) / (high - low)
                values.append(((1 - diversity) * relevance - diversity * near, -len(values), item))
        chosen.append(max(values)[2])
    return chosen


def unseen(model: Recommender, user: str) -> list[int]:
    seen = set(model.predictor.seen(model.users.index(user))[0].tolist())
    return [item for item in range(len(model.items)) if item not in seen]


def listed(model: Recommender, user: str, **options: Any) -> list[int]:
    return [model.items.index(line.movie.movie_id) for line in model.recommend(user, **options)]


@pytest.mark.parametrize("order", sorted({*ORDERS} - {"surprise"}))
@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_every_order_equals_brute_force(model: Recommender, order: Any, penalty: float) -> None:
    for user in ("1", "33", "60"):
        score = score_of(model, user, order, penalty)
        for k in (1, 10, 80):
            items = listed(model, user, k=k, order=order, popularity_penalty=penalty)
            assert items == plain(score, unseen(model, user), k)
    everyone = np.arange(len(model.users), dtype=np.int32)
    together = model.list_indices(everyone, k=10, order=order, popularity_penalty=penalty)
    assert together[model.users.index("33")].tolist() == listed(
        model, "33", k=10, order=order, popularity_penalty=penalty
    )


def test_orders_differ_and_best_is_the_default(model: Recommender) -> None:
    damped = with_damping(model, best=0.3, less_known=3.0)
    lists = {order: listed(damped, "9", k=20, order=order) for order in ORDERS}
    assert len({tuple(lists[order]) for order in ("best", "stars", "less-known", "surprise", "rank")}) == 5
    assert listed(damped, "9", k=20) == lists["best"]


def with_damping(model: Recommender, **damping: float) -> Recommender:
    ranking = model.artifact.manifest["ranking"]
    ranking = {name: value for name, value in ranking.items() if name != "damping"}
    ranking |= {"damping": damping} if damping else {}
    return Recommender(replace(model.artifact, manifest=model.artifact.manifest | {"ranking": ranking}))


def test_models_without_damping_list_as_before(model: Recommender) -> None:
    old = with_damping(model)
    assert listed(old, "9", k=20) == listed(model, "9", k=20, order="blend")
    assert listed(old, "9", k=20, order="less-known") == listed(old, "9", k=20, popularity_penalty=LESS_KNOWN)


def test_damping_and_less_known_list_rarer_movies(model: Recommender) -> None:
    def popularity(order: Any, **damping: float) -> float:
        damped = with_damping(model, **damping)
        rows = [listed(damped, str(user), k=10, order=order) for user in range(1, 61)]
        return float(model.predictor.item_counts[np.concatenate(rows)].mean())

    assert popularity("best") > popularity("best", best=0.8) > popularity("less-known", best=0.8, less_known=3.0)
    start = [model.recommend(ratings={}, k=10, order=order) for order in ("best", "less-known")]
    counts = [
        model.predictor.item_counts[[model.items.index(line.movie.movie_id) for line in lines]].mean()
        for lines in start
    ]
    assert counts[0] > counts[1]


def test_a_surprise_is_unlike_the_rated_movies_and_unlike_itself(model: Recommender) -> None:
    for user, k in itertools.product(("2", "41"), (1, 4, 10)):
        score, rated = score_of(model, user, "less-known"), model.predictor.seen(model.users.index(user))[0].tolist()
        expected = marginal(model, score, unseen(model, user), k, SURPRISE_DIVERSITY, rated)
        assert listed(model, user, k=k, order="surprise") == expected
        row = model.list_indices(np.asarray([0, model.users.index(user)], np.int32), k=k, order="surprise")[1]
        assert row.tolist() == expected


def genre_shares(model: Recommender, items: list[int]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for item in items:
        genres = model.catalogue.movie(item).genres
        for genre in genres:
            shares[genre] = shares.get(genre, 0.0) + 1 / len(genres)
    return shares


def divergence(model: Recommender, rated: list[int], items: list[int]) -> float:
    wanted, own = genre_shares(model, rated), genre_shares(model, items)
    total, result = sum(wanted.values()), 0.0
    for genre, share in wanted.items():
        mixed = (1 - SMOOTHING) * own.get(genre, 0.0) / len(items) + SMOOTHING * share / total
        result += share / total * np.log(share / total / mixed)
    return result


@pytest.mark.parametrize(("calibration", "diversity"), [(0.3, 0.0), (0.9, 0.0), (1.0, None), (0.4, 0.3)])
def test_calibration_is_that_of_steck(model: Recommender, calibration: float, diversity: float | None) -> None:
    user, k = "41", 8
    score, rated = score_of(model, user, "best"), model.predictor.seen(model.users.index(user))[0].tolist()
    pool, unit = plain(score, unseen(model, user), POOL * k), model.lists.ordering.unit_states.astype(float)
    low, high = min(score[item] for item in pool), max(score[item] for item in pool)
    chosen: list[int] = []
    for _ in range(k):

        def value(item: int) -> float:
            relevance = (score[item] - low) / (high - low)
            near = max((float(unit[item] @ unit[other]) for other in chosen), default=0.0)
            far = divergence(model, rated, [*chosen, item])
            weight = diversity or 0.0
            return float((1 - weight - calibration) * relevance - weight * near - calibration * far)

        chosen.append(max((item for item in pool if item not in chosen), key=value))
    options: Any = {"k": k, "calibration": calibration, "diversity": diversity}
    assert listed(model, user, **options) == chosen
    row = model.list_indices(np.asarray([5, model.users.index(user)], np.int32), **options)[1]
    assert row.tolist() == chosen


def test_calibrated_lists_are_nearer_to_what_was_rated(model: Recommender) -> None:
    def total(calibration: float) -> float:
        users = [(str(user), model.predictor.seen(model.users.index(user))[0].tolist()) for user in range(1, 61)]
        return sum(divergence(model, rated, listed(model, user, calibration=calibration)) for user, rated in users)

    assert total(0.0) > total(0.3) > total(0.9)


@pytest.mark.parametrize("options", [{}, {"order": "surprise"}, {"calibration": 0.5}, {"order": "less-known"}])
def test_a_model_opened_for_lists_alone_lists_the_same(
    model: Recommender, model_dir: Path, options: dict[str, Any]
) -> None:
    everyone = np.arange(len(model.users), dtype=np.int32)
    for_lists = open_model(model_dir, lists_only=True)
    assert (for_lists.list_indices(everyone, k=7, **options) == model.list_indices(everyone, k=7, **options)).all()


def test_calibration_needs_genres_and_ratings(model: Recommender) -> None:
    assert model.recommend(ratings={}, k=5, calibration=0.4) == model.recommend(ratings={}, k=5)
    bare = Recommender(replace(model.artifact, items=model.artifact.items.select(["movieId"])))
    with pytest.raises(ConfigError, match="--calibration: expected a model with genres"):
        bare.recommend("1", calibration=0.4)


def test_the_reason_for_the_order_is_one_line(model: Recommender) -> None:
    reasons = {
        model.lists.page(person, Choice(k=3, **options)).order_reason
        for person in (model.person("1"), model.person(ratings={}))
        for order in ORDERS
        for options in ({"order": order}, {"order": order, "diversity": 0.2}, {"order": order, "calibration": 0.2})
    }
    assert len(reasons) == 6 * 3 + 2 * 2, "each order and option, and two kinds of start list"
    assert all("\n" not in reason and reason.endswith(".") and len(reason) < 200 for reason in reasons)


@pytest.mark.parametrize("diversity", [0.1, 0.3, 0.8, 1.0])
def test_diversity_is_maximal_marginal_relevance(model: Recommender, diversity: float) -> None:
    for user, k in itertools.product(("2", "41"), (1, 4, 10)):
        score = score_of(model, user, "best")
        expected = marginal(model, score, unseen(model, user), k, diversity)
        assert listed(model, user, k=k, diversity=diversity) == expected
        row = model.list_indices(np.asarray([model.users.index(user)], np.int32), k=k, diversity=diversity)[0]
        assert row.tolist() == expected
    assert listed(model, "2", k=10, diversity=0.0) == listed(model, "2", k=10)


def test_diverse_lists_are_more_diverse(model: Recommender) -> None:
    def distance(diversity: float) -> float:
        unit, distances = model.lists.ordering.unit_states, []
        for user in range(1, 61):
            items = listed(model, str(user), k=10, diversity=diversity)
            distances += [1 - float(unit[left] @ unit[right]) for left, right in itertools.combinations(items, 2)]
        return float(np.mean(distances))

    assert distance(0.0) < distance(0.3) < distance(0.9)


def test_a_popularity_penalty_lists_rarer_movies(model: Recommender) -> None:
    def popularity(penalty: float) -> float:
        rows = [listed(model, str(user), k=10, popularity_penalty=penalty) for user in range(1, 61)]
        return float(model.predictor.item_counts[np.concatenate(rows)].mean())

    assert popularity(0.0) > popularity(1.0) > popularity(20.0)


def test_filters_equal_a_loop_over_the_catalogue(model: Recommender) -> None:
    score, left = score_of(model, "7", "best"), unseen(model, "7")
    ids = model.items.ids.to_pylist()
    allow, deny = ids[::3], ids[::4]
    often = [item for item in left if (model.predictor.seen_item == item).sum() >= 22]
    assert 0 < len(often) < len(left)
    for options, kept in (
        ({"min_ratings": 22}, often),
        ({"allow": [*allow, "unheard of"]}, [item for item in left if ids[item] in allow]),
        ({"deny": deny}, [item for item in left if ids[item] not in deny]),
        ({"allow": allow, "deny": deny, "min_ratings": 20}, [
            item for item in left if ids[item] in allow and ids[item] not in deny and
            model.predictor.item_counts[item] >= 20
        ]),
        ({"allow": [int(name) for name in allow], "genre": "Drama", "year": "1990-"}, [
            item for item in left if ids[item] in allow and "Drama" in model.catalogue.movie(item).genres
            and (model.catalogue.movie(item).year or 0) >= 1990
        ]),
        ({"allow": []}, []),
        ({"deny": ids}, []),
        ({"min_ratings": 10_000}, []),
    ):  # fmt: skip
        assert listed(model, "7", k=80, **options) == plain(score, kept, 80)
        diverse = listed(model, "7", k=80, diversity=0.5, **options)
        assert sorted(diverse) == sorted(kept), "all that is left, in another order"


@settings(max_examples=40, deadline=None)
@given(
    k=st.integers(1, 80),
    order=st.sampled_from(ORDERS),
    diversity=st.sampled_from([None, 0.0, 0.4, 1.0]),
    calibration=st.sampled_from([0.0, 0.0, 0.5]),
    penalty=st.sampled_from([0.0, 0.5]),
    min_ratings=st.integers(0, 40),
    genre=st.sampled_from([None, "War", "Horror"]),
    year=st.sampled_from([None, 1975, "1980-1990", "2100-"]),
    seen=st.booleans(),
)
def test_lists_hold_only_movies_that_pass_the_filters(
    model: Recommender, k: int, order: Any, diversity: float | None, calibration: float, penalty: float,
    min_ratings: int, genre: str | None, year: str | int | None, seen: bool,
) -> None:  # fmt: skip
    options: Any = {
        "k": k, "order": order, "diversity": diversity, "popularity_penalty": penalty, "min_ratings": min_ratings,
        "calibration": calibration if (diversity or 0) + calibration <= 1 else 0.0,
        "genre": genre, "year": year, "include_seen": seen,
    }  # fmt: skip
    possible = model.lists.matching(Choice(**options))
    tables = pa.concat_tables(model.recommend_all(**options)).to_pylist()
    lists = model.list_indices(np.arange(len(model.users), dtype=np.int32), **options)
    for user in (0, 31):
        here = possible.copy()
        if not seen:
            here[model.predictor.seen(user)[0]] = False
        suggestions = model.recommend(model.users.id(user), **options)
        items = [model.items.index(line.movie.movie_id) for line in suggestions]
        assert len(items) == len(set(items)) == min(k, int(here.sum()))
        assert here[items].all()
        assert all(np.isfinite(line.score) and 1 <= line.prediction <= 5 for line in suggestions)
        rows = [row["movieId"] for row in tables if row["userId"] == model.users.id(user)]
        assert rows == [model.items.id(item) for item in items]
        assert lists[user][lists[user] != NO_ITEM].tolist() == items


def test_visitors_without_ratings_get_popular_and_diverse_movies(model: Recommender) -> None:
    suggestions = model.recommend(ratings={}, k=10)
    prediction = model.scorer.score(model.visitor().person.state)[0]
    score = prediction.astype(float) + popularity(model)
    everything = list(range(len(model.items)))
    expected = marginal(model, score, everything, 10, START_DIVERSITY)
    assert [model.items.index(line.movie.movie_id) for line in suggestions] == expected
    chance = model.predictor.item_counts.mean()
    assert model.predictor.item_counts[expected].mean() > chance
    assert np.mean([line.prediction for line in suggestions]) > model.predictor.stars(prediction).mean()


def test_users_without_training_ratings_get_the_list_of_a_visitor_without_ratings(model: Recommender) -> None:
    seen = model.artifact.seen
    left = seen.filter(~np.isin(seen["user_index"].to_numpy(), [3, 31, 59]))
    model = Recommender(replace(model.artifact, seen=left))
    for options in ({"k": 6}, {"k": 6, "order": "stars"}, {"k": 6, "diversity": 0.0}, {"k": 6, "min_ratings": 20}):
        rows = pa.concat_tables(model.recommend_all(**options)).to_pylist()
        for user in (3, 4, 31, 59):
            mine = [row for row in rows if row["userId"] == model.users.id(user)]
            alone = model.recommend(model.users.id(user), **options)
            assert [row["movieId"] for row in mine] == [line.movie.movie_id for line in alone]
            assert [row["score"] for row in mine] == [np.float32(line.score) for line in alone]
            assert [row["prediction"] for row in mine] == [np.float32(line.prediction) for line in alone]
    start = [line.score for line in model.recommend(ratings={}, k=6)]
    assert [line.score for line in model.recommend(model.users.id(3), k=6)] != start, "their own features count"


def test_options_out_of_range_are_refused(model: Recommender) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"order": "worst"}, "order: expected best, stars, less-known, surprise, blend, rank, found 'worst'"),
        ({"calibration": -0.1}, "calibration: expected 0 to 1"),
        ({"calibration": 0.6, "diversity": 0.6}, "diversity . calibration: expected 1 at most, found 0.6 . 0.6"),
        ({"diversity": 1.1}, "diversity: expected 0 to 1"),
        ({"diversity": float("nan")}, "diversity: expected 0 to 1"),
        ({"popularity_penalty": -1.0}, "popularity penalty: expected 0 or more"),
        ({"popularity_penalty": float("inf")}, "popularity penalty: expected 0 or more"),
        ({"min_ratings": -1}, "min ratings: expected 0 or more"),
    ]
    for options, line in wrong:
        with pytest.raises(ConfigError, match=line):
            model.recommend("1", **options)


def test_without_a_ranking_head_lists_are_by_stars_and_popularity(tables: Path) -> None:
    import reelgraph as rg  # noqa: PLC0415

    model = rg.fit(rg.load(tables / "ratings.csv"), ranking=False, max_steps=5, tune="none")
    prediction = model.scorer.score(model.scorer.users(np.asarray([0])))[0]
    user = model.users.id(0)
    assert listed(model, user, k=10) == plain(prediction + popularity(model), unseen(model, user), 10)
    assert listed(model, user, k=10, order="stars") == plain(prediction.astype(float), unseen(model, user), 10)
    with pytest.raises(ConfigError, match="--order rank: expected a model with a ranking head, found none"):
        model.recommend(user, order="rank")

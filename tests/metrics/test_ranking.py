"""Rankings against a naive loop, over every block size."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from reelgraph.arrays import NO_ITEM, top_k
from reelgraph.data.dataset import Interactions
from reelgraph.metrics import ranking
from reelgraph.metrics.ranking import (
    evaluate_lists,
    evaluate_ranking,
    evaluate_ranking_by_user,
    lists_by_score,
    user_ndcg,
)
from tests.support.worlds import interactions, noisy

USERS, ITEMS = 30, 25


def split(seed: int) -> tuple[Interactions, Interactions]:
    whole = noisy(USERS, ITEMS, share=0.6, seed=seed)
    test = np.random.default_rng(seed).random(len(whole)) < 0.4
    parts = [
        interactions(whole.user_index[mask].tolist(), whole.item_index[mask].tolist(), whole.rating[mask].tolist())
        for mask in (~test, test)
    ]
    return parts[0], parts[1]


def naive(scores: npt.NDArray[Any], seen: Interactions, test: Interactions, k: int, far: int) -> dict[str, float]:
    """Every measure by loops over its definition."""
    count = [int((seen.item_index == item).sum()) for item in range(ITEMS)]
    active = len(set(seen.user_index.tolist()))
    states = np.random.default_rng(7).normal(0, 1, (ITEMS, 4))
    rows: dict[str, list[float]] = {name: [] for name in (
        "ndcg", "recall", "precision", "average_precision", "reciprocal_rank", "hit_rate", "diversity"
    )}  # fmt: skip
    novelty, popularity, listed = [], [], set()
    for user in range(USERS):
        mine = set(seen.item_index[seen.user_index == user].tolist())
        liked = set(test.item_index[(test.user_index == user) & (test.rating >= 4)].tolist())
        if not liked:
            continue
        order = sorted(
            (item for item in range(ITEMS) if item not in mine), key=lambda item: (-scores[user, item], item)
        )
        shown = order[:k]
        ranks = [rank for rank, item in enumerate(shown, start=1) if item in liked]
        best = range(1, min(k, len(liked)) + 1)
        rows["ndcg"].append(sum(1 / np.log2(rank + 1) for rank in ranks) / sum(1 / np.log2(rank + 1) for rank in best))
        rows["recall"].append(len(liked & set(order[:far])) / len(liked))
        rows["precision"].append(len(ranks) / k)
        rows["average_precision"].append(sum((n + 1) / rank for n, rank in enumerate(ranks)) / len(best))
        rows["reciprocal_rank"].append(1 / ranks[0] if ranks else 0)
        rows["hit_rate"].append(bool(ranks))
        distances = [
            1 - states[one] @ states[other] / np.linalg.norm(states[one]) / np.linalg.norm(states[other])
            for one, other in itertools.combinations(shown, 2)
        ]
        if distances:
            rows["diversity"].append(float(np.mean(distances)))
        novelty += [-np.log2(max(count[item], 1) / active) for item in shown]
        popularity += [count[item] for item in shown]
        listed |= set(shown)
    means = {name: float(np.mean(values)) for name, values in rows.items()}
    return means | {
        "users": len(rows["ndcg"]), "coverage": len(listed) / ITEMS, "novelty": float(np.mean(novelty)),
        "popularity": float(np.mean(popularity)),
    }  # fmt: skip


@pytest.mark.parametrize("floats", [1, 60, 1 << 20])
@pytest.mark.parametrize(("k", "far"), [(10, 20), (3, 5), (24, 7), (40, 40)])
@pytest.mark.parametrize("seed", range(4))
def test_every_measure_equals_a_naive_loop(
    seed: int, k: int, far: int, floats: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "_BLOCK_FLOATS", floats)
    seen, test = split(seed)
    scores = np.round(np.random.default_rng(seed).normal(0, 1, (USERS, ITEMS)), 1)  # with ties
    states = np.random.default_rng(7).normal(0, 1, (ITEMS, 4))
    lists = lists_by_score(lambda users: scores[users], seen, max(k, far))
    report = evaluate_lists(lists, seen, test, ITEMS, 5.0, k=k, recall_k=far, states=states)
    assert report.to_json() == pytest.approx(naive(scores, seen, test, k, far))


@pytest.mark.parametrize("seed", range(4))
def test_measures_equal_an_independent_library(seed: int) -> None:
    """NDCG and average precision of scikit-learn, on the candidates of each user."""
    seen, test = split(seed)
    scores = np.random.default_rng(seed).normal(0, 1, (USERS, ITEMS))  # without ties, which sklearn averages over
    ndcg, precision = [], []
    for user in range(USERS):
        left = np.setdiff1d(np.arange(ITEMS), seen.item_index[seen.user_index == user])
        liked = test.item_index[(test.user_index == user) & (test.rating >= 4)]
        if len(liked):
            relevant = np.isin(left, liked)
            ndcg.append(ndcg_score(relevant[None].astype(float), scores[user, left][None], k=10))
            precision.append(average_precision_score(relevant, scores[user, left]))
    report = evaluate_ranking(lambda users: scores[users], seen, test, ITEMS, 5.0)
    assert report.ndcg == pytest.approx(np.mean(ndcg))
    # scikit-learn's average precision has no cut: that of a list of the whole catalogue.
    lists = lists_by_score(lambda users: scores[users], seen, ITEMS)
    whole = evaluate_lists(lists, seen, test, ITEMS, 5.0, k=ITEMS)
    assert whole.average_precision == pytest.approx(np.mean(precision))


def test_memory_does_not_grow_with_users_times_movies() -> None:
    """Scores are asked for some users at a time, and each user once."""
    users, items = 3000, 20_000
    rng = np.random.default_rng(0)
    test = interactions(list(range(users)), rng.integers(0, items, users).tolist(), [5.0] * users)
    asked: list[int] = []

    def score(some: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        asked.append(len(some))
        return np.zeros((len(some), items), np.float32)

    evaluate_ranking(score, interactions([], [], []), test, items, 5.0)
    assert sum(asked) == users
    assert max(asked) * items <= ranking._BLOCK_FLOATS


def test_evaluate_lists_equals_evaluate_ranking() -> None:
    seen, test = split(2)
    scores = np.random.default_rng(2).normal(0, 1, (USERS, ITEMS))

    def lists(users: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        rows = np.full((len(users), 20), NO_ITEM, np.int32)
        for row, user in enumerate(users.tolist()):
            mine = set(seen.item_index[seen.user_index == user].tolist())
            order = [item for item in np.argsort(-scores[user]).tolist() if item not in mine][:20]
            rows[row, : len(order)] = order
        return rows

    expected = evaluate_ranking(lambda users: scores[users], seen, test, ITEMS, 5.0)
    assert evaluate_lists(lists, seen, test, ITEMS, 5.0).to_json() == pytest.approx(expected.to_json())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 2.0]), min_size=6, max_size=6), min_size=1, max_size=4),
       st.integers(1, 9))  # fmt: skip
def test_top_k_is_a_stable_sort_without_infinities(rows: list[list[float]], k: int) -> None:
    report = top_k(np.asarray(rows), k)
    assert report.shape == (len(rows), min(k, 6))
    for row, list_ in zip(rows, report.tolist(), strict=True):
        expected = sorted((place for place in range(6) if row[place] > -np.inf), key=lambda place: (-row[place], place))
        assert [place for place in list_ if place != NO_ITEM] == expected[:k]
        assert list_[len(expected[:k]) :] == [NO_ITEM] * (min(k, 6) - len(expected[:k]))


@pytest.mark.parametrize("columns", [64, 65, 700, 5000])
@pytest.mark.parametrize("kind", ["apart", "tied", "few"])
def test_top_k_of_many_columns_is_a_stable_sort_too(columns: int, kind: str) -> None:
    rng = np.random.default_rng(columns)
    scores = rng.normal(0, 1, (9, columns)).astype(np.float32)
    if kind == "tied":
        scores = np.round(scores)
        scores[3] = 1
    if kind == "few":
        scores[rng.random(scores.shape) < 0.997] = -np.inf
    for k in (1, 2, 10, 60, columns - 1):
        for row, list_ in zip(scores, top_k(scores, k), strict=True):
            expected = [place for place in np.argsort(-row, kind="stable").tolist() if row[place] > -np.inf][:k]
            assert list_.tolist() == expected + [NO_ITEM] * (k - len(expected))


def test_the_ideal_ranking_scores_one() -> None:
    seen, test = split(1)
    scores = np.zeros((USERS, ITEMS))
    scores[test.user_index, test.item_index] = test.rating >= 4
    report = evaluate_ranking(lambda users: scores[users], seen, test, ITEMS, 5.0)
    assert report.ndcg == pytest.approx(1)
    assert report.recall == pytest.approx(1)


def test_relevance_depends_on_the_scale() -> None:
    seen, test = interactions([0], [0], [7.0]), interactions([0, 1], [1, 1], [7.9, 8.0])
    report = evaluate_ranking(lambda users: np.zeros((len(users), 3)), seen, test, 3, 10.0)
    assert report.users == 1, "8 of 10 is relevant, 7.9 is not"


def test_without_relevant_movies_the_measures_are_nan() -> None:
    seen, test = interactions([0], [0], [5.0]), interactions([1], [1], [2.0])
    report = evaluate_ranking(lambda users: np.zeros((len(users), 3)), seen, test, 3, 5.0)
    assert report.users == 0
    assert np.isnan(report.ndcg)


def test_the_mean_of_the_users_ndcg_is_the_reports() -> None:
    rng = np.random.default_rng(5)
    scores = rng.normal(size=(6, 30))
    cells = [(user, item) for user in range(6) for item in range(30) if rng.random() < 0.4]
    seen = interactions([user for user, _ in cells[::2]], [item for _, item in cells[::2]], [3.0] * len(cells[::2]))
    stars = rng.integers(1, 6, len(cells[1::2])).astype(float).tolist()
    test = interactions([user for user, _ in cells[1::2]], [item for _, item in cells[1::2]], stars)
    values = user_ndcg(lambda users: scores[users], seen, test, 30, 5.0, k=3)
    liked = np.unique(test.user_index[test.rating >= 4])
    assert len(values) == len(liked)
    for user, value in zip(liked.tolist(), values.tolist(), strict=True):
        known = set(seen.item_index[seen.user_index == user].tolist())
        order = [item for item in np.argsort(-scores[user], kind="stable").tolist() if item not in known][:3]
        wanted = set(test.item_index[(test.user_index == user) & (test.rating >= 4)].tolist())
        gain = sum(1 / np.log2(place + 2) for place, item in enumerate(order) if item in wanted)
        ideal = sum(1 / np.log2(place + 2) for place in range(min(3, len(wanted))))
        assert value == pytest.approx(gain / ideal)
    report, by_user = evaluate_ranking_by_user(lambda users: scores[users], seen, test, 30, 5.0)
    assert by_user["ndcg"].tolist() == user_ndcg(lambda users: scores[users], seen, test, 30, 5.0).tolist()
    assert report == evaluate_ranking(lambda users: scores[users], seen, test, 30, 5.0)
    assert report.ndcg == pytest.approx(by_user["ndcg"].mean())
    assert report.recall == pytest.approx(by_user["recall"].mean())
    nothing = user_ndcg(lambda users: scores[users], seen, test.take(test.rating < 4), 30, 5.0)
    assert nothing.shape == (0,)

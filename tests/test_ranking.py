"""Rankings against a naive loop, over every block size."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from worlds import interactions, noisy

from reelgraph import ranking
from reelgraph.data.dataset import Interactions
from reelgraph.ranking import evaluate_ranking

USERS, ITEMS = 30, 25


def split(seed: int) -> tuple[Interactions, Interactions]:
    whole = noisy(USERS, ITEMS, share=0.6, seed=seed)
    test = np.random.default_rng(seed).random(len(whole)) < 0.4
    parts = [
        interactions(whole.user_index[mask].tolist(), whole.item_index[mask].tolist(), whole.rating[mask].tolist())
        for mask in (~test, test)
    ]
    return parts[0], parts[1]


def naive(scores: npt.NDArray[Any], seen: Interactions, test: Interactions) -> tuple[int, float, float, float]:
    ndcg, recall, listed = [], [], set()
    for user in range(USERS):
        mine = set(seen.item_index[seen.user_index == user].tolist())
        liked = set(test.item_index[(test.user_index == user) & (test.rating >= 4)].tolist())
        if not liked:
            continue
        order = sorted(
            (item for item in range(ITEMS) if item not in mine), key=lambda item: (-scores[user, item], item)
        )
        gain = sum(1 / np.log2(rank + 2) for rank, item in enumerate(order[:10]) if item in liked)
        ndcg.append(gain / sum(1 / np.log2(rank + 2) for rank in range(min(10, len(liked)))))
        recall.append(len(liked & set(order[:20])) / len(liked))
        listed |= set(order[:10])
    return len(ndcg), float(np.mean(ndcg)), float(np.mean(recall)), len(listed) / ITEMS


@pytest.mark.parametrize("floats", [1, 60, 1 << 20])
@pytest.mark.parametrize("seed", range(4))
def test_metrics_equal_a_naive_loop(seed: int, floats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_BLOCK_FLOATS", floats)
    seen, test = split(seed)
    scores = np.round(np.random.default_rng(seed).normal(0, 1, (USERS, ITEMS)), 1)  # with ties
    found = evaluate_ranking(lambda users: scores[users], seen, test, ITEMS, 5.0)
    assert (found.users, found.ndcg, found.recall, found.coverage) == pytest.approx(naive(scores, seen, test))


def test_the_best_ranking_reaches_one() -> None:
    seen, test = split(1)
    scores = np.zeros((USERS, ITEMS))
    scores[test.user_index, test.item_index] = test.rating >= 4
    found = evaluate_ranking(lambda users: scores[users], seen, test, ITEMS, 5.0)
    assert found.ndcg == pytest.approx(1)
    assert found.recall == pytest.approx(1)


def test_what_is_liked_follows_the_scale() -> None:
    seen, test = interactions([0], [0], [7.0]), interactions([0, 1], [1, 1], [7.9, 8.0])
    found = evaluate_ranking(lambda users: np.zeros((len(users), 3)), seen, test, 3, 10.0)
    assert found.users == 1, "8 of 10 is liked, 7.9 is not"


def test_without_liked_movies_nothing_is_judged() -> None:
    seen, test = interactions([0], [0], [5.0]), interactions([1], [1], [2.0])
    found = evaluate_ranking(lambda users: np.zeros((len(users), 3)), seen, test, 3, 5.0)
    assert found.users == 0
    assert np.isnan(found.ndcg)

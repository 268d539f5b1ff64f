"""Lists do not depend on block sizes, rounding or the order of the movies."""

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reelgraph.arrays import NO_ITEM
from reelgraph.recommend.ordering import SPARE, Ordering, People, TopLists, Weights
from reelgraph.recommend.variety import Variety
from reelgraph.scoring.base import Scorer
from reelgraph.scoring.gcn import GCNScorer
from reelgraph.scoring.ranking_head import Ranker
from reelgraph.scoring.residual import ResidualScorer

USERS, MOVIES, CLONES, DIM, RANK_DIM = 23, 240, 12, 5, 7
PLACES = np.random.default_rng(1).permutation(MOVIES)
HEADS = ("residual", "residual and ranking", "gcn", "gcn and ranking")
WEIGHTS = {"stars": Weights(0, 1, 0), "popular": Weights(0, 1, 0.3), "rank": Weights(1, 0, -0.1),
           "blend": Weights(1, 0.4, 0)}  # fmt: skip


def cloned(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.float32]:
    """Groups of a dozen nearly equal rows: some are equal, some differ by less than float32 resolves."""
    rows = rng.normal(0, 1, (MOVIES // CLONES, *shape)).astype(np.float32).repeat(CLONES, axis=0)
    moved = rng.random(rows.shape) < 0.3
    rows[moved] = np.nextafter(rows[moved], np.float32(9))
    return rows[PLACES]


def ordering_of(heads: str) -> Ordering:
    rng = np.random.default_rng(3)
    weights: dict[str, Any] = {"mean": np.float32(0.1), "rank.item.bias": np.zeros(MOVIES, np.float32)}
    for name in ("bias", "offset"):
        weights |= {f"user.{name}": rng.normal(0, 1, USERS).astype(np.float32), f"item.{name}": cloned(rng)}
    for head, dim in (("", DIM), ("rank.", RANK_DIM)):
        weights[f"{head}user.state"] = rng.normal(0, 1, (USERS, dim)).astype(np.float32)
        weights[f"{head}item.state"] = cloned(rng, dim)
    for name, shape in (
        ("hidden.weight", (2 * DIM, 4)),
        ("hidden.bias", (4,)),
        ("out.weight", (4, 1)),
        ("out.bias", 1),
    ):
        weights[f"head.{name}"] = rng.normal(0, 1, shape).astype(np.float32)
    scorer: Scorer = GCNScorer(weights, (1.0, 0.0)) if heads.startswith("gcn") else ResidualScorer(weights)
    counts = rng.integers(0, 9, MOVIES // CLONES).repeat(CLONES)[PLACES]
    return Ordering(scorer, Ranker(weights) if heads.endswith("ranking") else None, counts)


def people_of(ordering: Ordering, users: Any) -> People:
    index = np.asarray(users)
    return People(ordering.scorer.users(index), None if ordering.ranker is None else ordering.ranker.users(index))


def made(ordering: Ordering, weights: Weights, users: Any, closed: Any, k: int, diversity: float = 0.0) -> TopLists:
    people = people_of(ordering, users)
    scores = ordering.scores(people, weights)
    scores[0][closed[users]] = -np.inf
    return ordering.best(people, weights, scores, k, Variety(diversity))


def exact(ordering: Ordering, weights: Weights, user: int, item: int) -> float:
    """A score by an exact sum."""
    scorer = ordering.scorer
    state, item_state = scorer.users(np.asarray([user])), scorer.item_states[item].astype(float)
    if isinstance(scorer, ResidualScorer):
        products = (state.state[0].astype(float) * item_state).tolist()
        stars = math.fsum([*products, float(state.offset[0]) + float(scorer.item_offset[item])])
    else:
        assert isinstance(scorer, GCNScorer)
        terms = state.state[0].astype(float)[:, None] * scorer.user_head.astype(float)
        hidden = [max(math.fsum(column) + float(scorer.item_part[item, place]), 0)
                  for place, column in enumerate(terms.T.tolist())]  # fmt: skip
        out = scorer.weights["head.out.weight"][:, 0].tolist()
        stars = math.fsum(a * b for a, b in zip(hidden, out, strict=True)) + float(scorer.weights["head.out.bias"][0])
    score = weights.stars * stars + weights.counts * float(ordering.log_counts[item])
    if weights.rank:
        assert ordering.ranker is not None
        mine = ordering.ranker.users(np.asarray([user]))[0].astype(float)
        score += weights.rank * math.fsum((mine * ordering.ranker.item_states[item].astype(float)).tolist())
    return score


def asked() -> list[tuple[str, str]]:
    pairs = itertools.product(HEADS, WEIGHTS)
    return [(heads, name) for heads, name in pairs if heads.endswith("ranking") or not WEIGHTS[name].rank]


@pytest.mark.parametrize(("heads", "name"), asked())
def test_nearly_equal_movies_are_sorted_exactly(heads: str, name: str) -> None:
    ordering, weights = ordering_of(heads), WEIGHTS[name]
    closed = np.random.default_rng(5).random((USERS, MOVIES)) < 0.2
    wrong = 0
    for user in range(0, USERS, 4):
        score = [exact(ordering, weights, user, item) for item in range(MOVIES)]
        allowed = [item for item in range(MOVIES) if not closed[user, item]]
        expected = sorted(allowed, key=lambda item: (-score[item], item))
        for k in (1, 10, 100, len(allowed) - SPARE, MOVIES):
            lists = made(ordering, weights, [user], closed, k)
            listed = lists.item[0] != NO_ITEM
            assert lists.item[0, listed].tolist() == expected[:k]
            np.testing.assert_allclose(lists.score[0, listed], np.asarray(score)[lists.item[0, listed]], atol=1e-12)
        rough = ordering.scores(people_of(ordering, [user]), weights)[0][0]
        wrong += sorted(allowed, key=lambda item: (-rough[item], item)) != expected
    assert wrong, "the scores of float32 would do, and nothing is tested here"


@pytest.mark.parametrize(("heads", "name"), asked())
@pytest.mark.parametrize("diversity", [0.0, 0.4])
def test_lists_do_not_depend_on_who_is_scored_together(heads: str, name: str, diversity: float) -> None:
    ordering, weights = ordering_of(heads), WEIGHTS[name]
    closed = np.random.default_rng(6).random((USERS, MOVIES)) < 0.5
    closed[4], closed[5, 3:] = True, True
    together = made(ordering, weights, np.arange(USERS), closed, 9, diversity)
    assert (together.item[4] == NO_ITEM).all()
    assert (together.item[5] != NO_ITEM).sum() == 9 - (closed[5, :3].sum() + 6)
    for user in range(USERS):
        alone = made(ordering, weights, [user], closed, 9, diversity)
        assert together.item[user].tolist() == alone.item[0].tolist()
        listed = alone.item[0] != NO_ITEM
        for many, single in ((together.score, alone.score), (together.stars, alone.stars)):
            assert many[user, listed].tolist() == single[0, listed].tolist(), "to the last digit"


@pytest.mark.parametrize("heads", HEADS)
def test_the_error_bound_holds_and_is_tight(heads: str) -> None:
    ordering, everyone = ordering_of(heads), people_of(ordering_of(heads), np.arange(USERS))
    for name, weights in WEIGHTS.items():
        if (heads, name) in asked():
            rough, bound = ordering.scores(everyone, weights)
            item = np.tile(np.arange(MOVIES, dtype=np.int32), (USERS, 1))
            apart = rough - ordering.exact(everyone, item, weights)[0]
            if ordering.scorer.item_offset is not None and weights.stars:  # left out, since it changes no order
                apart += weights.stars * everyone.state.offset[:, None]
            assert (np.abs(apart).max(1) <= bound).all()
            assert bound.max() < 1e-4


def test_ties_go_to_the_lower_index() -> None:
    ordering = ordering_of("residual and ranking")
    for name in ("item.state", "rank.item.state", "item.bias", "item.offset"):
        ordering.scorer.weights[name][:] = 0  # type: ignore[attr-defined]
    ordering = Ordering(ResidualScorer(ordering.scorer.weights), ordering.ranker, np.ones(MOVIES, np.int64))  # type: ignore[attr-defined]
    nothing_closed = np.zeros((USERS, MOVIES), bool)
    for k in (1, 7, MOVIES):
        lists = made(ordering, WEIGHTS["blend"], np.arange(USERS), nothing_closed, k)
        assert (lists.item == np.arange(k)).all()


@pytest.mark.parametrize("heads", HEADS)
def test_blocks_are_bounded(heads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelgraph.recommend.ordering.BLOCK_FLOATS", 100_000)
    ordering = ordering_of(heads)
    for k, diverse in ((1, False), (10, False), (10, True), (MOVIES, False)):
        people = ordering.block(k, diverse)
        assert 1 <= people <= 100_000 // MOVIES
        pooled = min((10 if diverse else 1) * k + SPARE, MOVIES)
        widest = DIM + 1 + (RANK_DIM + 1 if heads.endswith("ranking") else 0)
        assert people * pooled * widest <= 100_000 or people == 1

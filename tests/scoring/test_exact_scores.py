"""Float64 scores, their bounds, explanations and running states, against the formulas written out."""

import numpy as np
import pytest

from reelgraph.arrays import USER_DAMPING, Float32s
from reelgraph.scoring.base import FoldIn, RunningState, Scorer
from reelgraph.scoring.scorers import needed_for_lists, ranker_for
from tests.scoring.test_scoring import ITEMS, MODELS, USERS, shaken

CHOSEN = np.random.default_rng(1).integers(0, ITEMS, (USERS, 4))


def ranking_weights(users: int = 6, items: int = 5, dim: int = 3) -> dict[str, Float32s]:
    """Arrays of a ranking head whose states are the sums that the parts of a score decompose."""
    rng = np.random.default_rng(2)

    def drawn(*shape: int) -> Float32s:
        return rng.normal(0.3, 1, shape).astype(np.float32)

    weights = {"rank.mean": drawn()[()], "rank.item.bias": drawn(items)}
    for side, number in (("user", users), ("item", items)):
        weights[f"rank.{side}.baseline"] = drawn(number)
        weights |= {
            f"rank.{side}.{name}": drawn(number, dim) for name in ("state", "implicit", "residual", "free", "side")
        }
    return weights


@pytest.mark.parametrize("name", MODELS)
def test_pairs_are_the_scores_in_float64_in_any_batch(name: str) -> None:
    scorer: Scorer = shaken(name)[1]
    everyone = scorer.users(np.arange(USERS))
    exact = scorer.pairs(everyone, CHOSEN)
    assert exact.dtype == np.float64
    np.testing.assert_allclose(exact, np.take_along_axis(scorer.score(everyone), CHOSEN, 1), atol=1e-4)
    some = np.array([7, 3])
    assert scorer.pairs(scorer.users(some), CHOSEN[some]).tobytes() == exact[some].tobytes()


def test_the_bound_of_the_residual_models_terms() -> None:
    _, scorer, weights = shaken("residual")
    user = scorer.users(np.arange(USERS))
    largest = np.linalg.norm(weights["item.state"], axis=1).max()
    offset = np.abs(weights["item.bias"] + weights["item.offset"]).max()
    expected = np.linalg.norm(user.state, axis=1) * largest + np.abs(user.offset) + offset
    np.testing.assert_allclose(scorer.size(user), expected, rtol=1e-5)
    assert (scorer.size(user)[:, None] >= np.abs(scorer.score(user))).all()
    assert scorer.terms == weights["item.state"].shape[1] + 2


def test_the_bound_of_the_gcns_terms() -> None:
    _, scorer, weights = shaken("gcn")
    user, dim = scorer.users(np.arange(USERS)), weights["item.state"].shape[1]
    hidden = weights["head.hidden.weight"]
    items = np.linalg.norm(weights["item.state"] @ hidden[dim:] + weights["head.hidden.bias"], axis=1).max()
    before = np.linalg.norm(user.state, axis=1) * np.linalg.norm(hidden[:dim]) + items
    expected = before * np.linalg.norm(weights["head.out.weight"]) + np.abs(weights["head.out.bias"])
    np.testing.assert_allclose(scorer.size(user), expected, rtol=1e-5)
    assert (scorer.size(user)[:, None] >= np.abs(scorer.score(user))).all()
    assert scorer.terms == dim + len(weights["head.hidden.bias"]) + 1


def test_ranking_scores_and_their_bound() -> None:
    weights = ranking_weights()
    ranker = ranker_for(weights)
    assert ranker is not None
    state, items = ranker.users(np.array([4, 0])), np.array([[1, 3], [0, 4]])
    assert state.tolist() == weights["rank.user.state"][[4, 0]].tolist()
    dense = state.astype(np.float64) @ weights["rank.item.state"].T + weights["rank.item.bias"]
    np.testing.assert_allclose(ranker.score(state), dense, rtol=1e-5)
    np.testing.assert_allclose(ranker.pairs(state, items), np.take_along_axis(dense, items, 1), rtol=1e-12)
    longest = np.linalg.norm(weights["rank.item.state"], axis=1).max()
    bound = np.linalg.norm(state, axis=1) * longest + np.abs(weights["rank.item.bias"]).max()
    np.testing.assert_allclose(ranker.size(state), bound, rtol=1e-5)
    assert ranker_for({"item.state": weights["rank.item.state"]}) is None


def test_a_ranking_score_is_the_sum_of_its_parts() -> None:
    weights, movie = ranking_weights(), 2
    own = np.array([0, 3, 4]), np.array([0.5, -1.0, 2.0], np.float32)
    raters, their = np.array([1, 5]), np.array([1.5, -0.5], np.float32)
    rho = their - weights["rank.mean"] - weights["rank.item.baseline"][movie] - weights["rank.user.baseline"][raters]
    messages = weights["rank.user.implicit"][raters] + rho[:, None] * weights["rank.user.residual"][raters]
    weights["rank.item.state"][movie] = (
        weights["rank.item.free"][movie] + weights["rank.item.side"][movie] + messages.sum(0) / np.sqrt(2)
    )
    ranker = ranker_for(weights)
    assert ranker is not None
    parts = ranker.parts(movie, own, (raters, their))
    state = ranker.fold_in.state(*own)[1]
    score = ranker.score(state)[0, movie]
    assert parts.movie == pytest.approx(float(weights["rank.item.bias"][movie]))
    assert parts.movie + float(parts.because.sum()) == pytest.approx(float(score), rel=1e-4)
    assert parts.movie + parts.movie_free + parts.movie_side + float(parts.neighbours.sum()) == pytest.approx(
        float(score), rel=1e-4
    )
    assert parts.movie_free == pytest.approx(float(weights["rank.item.free"][movie] @ state[0]), rel=1e-4)
    assert (parts.mean, parts.user, parts.free, parts.side) == (0, 0, 0, 0)
    alone = ranker.parts(movie, own, (raters[:0], their[:0]))
    assert len(alone.neighbours) == 0
    assert alone.movie_free == parts.movie_free


def test_a_running_state_equals_the_sum_over_the_ratings_left() -> None:
    rng = np.random.default_rng(3)
    arrays = (rng.normal(1, 1, shape).astype(np.float32) for shape in ((), (9,), (9, 4), (9, 4)))
    fold_in = FoldIn(*arrays)
    items, ratings = np.array([5, 1, 7, 3]), np.array([1.0, -2.0, 0.5, 3.0], np.float32)
    running = RunningState(fold_in)
    running.add(items, ratings)
    running.add(items[1:2], ratings[1:2], -1)
    running.add(items[3:], ratings[3:], -1)
    kept = [0, 2]
    bias, state = fold_in.state(items[kept], ratings[kept])
    deviation = ratings[kept] - fold_in.mean - fold_in.baseline[items[kept]]
    assert float(bias) == pytest.approx(float(deviation.sum()) / (2 + USER_DAMPING), rel=1e-5)
    assert running.bias == pytest.approx(float(bias), rel=1e-5)
    np.testing.assert_allclose(running.state, state, rtol=1e-4)
    assert running.state.dtype == np.float32
    assert running.state.shape == (1, 4)
    running.add(items[kept], ratings[kept], -1)
    assert (running.count, running.bias) == (0, 0.0)
    assert not running.state.any()
    running.add(items[:1], ratings[:1])
    np.testing.assert_allclose(running.state, fold_in.state(items[:1], ratings[:1])[1], rtol=1e-4)


def test_running_sums_are_float64() -> None:
    large = np.array([1e9, 1, -1e9], np.float32)
    fold_in = FoldIn(np.zeros((), np.float32), np.zeros(3, np.float32), large[:, None], np.ones((3, 1), np.float32))
    running = RunningState(fold_in)
    running.add(np.arange(3), np.zeros(3, np.float32))
    assert running.state == pytest.approx(1 / np.sqrt(3))


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("mean", True), ("user.state", True), ("item.bias", True), ("item.offset", True), ("rank.item.bias", True),
        ("rank.user.state", True), ("head.out.weight", True), ("rank.mean", False), ("item.implicit", False),
        ("rank.item.free", False), ("user.states", False), ("item.degree", False), ("gain", False),
    ],
)  # fmt: skip
def test_arrays_that_lists_need(name: str, needed: bool) -> None:
    assert needed_for_lists(name) is needed

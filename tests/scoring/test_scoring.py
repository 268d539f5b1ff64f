"""Numpy scorers against torch models, and visitors against training users with the same ratings."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from reelgraph.arrays import Float32s
from reelgraph.errors import ArtifactError, ConfigError
from reelgraph.models import ResidualModel
from reelgraph.models.base import RatingModel
from reelgraph.models.gcn import GCNModel
from reelgraph.models.graph import build_graph
from reelgraph.scoring.base import Scorer, UserState
from reelgraph.scoring.gcn import GCNScorer
from reelgraph.scoring.residual import ResidualScorer
from reelgraph.scoring.scorers import check_arrays, needed_for_lists, scorer_for
from tests.support.worlds import noisy

MODELS = ("residual", "gcn")
USERS, ITEMS = 30, 25
NO_MOVIES, NO_RATINGS = np.empty(0, np.int64), np.empty(0, np.float32)


def shaken(name: str) -> tuple[RatingModel, Scorer, dict[str, Float32s]]:
    """A model without weights of 0 or 1, so that the tests notice any weight that is ignored."""
    graph, rng = build_graph(noisy(), USERS, ITEMS), np.random.default_rng(0)
    graph.shard.seed(0)
    model: GCNModel | ResidualModel = (
        GCNModel(graph, scale=(1.0, 5.0), dim=5, dropout=0.2)
        if name == "gcn"
        else ResidualModel(
            graph,
            dim=5,
            hide=0.2,
            dropout=0.2,
            user_features=rng.random((USERS, 2), np.float32),
            item_features=rng.random((ITEMS, 3), np.float32),
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.6)
        if isinstance(model, GCNModel):
            for _ in range(3):  # moves the running statistics of the batch normalisation
                model.train()
                model.training_pairs()
    weights = {key: value.numpy() for key, value in model.export().items()}
    return model, scorer_for(name, weights, (graph.std / 4, (graph.mean - 1) / 4)), weights


def ratings_of(model: RatingModel, user: int) -> tuple[np.ndarray, np.ndarray]:
    mine = (model.graph.user == user).numpy()
    return model.graph.item.numpy()[mine] - USERS, model.graph.rating.numpy()[mine]


def raters_of(model: RatingModel, movie: int) -> tuple[np.ndarray, np.ndarray]:
    there = (model.graph.item == movie + USERS).numpy()
    return model.graph.user.numpy()[there], model.graph.rating.numpy()[there]


@pytest.mark.parametrize("name", MODELS)
def test_numpy_and_torch_predictions_are_equal(name: str) -> None:
    model, scorer, _ = shaken(name)
    users, items = (grid.ravel() for grid in np.meshgrid(np.arange(USERS), np.arange(ITEMS), indexing="ij"))
    expected = model.predict(torch.from_numpy(users), torch.from_numpy(items + USERS)).numpy()
    assert expected.std() > 0.1
    np.testing.assert_allclose(scorer.score(scorer.users(np.arange(USERS))), expected.reshape(USERS, ITEMS), atol=1e-4)
    np.testing.assert_allclose(scorer.score(scorer.users(users), items), expected, atol=1e-4)


def test_a_visitor_is_a_user_without_free_part_and_side_features() -> None:
    model, scorer, weights = shaken("residual")
    for user in range(USERS):
        visitor = scorer.visitor(*ratings_of(model, user))
        own = weights["user.free"][user] + weights["user.side"][user]
        np.testing.assert_allclose(visitor.state[0] + own, weights["user.state"][user], atol=1e-5)
        np.testing.assert_allclose(visitor.offset[0], weights["mean"] + weights["user.bias"][user], atol=1e-5)


def test_gcn_propagates_a_users_features_and_ratings_to_the_trained_state() -> None:
    model, scorer, weights = shaken("gcn")
    assert isinstance(model, GCNModel)
    assert isinstance(scorer, GCNScorer)
    features = model.features.weight.detach().numpy()
    for user in range(USERS):
        state = scorer.propagate(features[user], *ratings_of(model, user))
        np.testing.assert_allclose(state, weights["user.state"][user], atol=1e-4)


def test_gcn_visitors_have_the_mean_users_features() -> None:
    model, scorer, _ = shaken("gcn")
    assert isinstance(model, GCNModel)
    assert isinstance(scorer, GCNScorer)
    mean = model.features.weight.detach().numpy()[:USERS].mean(0)
    ratings = ratings_of(model, 4)
    visitor = scorer.visitor(*ratings)
    np.testing.assert_allclose(visitor.state, scorer.propagate(mean, *ratings)[None], atol=1e-6)
    assert visitor.offset.tolist() == [0.0]


@pytest.mark.parametrize("name", MODELS)
def test_the_order_of_a_visitors_ratings_does_not_matter(name: str) -> None:
    model, scorer, _ = shaken(name)
    movies, ratings = ratings_of(model, 3)
    there, back = scorer.visitor(movies, ratings), scorer.visitor(movies[::-1], ratings[::-1])
    np.testing.assert_allclose(scorer.score(there), scorer.score(back), atol=1e-5)


def test_a_visitor_without_ratings_gets_the_movies_baseline() -> None:
    _, scorer, weights = shaken("residual")
    expected = weights["mean"] + weights["item.bias"] + weights["item.offset"]
    np.testing.assert_allclose(scorer.score(scorer.visitor(NO_MOVIES, NO_RATINGS))[0], expected, atol=1e-6)


def test_gcn_predictions_for_a_visitor_without_ratings_are_finite() -> None:
    _, scorer, _ = shaken("gcn")
    assert np.isfinite(scorer.score(scorer.visitor(NO_MOVIES, NO_RATINGS))).all()


def test_an_unknown_movie_is_predicted_from_the_user() -> None:
    _, scorer, weights = shaken("residual")
    expected = weights["mean"] + weights["user.bias"] + weights["user.offset"]
    np.testing.assert_allclose(scorer.without_movie(scorer.users(np.arange(USERS))), expected, atol=1e-6)
    _, scorer, _ = shaken("gcn")
    assert scorer.without_movie(scorer.users(np.arange(USERS))).tolist() == [0.0] * USERS, "the mean, standardised"


@pytest.mark.parametrize("user", [0, 1, 7, 29])
def test_the_parts_of_a_prediction_add_up_to_it(user: int) -> None:
    model, scorer, _ = shaken("residual")
    known, visitor = scorer.users(np.asarray([user])), scorer.visitor(*ratings_of(model, user))
    for movie in range(ITEMS):
        for index, state in ((user, known), (None, visitor)):
            parts = scorer.parts(index, movie, state, ratings_of(model, user), raters_of(model, movie))
            baseline, expected = parts.mean + parts.user + parts.movie, scorer.score(state)[0, movie]
            assert baseline + parts.free + parts.side + parts.because.sum() == pytest.approx(expected, abs=1e-5)
            by_neighbours = parts.movie_free + parts.movie_side + parts.neighbours.sum()
            assert baseline + by_neighbours == pytest.approx(expected, abs=1e-5)


def test_removing_a_message_removes_its_contribution() -> None:
    model, scorer, _ = shaken("residual")
    ratings = ratings_of(model, 5)
    assert isinstance(scorer, ResidualScorer)
    state = scorer.users(np.asarray([5]))
    whole = scorer.parts(5, 2, state, ratings, raters_of(model, 2))
    _, messages = scorer.fold_in.messages(*ratings)
    without = replace(state, state=state.state - messages[0])
    expected = scorer.score(state)[0, 2] - whole.because[0]
    assert scorer.score(without)[0, 2] == pytest.approx(expected, abs=1e-5)


def test_gcn_has_no_parts() -> None:
    _, scorer, _ = shaken("gcn")
    with pytest.raises(ConfigError, match="expected a model whose predictions are sums, found gcn"):
        scorer.parts(1, 1, scorer.users(np.asarray([1])), (NO_MOVIES, NO_RATINGS), (NO_MOVIES, NO_RATINGS))


def test_states_of_unknown_users_are_replaced() -> None:
    state = UserState(np.asarray([[1.0], [2.0], [3.0]], np.float32), np.asarray([4.0, 5.0, 6.0], np.float32))
    other = UserState(np.asarray([[9.0]], np.float32), np.asarray([8.0], np.float32))
    mixed = state.where(np.asarray([True, False, True]), other)
    assert mixed.state.tolist() == [[1], [9], [3]]
    assert mixed.offset.tolist() == [4, 8, 6]


@pytest.mark.parametrize("name", MODELS)
def test_arrays_of_other_names_types_and_shapes_are_refused(name: str) -> None:
    _, _, weights = shaken(name)
    rows = {side[0]: len(weights[f"{side}.state"]) for side in ("user", "item")}

    def check(arrays: dict[str, Any]) -> dict[str, Any]:
        return check_arrays(name, arrays.items(), rows, ranks=False)

    assert check(weights | {"future": np.zeros(1)}).keys() == weights.keys()
    for array in weights:
        with pytest.raises(ArtifactError, match=rf"expected an array '{array}', found none"):
            check({key: value for key, value in weights.items() if key != array})
        with pytest.raises(ArtifactError, match=rf"expected {array} of shape .*, found"):
            check(weights | {array: weights[array][None]})
        for other in (weights[array].astype(np.float64), np.full_like(weights[array], np.nan)):
            with pytest.raises(ArtifactError, match=rf"expected float32 from .* in {array}, found others"):
                check(weights | {array: other})
        if weights[array].ndim == 2:
            with pytest.raises(ArtifactError, match=r"expected .* of shape .*, found"):
                check(weights | {array: weights[array][:, :-1]})


def ranking_arrays(number: int = 3) -> dict[str, Float32s]:
    """Arrays of a ranking head for the users and movies of `shaken`."""
    arrays = {"rank.mean": np.float32(0), "rank.item.bias": np.ones(ITEMS, np.float32)}
    for side, rows in (("user", USERS), ("item", ITEMS)):
        names = ("state", "implicit", "residual", "own", "channel") + (("free", "side") if side == "item" else ())
        arrays |= {f"rank.{side}.{name}": np.ones((rows, number), np.float32) for name in names}
        arrays[f"rank.{side}.baseline"] = np.zeros(rows, np.float32)
    return {name: np.asarray(array) for name, array in arrays.items()}


@pytest.mark.parametrize("name", [*MODELS, "ranking"])
def test_arrays_of_a_ranking_head_need_one_in_the_manifest(name: str) -> None:
    weights, rows = {} if name == "ranking" else shaken(name)[2], {"u": USERS, "i": ITEMS}
    whole = weights | ranking_arrays()
    assert check_arrays(name, whole.items(), rows, ranks=True).keys() == whole.keys()
    with pytest.raises(ArtifactError, match=r"expected an array 'rank.item.channel', found none"):
        check_arrays(name, {key: whole[key] for key in whole if key != "rank.item.channel"}.items(), rows, ranks=True)
    other = whole | {"rank.user.own": np.ones((USERS, 4), np.float32)}
    with pytest.raises(ArtifactError, match=r"expected rank.user.own of shape 30 x 3, found 30 x 4"):
        check_arrays(name, other.items(), rows, ranks=True)
    if weights:
        with pytest.raises(ArtifactError, match=r"expected a ranking head in manifest.json for rank.mean"):
            check_arrays(name, (weights | {"rank.mean": whole["rank.mean"]}).items(), rows, ranks=False)


@pytest.mark.parametrize(("name", "array", "low", "high"), [
    ("residual", "item.bias", -1e6, 1e6), ("residual", "gain", -1e6, 1e6), ("gcn", "user.state", -1e3, 1e3),
    ("gcn", "rank.item.bias", -1e6, 1e6), ("gcn", "item.degree", 1, 1e12),
])  # fmt: skip
def test_arrays_are_within_limits(name: str, array: str, low: float, high: float) -> None:
    weights, rows = shaken(name)[2] | ranking_arrays(), {"u": USERS, "i": ITEMS}
    for value in (low, high):
        limit = np.full_like(weights[array], value)
        check_arrays(name, (weights | {array: limit}).items(), rows, ranks=True)
        beyond = limit.copy()
        beyond.flat[-1] = np.nextafter(np.float32(value), np.float32(np.inf if value == high else -np.inf))
        with pytest.raises(ArtifactError, match=rf"in {array}, found others"):
            check_arrays(name, (weights | {array: beyond}).items(), rows, ranks=True)


@pytest.mark.parametrize("name", MODELS)
def test_lists_keep_a_part_of_the_arrays_but_all_are_checked(name: str) -> None:
    weights, rows = shaken(name)[2], {"u": USERS, "i": ITEMS}
    kept = check_arrays(name, weights.items(), rows, ranks=False, lists_only=True)
    assert kept.keys() == {array for array in weights if needed_for_lists(array)}
    assert "user.state" in kept
    other = next(array for array in weights if array not in kept)
    with pytest.raises(ArtifactError, match=rf"in {other}, found others"):
        check_arrays(name, (weights | {other: weights[other] * np.nan}).items(), rows, ranks=False, lists_only=True)


@pytest.mark.parametrize("name", MODELS)
def test_states_of_length_0_are_refused(name: str) -> None:
    _, _, weights = shaken(name)
    flat = {key: array[:, :0] if key.endswith(".state") else array for key, array in weights.items()}
    with pytest.raises(ArtifactError, match="found 30 x 0"):
        check_arrays(name, flat.items(), {"u": USERS, "i": ITEMS}, ranks=False)


def test_a_ranking_head_alone_predicts_the_mean() -> None:
    scorer = scorer_for("ranking", ranking_arrays(), (1.0, 0.0))
    assert scorer.fold_in is None
    users, items = scorer.users(np.array([4, 0])), np.array([[1, 3, 5], [0, 2, 4]])
    visitor = scorer.visitor(np.array([3, 7]), np.array([1.0, -1.0], np.float32))
    for user, count in ((users, 2), (visitor, 1)):
        assert (user.state.shape, user.state.dtype) == ((count, scorer.item_states.shape[1]), np.dtype(np.float32))
        for found, shape in (
            (scorer.score(user), (count, ITEMS)), (scorer.score(user, items[:count, 0]), (count,)),
            (scorer.without_movie(user), (count,)), (user.offset, (count,)),
        ):  # fmt: skip
            assert (found.shape, found.dtype) == (shape, np.dtype(np.float32))
            assert not found.any()
        for exact, shape in ((scorer.pairs(user, items[:count]), (count, 3)), (scorer.size(user), (count,))):
            assert (exact.shape, exact.dtype) == (shape, np.dtype(np.float64))
            assert not exact.any()
        parts = scorer.parts(None, 2, user, (NO_MOVIES, NO_RATINGS), (NO_MOVIES, NO_RATINGS))
        assert parts.mean + parts.movie + parts.because.sum() + parts.neighbours.sum() == 0
    assert scorer.item_states.shape == (ITEMS, 0)
    assert scorer.item_offset is not None
    assert scorer.item_offset.shape == (ITEMS,)
    mixed = users.where(np.array([True, False]), visitor)
    assert mixed.state.shape == (2, 0)


@pytest.mark.parametrize("name", MODELS)
def test_item_states_are_the_trained_ones(name: str) -> None:
    _, scorer, weights = shaken(name)
    np.testing.assert_array_equal(scorer.item_states, weights["item.state"])


def test_batch_normalisation_is_folded_into_the_layer_before_it() -> None:
    model, _, weights = shaken("gcn")
    assert isinstance(model, GCNModel)
    values = torch.randn(6, 5)
    for number, (conv, norm) in enumerate(zip(model.convs, model.norms, strict=True)):
        assert isinstance(conv.lin, nn.Module)
        with torch.no_grad():
            expected = norm.eval()(conv.lin(values) + conv.bias).numpy()
        folded = values.numpy() @ weights[f"layer{number}.weight"] + weights[f"layer{number}.bias"]
        np.testing.assert_allclose(folded, expected, atol=1e-5)

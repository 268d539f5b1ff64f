"""What both models must do, on a checkerboard whose right answer is known."""

import numpy as np
import pytest
import torch
from worlds import checkerboard, dataset, interactions, noisy

from reelgraph.artifact import Artifact
from reelgraph.config import TrainConfig
from reelgraph.graph import build_graph
from reelgraph.metrics import rmse
from reelgraph.models import GCNModel, ResidualModel
from reelgraph.pipeline import fit
from reelgraph.recommender import Recommender
from reelgraph.scoring import GCNScorer, ResidualScorer
from reelgraph.training import RatingModel

MODELS = ("residual", "gcn")
USERS, ITEMS = 30, 25


def trained(name: str) -> Recommender:
    return fit(checkerboard(), TrainConfig.model_validate({"model": name, "max_steps": 150, "dim": 8, "dropout": 0.1}))


@pytest.mark.parametrize("name", MODELS)
def test_the_checkerboard_is_learned(name: str) -> None:
    data, model = checkerboard(), trained(name)
    prediction = model.predict_ids(
        [f"u{user}" for user in data.test.user_index], [f"m{item}" for item in data.test.item_index]
    )
    assert rmse(prediction, data.test.rating) < 0.5
    errors = model.artifact.manifest["metrics"]["test"]
    assert errors["model"]["rmse"] == pytest.approx(rmse(prediction, data.test.rating))
    assert errors["bias"]["rmse"] > 1.5, "the biases know nothing of camps, so the baseline must fail here"


@pytest.mark.parametrize("name", MODELS)
def test_a_visitor_of_a_camp_is_known_by_three_ratings(name: str) -> None:
    model = trained(name)
    for camp in (0, 1):
        ratings = {f"m{camp}": 5.0, f"m{camp + 2}": 5.0, f"m{1 - camp}": 1.0}
        best = model.recommend(ratings=ratings, k=8)
        assert all(int(line.movie.movie_id[1:]) % 2 == camp for line in best)


@pytest.mark.parametrize("name", MODELS)
def test_weights_follow_from_the_seed_alone(name: str) -> None:
    config = TrainConfig.model_validate({"model": name, "max_steps": 12, "eval_every": 4})
    torch.manual_seed(99)
    before = torch.get_rng_state()
    runs = [fit(checkerboard(), config).artifact for _ in range(2)]
    other = fit(checkerboard(), config.model_copy(update={"seed": 1})).artifact
    assert torch.equal(torch.get_rng_state(), before), "a fit leaves the caller's random numbers alone"
    assert runs[0].weights.keys() == runs[1].weights.keys()
    for key, array in runs[0].weights.items():
        assert array.tobytes() == runs[1].weights[key].tobytes(), key
    assert any(array.tobytes() != other.weights[key].tobytes() for key, array in runs[0].weights.items())


def warmed(name: str) -> tuple[RatingModel, dict[str, np.ndarray]]:
    graph = build_graph(noisy(), USERS, ITEMS)
    torch.manual_seed(0)
    model: RatingModel = (
        GCNModel(graph, scale=(1.0, 5.0), dim=5, dropout=0.2)
        if name == "gcn"
        else ResidualModel(
            graph, dim=5, hide=0.2, dropout=0.2, init=0.4, item_features=np.eye(ITEMS, 3, dtype=np.float32)
        )
    )
    for _ in range(3):
        model.train()
        model.training_pairs()
    return model, {key: value.numpy() for key, value in model.export().items()}


@pytest.mark.parametrize("name", MODELS)
def test_numpy_predicts_what_torch_predicts(name: str) -> None:
    model, weights = warmed(name)
    span = 4 / model.graph.std
    scorer = GCNScorer(weights, (1 / span, (model.graph.mean - 1) / 4)) if name == "gcn" else ResidualScorer(weights)
    users, items = (grid.ravel() for grid in np.meshgrid(np.arange(USERS), np.arange(ITEMS), indexing="ij"))
    expected = model.predict(torch.from_numpy(users), torch.from_numpy(items + USERS)).numpy()
    state = scorer.users(np.arange(USERS))
    np.testing.assert_allclose(scorer.score(state), expected.reshape(USERS, ITEMS), atol=1e-4)
    np.testing.assert_allclose(scorer.score(scorer.users(users), items), expected, atol=1e-4)


def test_folding_in_a_users_own_ratings_gives_the_trained_state_up_to_the_free_part() -> None:
    model, weights = warmed("residual")
    scorer, graph = ResidualScorer(weights), model.graph
    for user in range(USERS):
        mine = (graph.user == user).numpy()
        state = scorer.visitor(graph.item.numpy()[mine] - USERS, graph.rating.numpy()[mine])
        own = weights["user.free"][user] + weights["user.side"][user]
        np.testing.assert_allclose(state.state[0] + own, weights["user.state"][user], atol=1e-5)
        np.testing.assert_allclose(state.offset[0], weights["mean"] + weights["user.bias"][user], atol=1e-5)


def test_folding_in_with_the_users_own_features_gives_the_trained_state_of_gcn() -> None:
    model, weights = warmed("gcn")
    graph = model.graph
    assert isinstance(model, GCNModel)
    scorer = GCNScorer(weights, (graph.std / 4, (graph.mean - 1) / 4))
    features = model.features.weight.detach().numpy()
    for user in range(USERS):
        mine = (graph.user == user).numpy()
        state = scorer.fold(features[user], graph.item.numpy()[mine] - USERS, graph.rating.numpy()[mine])
        np.testing.assert_allclose(state, weights["user.state"][user], atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_four_ratings_are_enough_to_run(name: str) -> None:
    few = interactions([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    nothing = interactions([], [], [])
    data = dataset(few, nothing, nothing, 3, 3)
    model = fit(data, TrainConfig.model_validate({"model": name, "max_steps": 20}))
    artifact: Artifact = model.artifact
    assert artifact.manifest["metrics"] == {}
    pairs = [(f"u{user}", f"m{item}") for user in range(4) for item in range(4)]
    prediction = model.predict(pairs)
    assert ((prediction >= 1) & (prediction <= 5)).all()
    assert [line.movie.movie_id for line in model.recommend("u0", k=3)] == ["m2"]

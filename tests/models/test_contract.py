"""The contract of both rating models, on a checkerboard with a known answer."""

from functools import cache

import numpy as np
import pytest
import torch

from reelgraph.artifact import Artifact
from reelgraph.config import TrainConfig
from reelgraph.metrics.ratings import rmse
from reelgraph.recommend.recommender import Recommender
from reelgraph.training.fit import fit
from tests.support.worlds import checkerboard, dataset, interactions

MODELS = ("residual", "gcn")


@cache
def trained(name: str) -> Recommender:
    config = {"model": name, "max_steps": 150, "dim": 8, "dropout": 0.1, "use_all": False}
    return fit(checkerboard(), TrainConfig.model_validate(config))


@pytest.mark.parametrize("name", MODELS)
def test_the_checkerboard_is_learned(name: str) -> None:
    data, model = checkerboard(), trained(name)
    prediction = model.predictor.predict(
        [f"u{user}" for user in data.test.user_index], [f"m{item}" for item in data.test.item_index]
    )
    assert rmse(prediction, data.test.rating) < 0.5
    assert np.mean(np.abs(prediction - data.test.rating) < 1) > 0.95, "nearly every held-out cell, not only on average"
    errors = model.artifact.manifest["metrics"]["test"]
    assert errors["model"]["rmse"] == pytest.approx(rmse(prediction, data.test.rating))
    assert errors["bias"]["rmse"] > 1.5, "the biases know nothing of camps, so the baseline must fail here"


@pytest.mark.parametrize("name", MODELS)
def test_three_ratings_reveal_the_taste_of_a_visitor(name: str) -> None:
    model = trained(name)
    for camp in (0, 1):
        ratings = {f"m{camp}": 5.0, f"m{camp + 2}": 5.0, f"m{1 - camp}": 1.0}
        best = model.recommend(ratings=ratings, k=8)
        assert all(int(line.movie.movie_id[1:]) % 2 == camp for line in best)


@pytest.mark.parametrize("name", MODELS)
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    config = TrainConfig.model_validate({"model": name, "max_steps": 12, "eval_every": 4, "rank_max_steps": 12})
    torch.manual_seed(99)
    before = torch.get_rng_state()
    runs = [fit(checkerboard(), config).artifact for _ in range(2)]
    other = fit(checkerboard(), config.model_copy(update={"seed": 1})).artifact
    assert torch.equal(torch.get_rng_state(), before), "a fit leaves the caller's random numbers alone"
    assert runs[0].weights.keys() == runs[1].weights.keys()
    for key, array in runs[0].weights.items():
        assert array.tobytes() == runs[1].weights[key].tobytes(), key
    assert any(array.tobytes() != other.weights[key].tobytes() for key, array in runs[0].weights.items())


@pytest.mark.parametrize("name", MODELS)
def test_four_ratings_are_enough(name: str) -> None:
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

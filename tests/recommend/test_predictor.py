"""Predictions for a time, intervals and evaluation, on users with changing moods."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from reelgraph.data.dataset import NO_TIME, Dataset
from reelgraph.errors import ConfigError
from reelgraph.metrics.baselines import baselines
from reelgraph.recommend.recommender import Recommender
from reelgraph.scoring.session import Queries, Residuals, read_effect
from reelgraph.training.fit import fit
from tests.support.worlds import moody, noisy, settings


@pytest.fixture(scope="module")
def data() -> Dataset:
    return moody()


@pytest.fixture(scope="module")
def model(data: Dataset) -> Recommender:
    return fit(data, settings(tune="none", max_steps=40))


def columns(data: Dataset) -> tuple[list[str], list[str], npt.NDArray[np.int64]]:
    users, movies = ([f"{kind}{index}" for index in getattr(data.test, name)] for kind, name in
                     (("u", "user_index"), ("m", "item_index")))  # fmt: skip
    assert data.test.timestamp is not None
    return users, movies, data.test.timestamp


def test_the_time_of_rating_lowers_the_error(data: Dataset, model: Recommender) -> None:
    manifest = model.artifact.manifest
    assert manifest["session"]["causal"] is False
    assert manifest["session"]["seconds"] < 86_400
    test = manifest["metrics"]["test"]
    assert test["model"]["rmse"] < 0.75 * test["untimed"]["rmse"]
    valid = manifest["metrics"]["valid"]
    assert valid["model"]["rmse"] < 0.8 * valid["untimed"]["rmse"]
    report = model.predictor.evaluate(*columns(data)[:2], data.test.rating, columns(data)[2])
    assert (report.rmse, report.rmse_untimed) == pytest.approx((test["model"]["rmse"], test["untimed"]["rmse"]))
    without = model.predictor.evaluate(*columns(data)[:2], data.test.rating)
    assert without.rmse == pytest.approx(test["untimed"]["rmse"])
    assert without.rmse_untimed is None
    assert manifest["analysis"]["rmse"] == pytest.approx(report.rmse)


def test_an_evaluation_has_the_errors_of_baselines(data: Dataset, model: Recommender) -> None:
    """They are fitted to the model's ratings, and predict their mean for an unknown user or movie."""
    seen = model.artifact.ratings
    mean = seen.rating.mean(dtype=np.float64)
    report = model.predictor.evaluate(["nobody", "u0"], ["m0", "nothing"], np.asarray([mean + 2, mean - 1]))
    assert report.baselines["mean"] == pytest.approx({"rmse": np.sqrt(5 / 2), "mae": 1.5}, abs=1e-6)
    bias = {line.name: line for line in baselines(seen, len(data.users), len(data.items))}["bias"]
    errors = np.asarray([bias.item[0] - 2, bias.user[0] + 1])
    assert report.baselines["bias"]["mae"] == pytest.approx(np.abs(errors).mean(), abs=1e-6)
    names = {"mean", "popularity", "bias", "untimed", "model"}
    assert model.artifact.manifest["metrics"]["test"].keys() == names
    assert report.errors().keys() == names - {"untimed"}


def test_the_session_effect_uses_the_stored_residuals(data: Dataset, model: Recommender) -> None:
    users, movies, times = columns(data)
    seen = model.artifact.seen
    user, item, timestamp, residual = (
        seen[name].to_numpy() for name in ("user_index", "item_index", "timestamp", "residual")
    )
    history = Residuals.of(user, item, timestamp, residual, len(data.users))
    effect = read_effect(model.artifact.manifest["session"])
    assert effect is not None
    queries = Queries(data.test.user_index, data.test.item_index, times, np.ones(len(times), bool))
    expected = model.predictor.predict(users, movies) + effect.predict(queries, history)
    assert model.predictor.predict(users, movies, times) == pytest.approx(np.clip(expected, 1, 5), abs=1e-5)


def test_predictions_without_a_time_are_not_corrected(data: Dataset, model: Recommender) -> None:
    users, movies, times = columns(data)
    plain = model.predictor.predict(users, movies)
    some = np.where(np.arange(len(times)) % 2, times, NO_TIME)
    mixed = model.predictor.predict(users, movies, some)
    assert (mixed[::2] == plain[::2]).all()
    assert (mixed[1::2] != plain[1::2]).mean() > 0.9
    far = model.predictor.predict(users, movies, times + 10 * 86_400)
    assert far == pytest.approx(plain), "another day says nothing"
    assert model.predictor.predict(["stranger"], ["m1"], np.asarray([times[0]])) == model.predictor.predict(
        ["stranger"], ["m1"]
    )


def test_timestamps_in_the_python_api(data: Dataset, model: Recommender) -> None:
    users, movies, times = columns(data)
    pairs = list(zip(users, movies, strict=True))
    assert (model.predict(pairs, timestamps=times.tolist()) == model.predictor.predict(users, movies, times)).all()
    rows = [(user, movie, float(stars)) for (user, movie), stars in zip(pairs, data.test.rating, strict=True)]
    assert model.evaluate(rows, timestamps=times).rmse == pytest.approx(
        model.artifact.manifest["metrics"]["test"]["model"]["rmse"]
    )
    low, high = model.interval(pairs, level=0.8)
    prediction = model.predict(pairs)
    assert ((low <= prediction) & (prediction <= high)).all()


def test_intervals_have_the_requested_coverage(data: Dataset, model: Recommender) -> None:
    users, movies, times = columns(data)
    held = {}
    for level in (0.5, 0.9):
        for name, when in (("timed", times), ("untimed", None)):
            low, high = model.predictor.interval(users, movies, level, when)
            inside = (low <= data.test.rating) & (data.test.rating <= high)
            held[level, name] = float(inside.mean())
            assert inside.mean() == pytest.approx(level, abs=0.09), (level, name)
    timed, untimed = (np.subtract(*model.predictor.interval(users, movies, 0.9, when)[::-1]) for when in (times, None))
    assert timed.mean() < 0.8 * untimed.mean(), "who knows more is surer"
    report = model.predictor.evaluate(users, movies, data.test.rating, times)
    assert report.interval is not None
    assert report.interval["coverage"] == pytest.approx(held[0.9, "timed"])


def test_the_session_effect_can_be_switched_off(data: Dataset) -> None:
    artifact = fit(data, settings(tune="none", session=False)).artifact
    assert artifact.manifest["session"] is None
    assert "untimed" not in artifact.manifest["metrics"]["test"]
    assert artifact.seen.column_names == ["user_index", "item_index", "rating"]


def test_a_time_split_makes_the_session_effect_causal(data: Dataset) -> None:
    parts = {name: getattr(data, name) for name in ("train", "valid", "test")}
    later = {"train": 0, "valid": 10**7, "test": 2 * 10**7}
    moved = {name: replace(part, timestamp=part.timestamp + later[name]) for name, part in parts.items()}
    split = data.manifest["split"] | {"kind": "time"}
    shifted = replace(data, train=moved["train"], valid=moved["valid"], test=moved["test"],
                      manifest=data.manifest | {"split": split})  # fmt: skip
    assert fit(shifted, settings(tune="none")).artifact.manifest["session"] is None, "nothing near, nothing learned"


def test_without_validation_there_are_no_intervals(data: Dataset, model: Recommender) -> None:
    manifest = model.artifact.manifest | {"intervals": {}}
    bare = Recommender(replace(model.artifact, manifest=manifest))
    with pytest.raises(ConfigError, match="a model with validation errors"):
        bare.interval([("u1", "m1")])
    assert bare.evaluate([("u1", "m1", 3.0)]).interval is None


def test_ratings_without_timestamps() -> None:
    train = noisy()
    assert train.timestamp is None
    empty = train.user_index[:0]
    nothing = replace(train, user_index=empty, item_index=empty, rating=train.rating[:0])
    data = replace(moody(users=30), train=train, valid=nothing, test=nothing)
    assert fit(data, settings()).artifact.manifest["session"] is None

"""Every method beats simpler ones on synthetic users, and marks what it cannot predict."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelgraph.bench import methods
from reelgraph.bench.fitted import Fitted
from reelgraph.bench.methods import METHODS, Method, MethodTrial, choose, complete, tune_and_fit
from reelgraph.data.dataset import Dataset, merge
from reelgraph.data.load import load
from reelgraph.errors import ConfigError, SetupError
from reelgraph.metrics.ranking import evaluate_ranking
from reelgraph.metrics.ratings import rmse
from reelgraph.training import fit
from tests.support.worlds import interactions, write_files

RATE = ("bias", "itemknn", "svd", "svdpp", "als-spark", "myfm", "residual", "residual-no-time", "residual-ratings-only")
RANK = ("ease", "als-implicit", "lightgcn")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = write_files(tmp_path_factory.mktemp("tastes"), users=120)
    return load(folder / "ratings.csv", items=folder / "movies.csv", users=folder / "users.csv")


@pytest.fixture(scope="module")
def tuned(data: Dataset) -> Iterator[Callable[[str], MethodTrial]]:
    """A method by its name with its first settings; each is fitted once."""
    short = partial(fit.fit, max_steps=60, rank_max_steps=40, tune="none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "fit", short)  # of our own methods
        yield cache(lambda name: tune_and_fit(name, data, seed=0, budget=0.0))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.spark] * (name == "als-spark")) for name in (*RATE, "gcn")]
)
def test_a_rating_method_beats_the_mean(name: str, data: Dataset, tuned: Callable[[str], MethodTrial]) -> None:
    trial = tuned(name)
    assert trial.fitted.predict is not None
    prediction, _ = complete(trial.fitted.predict(data.test), merge(data.train, data.valid), data.test, data)
    mean = METHODS["mean"].fit(data.train, data, {}, 0).predict
    assert mean is not None
    share = 0.97 if name in {"bias", "gcn"} else 0.85
    assert rmse(prediction, data.test.rating) < share * rmse(mean(data.test), data.test.rating)
    assert trial.fit.seconds > 0
    assert trial.fit.cpu_seconds > 0
    assert min(trial.tune) >= 0


@pytest.mark.parametrize("name", RANK)
def test_a_ranking_method_finds_test_movies(name: str, data: Dataset, tuned: Callable[[str], MethodTrial]) -> None:
    assert tuned(name).fitted.score is not None
    camps = [(user, item, 5.0) for user in range(40) for item in range(40) if user % 2 == item % 2]
    asked = np.random.default_rng(0).random(len(camps)) < 0.3
    parts = []
    for flag in (False, True):
        rows = [cell for cell, held in zip(camps, asked, strict=True) if held == flag]
        parts.append(interactions(*(list(column) for column in zip(*rows, strict=True))))
    world = replace(data, train=parts[0], valid=interactions([], [], []), test=parts[1])
    score = METHODS[name].fit(parts[0], world, METHODS[name].settings[0], 0).score
    assert score is not None
    assert evaluate_ranking(score, parts[0], parts[1], len(data.items), 5.0).recall > 0.9


def test_popularity_ranks_by_number_of_ratings(data: Dataset) -> None:
    score = METHODS["popularity"].fit(data.train, data, {}, 0).score
    assert score is not None
    scores = score(np.asarray([0, 5], np.int32))
    assert (scores[0] == np.bincount(data.train.item_index, minlength=len(data.items))).all()
    assert (scores[0] == scores[1]).all()


@pytest.mark.parametrize("name", ["svd", "svdpp", "residual", "bias"])
def test_scores_follow_predictions(name: str, data: Dataset, tuned: Callable[[str], MethodTrial]) -> None:
    """Within a user, scores differ as predictions do (of the residual model after popularity is taken out)."""
    fitted = tuned(name).fitted
    assert fitted.predict is not None
    assert fitted.score is not None
    movies = np.unique(data.train.item_index)[:20].astype(np.int32)
    user = int(data.train.user_index[0])
    pairs = interactions([user] * len(movies), movies.tolist(), [3.0] * len(movies))
    prediction, score = fitted.predict(pairs), fitted.score(np.asarray([user], np.int32))[0, movies]
    inside = (prediction > 1.01) & (prediction < 4.99)
    if name == "residual":
        assert np.corrcoef(prediction[inside], score[inside])[0, 1] > 0.5
    else:
        apart = prediction - score
        assert apart[inside] == pytest.approx(apart[inside][0], abs=1e-6)


def test_unpredictable_pairs_are_counted_and_predicted_by_biases(data: Dataset) -> None:
    train = merge(data.train, data.valid)
    known = train.user_index != train.user_index[0]
    without = interactions(*(getattr(train, name)[known].tolist() for name in ("user_index", "item_index", "rating")))
    pairs = interactions([int(train.user_index[0]), 7], [3, 4], [3.0, 3.0])
    fitted = METHODS["svd"].fit(without, data, METHODS["svd"].settings[0], 0)
    assert fitted.predict is not None
    prediction, impossible = complete(np.where([True, False], np.nan, fitted.predict(pairs)), without, pairs, data)
    assert impossible == 1
    assert np.isfinite(prediction).all()
    assert ((prediction >= 1) & (prediction <= 5)).all()


def fake(errors: dict[float, float]) -> Method:
    def fit(train: Any, data: Dataset, settings: Any, seed: int) -> Fitted:
        return Fitted(lambda pairs: pairs.rating + errors[settings["x"]])

    return Method(fit, tuple({"x": x} for x in errors))


def test_the_best_settings_on_validation_are_used(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(methods.METHODS, "fake", fake({1.0: 0.9, 2.0: 0.1, 3.0: 0.5}))
    trial = tune_and_fit("fake", data, 0, budget=60)
    assert (trial.settings, trial.tried) == ({"x": 2.0}, 3)
    trial = tune_and_fit("fake", data, 0, budget=0.0)
    assert (trial.settings, trial.tried) == ({"x": 1.0}, 1), "without budget, only the first setting"


def test_names_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("svd, ease") == ["svd", "ease"]
    assert "residual" in choose(None)
    for names in ("svd,nonsense", ""):
        with pytest.raises(ConfigError, match="--models"):
            choose(names)
    monkeypatch.setitem(methods.METHODS, "absent", replace(METHODS["svd"], needs=("no_such_module", "no-such-package")))
    assert "absent" not in choose(None)
    with pytest.raises(SetupError, match="pip install 'reelgraph\\[bench\\]' or no-such-package"):
        choose("absent")


def test_the_bench_extra_is_installed() -> None:
    """So the tests above ran every library."""
    assert set(choose(None)) == set(METHODS) - {"als-spark"}


def test_methods_write_no_files(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tune_and_fit("svd", data, 0, budget=0.0)
    assert list(tmp_path.iterdir()) == []

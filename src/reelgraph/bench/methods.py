"""The methods to compare, and the search for their settings."""

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from reelgraph.arrays import Floats
from reelgraph.bench import libraries, own_methods
from reelgraph.bench.fitted import Cost, Fitted, Settings
from reelgraph.bench.own_methods import own_model
from reelgraph.data.dataset import Dataset, Interactions, merge
from reelgraph.errors import ConfigError, SetupError
from reelgraph.metrics.baselines import baselines
from reelgraph.metrics.ranking import evaluate_ranking
from reelgraph.metrics.ratings import rmse


@dataclass(frozen=True)
class Method:
    """A method that predicts ratings, ranks movies, or both."""

    fit: Callable[[Interactions, Dataset, Settings, int], Fitted]  # training ratings, data set, settings, seed
    settings: tuple[Settings, ...] = field(default=({},))  # the settings to try, the most promising first
    needs: tuple[str, str] | None = None  # module and package of the library that it needs


def _grid(names: Sequence[str], *values: tuple[Any, ...]) -> tuple[Settings, ...]:
    return tuple(dict(zip(names, row, strict=True)) for row in values)


_SURPRISE = ("surprise", "scikit-surprise")

METHODS: dict[str, Method] = {
    "mean": Method(own_methods.mean),
    "bias": Method(own_methods.bias, _grid(("user", "item"), (5, 10), (10, 25), (2, 5), (15, 10), (5, 3))),
    "popularity": Method(own_methods.popularity),
    "ease": Method(own_methods.ease, _grid(("l2",), (300.0,), (1000.0,), (500.0,), (150.0,), (2000.0,))),
    "itemknn": Method(
        libraries.item_knn, _grid(("k", "shrinkage"), (40, 100), (40, 30), (80, 100), (20, 100), (40, 300)), _SURPRISE
    ),
    "svd": Method(libraries.svd, _grid(
        ("n_factors", "n_epochs", "reg_all", "lr_all"),
        (50, 40, 0.06, 0.005), (100, 60, 0.08, 0.005), (50, 30, 0.04, 0.005), (100, 80, 0.1, 0.005),
        (20, 20, 0.02, 0.005),
    ), _SURPRISE),
    "svdpp": Method(libraries.svdpp, _grid(
        ("n_factors", "n_epochs", "reg_all", "cache_ratings"),
        (20, 20, 0.05, True), (20, 30, 0.08, True), (50, 30, 0.08, True), (20, 20, 0.02, True),
    ), _SURPRISE),
    "als-implicit": Method(libraries.als_implicit, _grid(
        ("factors", "regularization", "alpha"),
        (32, 10.0, 4.0), (64, 10.0, 4.0), (128, 30.0, 4.0), (32, 30.0, 2.0), (128, 30.0, 2.0), (64, 30.0, 2.0),
        (128, 100.0, 4.0), (128, 100.0, 2.0), (64, 10.0, 1.0), (256, 100.0, 4.0),
    ), ("implicit", "implicit")),
    "lightgcn": Method(libraries.lightgcn, _grid(
        ("layers", "l2", "dim", "learning_rate", "epochs"),
        (2, 1e-3, 64, 0.02, 40), (2, 3e-3, 64, 0.02, 80), (1, 1e-3, 64, 0.02, 40), (2, 1e-3, 64, 0.02, 20),
        (2, 1e-3, 128, 0.02, 40), (3, 1e-3, 64, 0.02, 80),
    )),
    "als-spark": Method(
        libraries.als_spark, _grid(("rank", "regParam"), (20, 0.1), (20, 0.15), (50, 0.12), (10, 0.08)),
        ("pyspark", "pyspark"),
    ),
    "myfm": Method(
        libraries.bayesian_fm,
        _grid(("rank", "iterations", "implicit"), (10, 200, False), (20, 300, False), (8, 200, True)),
        ("myfm", "myfm"),
    ),
    "gcn": Method(partial(own_model, model="gcn"), ({}, {"dim": 64}, {"dropout": 0.1}, {"l2": 1e-4})),
    "residual-ratings-only": Method(partial(own_model, session=False, side_features=False)),
    "residual-no-time": Method(partial(own_model, session=False)),
    "residual": Method(own_model),
}  # fmt: skip

TUNES_ITSELF = ("residual", "residual-no-time", "residual-ratings-only")


def choose(names: str | None) -> list[str]:
    """The methods with these comma-separated names; if None, all whose libraries are installed, without Spark."""
    if names is None:
        return [name for name, method in METHODS.items() if _missing(method) is None and name != "als-spark"]
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in METHODS:
            raise ConfigError(f"--models: expected names from {', '.join(METHODS)}, found {name!r}", "correct the name")
        missing = _missing(METHODS[name])
        if missing is not None:
            raise SetupError(
                f"{name}: expected the package {missing}, found none", f"pip install 'reelgraph[bench]' or {missing}"
            )
    if not wanted:
        raise ConfigError("--models: expected at least one name, found none", f"choose from {', '.join(METHODS)}")
    return wanted


def same_method(name: str, data: Dataset) -> str:
    """The method that does the same on these data: variants of ours differ only by what the data have."""
    if name == "residual" and data.train.timestamp is None:
        name = "residual-no-time"
    side_columns = data.user_table.num_columns + data.item_table.num_columns - 2
    return "residual-ratings-only" if name == "residual-no-time" and not side_columns else name


def _missing(method: Method) -> str | None:
    if method.needs is None or importlib.util.find_spec(method.needs[0]) is not None:
        return None
    return method.needs[1]


@dataclass(frozen=True)
class MethodTrial:
    """A method fitted with its best settings, and what this cost."""

    fitted: Fitted
    settings: Settings
    tried: int
    tune: Cost
    fit: Cost


def tune_and_fit(name: str, data: Dataset, seed: int, budget: float) -> MethodTrial:
    """Choose the settings of a method on the validation ratings, then fit training and validation ratings with them.

    After `budget` processor seconds no further settings are tried; the first ones always are.
    """
    method, started = METHODS[name], Cost.since()
    both = merge(data.train, data.valid)
    if name in TUNES_ITSELF:
        fitted = method.fit(both, data, {}, seed)
        return MethodTrial(fitted, fitted.settings, fitted.tried, fitted.tune, fitted.fit)
    best, least, tried = method.settings[0], math.inf, 0
    for settings in method.settings if len(method.settings) > 1 and len(data.valid) else ():
        if tried and Cost.since(started).cpu_seconds * (tried + 1) / tried > budget:
            break
        loss = _loss(method.fit(data.train, data, settings, seed), data)
        tried += 1
        if loss < least:
            best, least = settings, loss
    tune = Cost.since(started)
    fitted = method.fit(both, data, best, seed)
    return MethodTrial(fitted, best, tried, tune, Cost.since(started).less(tune))


def _loss(fitted: Fitted, data: Dataset) -> float:
    """Validation RMSE, or the negative nDCG@10 of a method that only ranks."""
    if fitted.predict is not None:
        return rmse(complete(fitted.predict(data.valid), data.train, data.valid, data)[0], data.valid.rating)
    assert fitted.score is not None
    return -evaluate_ranking(fitted.score, data.train, data.valid, len(data.items), data.scale[1]).ndcg


def complete(prediction: Floats, train: Interactions, pairs: Interactions, data: Dataset) -> tuple[Floats, int]:
    """Clip predictions to the scale, and replace the NaN ones by damped biases; returns also the number of these."""
    impossible = ~np.isfinite(prediction)
    if impossible.any():
        damped = baselines(train, len(data.users), len(data.items))[-1]
        prediction = np.where(impossible, damped.predict(pairs), prediction)
    return np.clip(prediction, *data.scale), int(impossible.sum())

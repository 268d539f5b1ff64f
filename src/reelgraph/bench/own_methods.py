"""Methods that need no other library: baselines of a few lines, and reelgraph's own models."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from reelgraph.arrays import Float32s, Float64s, Indices
from reelgraph.bench.fitted import Fitted
from reelgraph.data.dataset import Dataset, Interactions
from reelgraph.metrics.baselines import Baseline, baselines, damped_biases

Settings = Mapping[str, Any]


def _additive(line: Baseline) -> Fitted:
    def score(users: Indices) -> Float64s:
        return np.tile(line.item, (len(users), 1))

    return Fitted(line.predict, score)


def mean(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:  # noqa: ARG001
    """The mean training rating for every pair."""
    return Fitted(baselines(train, len(data.users), len(data.items))[0].predict)


def bias(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:  # noqa: ARG001
    """Damped means of users and movies (`baselines`), with other dampings."""
    average = float(train.rating.mean(dtype=np.float64))
    count = np.bincount(train.item_index, minlength=len(data.items))
    deviation = train.rating.astype(np.float64) - average
    damping = (float(settings["user"]), float(settings["item"]))
    parts = damped_biases(train.user_index, train.item_index, deviation, len(data.users), count, damping)
    return _additive(Baseline("bias", average, *parts))


def popularity(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:  # noqa: ARG001
    """Movies by their number of training ratings; the same list for everyone."""
    count = np.bincount(train.item_index, minlength=len(data.items)).astype(np.float64)
    return Fitted(score=lambda users: np.tile(count, (len(users), 1)))


def ease(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:  # noqa: ARG001
    """EASE, the linear item-item model with zero diagonal in closed form, on who rated what.

    Source: Steck, Embarrassingly Shallow Autoencoders for Sparse Data, 2019, equation 8.
    """
    from scipy.sparse import csr_array  # noqa: PLC0415 (comes with the bench extra)

    shape = (len(data.users), len(data.items))
    rated = csr_array((np.ones(len(train)), (train.user_index, train.item_index)), shape=shape)
    gram = (rated.T @ rated).toarray()
    gram[np.diag_indices(len(gram))] += settings["l2"]
    inverse = np.linalg.inv(gram)
    weight = -inverse / np.diag(inverse)
    weight[np.diag_indices(len(weight))] = 0
    return Fitted(score=lambda users: np.asarray(rated[users] @ weight))


def residual(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:
    """The default model as `train` fits it, with side features and times where the data have them."""
    return _model(train, data, dict(settings), seed)


def residual_no_time(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:
    """The default model without the time of rating."""
    return _model(train, data, dict(settings) | {"session": False}, seed)


def residual_ratings_only(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:
    """The default model without the time of rating and without side features."""
    return _model(train, data, dict(settings) | {"session": False, "side_features": False}, seed)


def gcn(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:
    """The classic; stopped by validation, then fitted again like the default model."""
    return _model(train, data, dict(settings) | {"model": "gcn"}, seed)


def _model(train: Interactions, data: Dataset, settings: dict[str, Any], seed: int) -> Fitted:
    """A fit through the same door as `reelgraph train`; without refit where validation judges the settings."""
    from reelgraph.training import fit  # noqa: PLC0415

    seconds = {"fit": 0.0}

    def observe(phase: str, progress: Any, config: Any) -> None:  # noqa: ARG001
        seconds[phase] = progress.seconds

    whole = len(train) > len(data.train)
    model = fit.fit(data, observe=observe, seed=seed, refit=whole, **settings)
    manifest, predictor = model.artifact.manifest, model.predictor

    def predict(pairs: Interactions) -> Float32s:
        return predictor.predict(*data.raw_ids(pairs), pairs.timestamp)

    names = ("dim", "l2", "side_l2", "hide", "huber_delta", "rank_dim", "rank_l2", "temperature")
    ranking = manifest["ranking"] or {}
    return Fitted(
        predict,
        model.scores,
        settings={name: manifest["config"][name] for name in names}
        | {"steps": manifest["steps"], "rank_steps": ranking.get("steps"), "blend": ranking.get("blend")},
        tried=len(manifest["tuning"]),
        seconds=seconds.get("refit", seconds["fit"]),
    )

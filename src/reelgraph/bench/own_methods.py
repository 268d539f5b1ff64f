"""Baselines, EASE and reelgraph's own models."""

from typing import Any

import numpy as np

from reelgraph.arrays import Float32s
from reelgraph.bench.fitted import Cost, Fitted, Settings
from reelgraph.data.dataset import Dataset, Interactions
from reelgraph.metrics.baselines import Baseline, baselines, damped_biases
from reelgraph.metrics.ranking import same_for_all


def mean(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:  # noqa: ARG001
    """The mean training rating."""
    return Fitted(baselines(train, len(data.users), len(data.items))[0].predict)


def bias(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:  # noqa: ARG001
    """Damped biases of users and movies."""
    average = float(train.rating.mean(dtype=np.float64))
    count = np.bincount(train.item_index, minlength=len(data.items))
    deviation = train.rating.astype(np.float64) - average
    damping = (float(settings["user"]), float(settings["item"]))
    parts = damped_biases(train.user_index, train.item_index, deviation, len(data.users), count, damping)
    line = Baseline("bias", average, *parts)
    return Fitted(line.predict, same_for_all(line.item))


def popularity(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:  # noqa: ARG001
    """The number of training ratings of each movie."""
    count = np.bincount(train.item_index, minlength=len(data.items)).astype(np.float64)
    return Fitted(score=same_for_all(count))


def ease(train: Interactions, data: Dataset, settings: Settings, seed: int) -> Fitted:  # noqa: ARG001
    """EASE, a linear item-item model with zero diagonal in closed form, on implicit feedback.

    Source: Steck, Embarrassingly Shallow Autoencoders for Sparse Data, 2019, equation 8.
    """
    from scipy.linalg.lapack import dpotrf, dpotri  # noqa: PLC0415 (comes with the bench extra)
    from scipy.sparse import csr_array  # noqa: PLC0415

    shape = (len(data.users), len(data.items))
    rated = csr_array((np.ones(len(train)), (train.user_index, train.item_index)), shape=shape)
    gram = (rated.T @ rated).toarray()
    gram[np.diag_indices(len(gram))] += settings["l2"]
    inverse, _ = dpotri(dpotrf(gram, overwrite_a=1)[0], overwrite_c=1)  # half the work of an inverse without symmetry
    inverse = np.triu(inverse) + np.triu(inverse, 1).T
    weight = -inverse / np.diag(inverse)
    weight[np.diag_indices(len(weight))] = 0
    return Fitted(score=lambda users: np.asarray(rated[users] @ weight))


def own_model(train: Interactions, data: Dataset, settings: Settings, seed: int, **changes: Any) -> Fitted:
    """Fit as `reelgraph train` does; without the refit while settings are compared on the validation ratings."""
    from reelgraph.training import fit  # noqa: PLC0415

    started, costs = Cost.since(), {"tune": Cost(), "end": Cost()}

    def observe(phase: str, progress: Any, config: Any) -> None:  # noqa: ARG001
        costs["end"] = Cost.since(started)
        if not phase.endswith("refit"):
            costs["tune"] = costs["end"]

    whole = len(train) > len(data.train)
    model = fit.fit(data, observe=observe, seed=seed, refit=whole, use_all=False, **settings, **changes)
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
        tune=costs["tune"],
        fit=costs["end"].less(costs["tune"]),  # without the report on the test ratings that follows
    )

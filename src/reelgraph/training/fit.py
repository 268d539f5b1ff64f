"""From ratings to a trained model: what `reelgraph train` does, as two functions."""

import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from reelgraph._version import __version__
from reelgraph.arrays import Floats, Indices
from reelgraph.artifact import Artifact
from reelgraph.config import TrainConfig
from reelgraph.data.dataset import Dataset, Interactions
from reelgraph.data.load import silent
from reelgraph.errors import StoppedError
from reelgraph.evaluation import quality
from reelgraph.metrics.baselines import baselines
from reelgraph.metrics.ratings import mae, rmse
from reelgraph.models import ResidualModel
from reelgraph.models.base import HidesRatings, RatingModel
from reelgraph.models.shard import place
from reelgraph.models.sparse import quiet_sparse
from reelgraph.recommend.recommender import Recommender
from reelgraph.scoring.intervals import calibrate
from reelgraph.scoring.scorers import scorer_for
from reelgraph.scoring.session import Queries, Residuals, SessionEffect, choose
from reelgraph.training.fit_ranking import fit_head
from reelgraph.training.leaks import check_data
from reelgraph.training.loop import hidden_residuals, history_rows, predict
from reelgraph.training.runner import Checkpoints, Observe, Run, Runner
from reelgraph.training.tuning import search

_LIBRARIES = ("torch", "torch-geometric", "numpy", "pyarrow", "duckdb", "sqlframe")


def fit(
    data: Dataset,
    config: TrainConfig | None = None,
    *,
    observe: Observe = silent,
    checkpoints: Checkpoints | None = None,
    **settings: Any,
) -> Recommender:
    """Fit a model: stop by validation, then fit again on train and validation with the chosen number of steps.

    Above a million training ratings the second fit goes on from the first, for half of its steps.

    Args:
        data: the ratings; the test split is looked at once, after the fit.
        config: settings of the fit.
        observe: called after every step with the phase ("fit" or "refit"), its progress and its settings.
        checkpoints: where to keep checkpoints; None keeps none.
        **settings: fields of `config` by name, such as `seed=1`, in its place.

    Returns:
        The trained model, with its validation and test errors in `artifact.manifest["metrics"]`. When the user stopped
        the fit, the model is the best so far.

    Raises:
        TrainingError: if a loss or gradient is not finite.
        ArtifactError: if a checkpoint to go on from is damaged or of another fit.
    """
    recommender = take_part(data, config or TrainConfig(**settings), observe=observe, checkpoints=checkpoints)
    if recommender is None:
        raise RuntimeError("only the leader of a distributed training has a model: call take_part")
    return recommender


def take_part(
    data: Dataset, config: TrainConfig, *, observe: Observe = silent, checkpoints: Checkpoints | None = None
) -> Recommender | None:
    """What each process of a training runs; see `fit`.

    Returns:
        The trained model in the leader, or in the only process there is; None in the others.
    """
    started, leads = time.monotonic(), place()[0] == 0
    check_data(data, config.side_features)
    runner = Runner(data, observe, checkpoints)
    with torch.random.fork_rng(devices=[]), quiet_sparse():
        given = frozenset(name for name in config.model_fields_set if getattr(config, name) is not None)
        found, metrics = search(runner, config, given), {}
        progress, config = found.run.progress, found.run.config
        model, train, history, interrupted = runner.whole(found.run), data.train, _history(found.run), found.interrupted
        head, ranking = None, None
        session: SessionEffect | None = None
        intervals: dict[str, Any] = {}
        if len(data.valid) and leads:
            session, intervals, rows = _learned_from_validation(data, model, config)
            metrics["valid"] = _errors(data, train, data.valid, rows)
        ranks = replace(runner, ranks=True)
        if config.ranking and not interrupted:
            try:
                head = fit_head(ranks, config, given, _stars(data, model, config) if leads else None)
            except StoppedError:  # The rating model is there to be kept.
                interrupted = True
        if head is not None:
            ranking, interrupted, history = head.model, head.interrupted, history + head.history
        if config.refit and len(data.valid) and not interrupted:
            again = runner.refit(found.run, rescale="l2" not in given)
            also = head.refit(ranks) if head is not None and not again.progress.interrupted else None
            interrupted = again.progress.interrupted or (also is not None and also.progress.interrupted)
            if not interrupted:
                refitted, config, train = runner.whole(again), again.config, again.train
                _hand_on_gain(model, refitted)
                model, ranking = refitted, None if also is None else ranks.whole(also)
        if not leads:
            return None
        seen: dict[str, Any] = {"user_index": train.user_index, "item_index": train.item_index, "rating": train.rating}
        if session is not None and isinstance(model, HidesRatings):
            seen |= {"timestamp": train.timestamp, "residual": hidden_residuals(model, train, data.scale)}
    manifest = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "config": config.model_dump() | ({} if head is None else head.chosen),
        "steps": progress.best_step or progress.step,
        "tuning": [asdict(trial) for trial in found.trials],
        "ranking": None if head is None else head.facts,
        "session": None if session is None else session.to_json(),
        "intervals": intervals,
        "interrupted": interrupted,
        "processes": place()[1],
        "refitted": train is not data.train,
        "libraries": {"reelgraph": __version__, "python": platform.python_version()}
        | {name: version(name) for name in _LIBRARIES},
        "data": data.manifest,
        "scale": data.manifest["scale"],
        "standardise": {"mean": model.graph.mean, "std": model.graph.std},
    }
    arrays = model.export() | ({} if ranking is None else ranking.export())
    weights = {name: value.numpy() for name, value in arrays.items()}
    artifact = Artifact(manifest, weights, data.user_table, data.item_table, pa.table(seen), history, data.rejects)
    recommender = Recommender(artifact)
    if len(data.test):
        report = recommender.predictor.evaluate(*data.raw_ids(data.test), data.test.rating, data.test.timestamp)
        rows = {"model": (report.rmse, report.mae)}
        if report.rmse_untimed is not None and report.mae_untimed is not None:
            rows["untimed"] = (report.rmse_untimed, report.mae_untimed)
        metrics["test"] = _errors(data, train, data.test, rows)
        manifest["analysis"] = report.to_json() | quality.judge(recommender, data.test)
    manifest |= {"metrics": metrics, "seconds": time.monotonic() - started}
    if checkpoints is not None and not interrupted:
        shutil.rmtree(checkpoints.directory, ignore_errors=True)
    return recommender


def _stars(data: Dataset, model: RatingModel, config: TrainConfig) -> Callable[[Indices], Floats]:
    """A rating model's standardised predictions of all movies."""
    low, high = data.scale
    unit = (model.graph.std / (high - low), (model.graph.mean - low) / (high - low))
    scorer = scorer_for(config.model, {name: value.numpy() for name, value in model.export().items()}, unit)
    return lambda users: scorer.score(scorer.users(users))


def _learned_from_validation(
    data: Dataset, model: RatingModel, config: TrainConfig
) -> tuple[SessionEffect | None, dict[str, Any], dict[str, tuple[float, float]]]:
    """The session effect, the intervals, and RMSE and MAE with and without the effect; the model learns its gain."""
    train, valid = data.train, data.valid
    if isinstance(model, ResidualModel):
        standardised = torch.from_numpy(((valid.rating - model.graph.mean) / model.graph.std).astype(np.float32))
        model.fit_gain(*model.graph.pairs(valid.user_index, valid.item_index), standardised)
    prediction, session = predict(model, valid, data.scale), None
    user_count = np.bincount(train.user_index, minlength=len(data.users))[valid.user_index]
    item_count = np.bincount(train.item_index, minlength=len(data.items))[valid.item_index]
    found = {"untimed": calibrate(valid.rating - prediction, user_count, item_count)}
    errors = {"model": (rmse(prediction, valid.rating), mae(prediction, valid.rating))}
    if (
        train.timestamp is not None
        and valid.timestamp is not None
        and config.session
        and isinstance(model, HidesRatings)
    ):
        residual = hidden_residuals(model, train, data.scale)
        history = Residuals.of(train.user_index, train.item_index, train.timestamp, residual, len(data.users))
        queries = Queries(valid.user_index, valid.item_index, valid.timestamp, np.ones(len(valid), bool))
        causal = data.manifest["split"]["kind"] in {"time", "last"}
        session = choose(queries, valid.rating - prediction, history, causal)
        if session is not None:
            better = np.clip(prediction + session.predict(queries, history), *data.scale)
            found["timed"] = calibrate(valid.rating - better, user_count, item_count)
            errors = {"model": (rmse(better, valid.rating), mae(better, valid.rating)), "untimed": errors["model"]}
    return session, {name: one.to_json() for name, one in found.items() if one is not None}, errors


def _hand_on_gain(model: RatingModel, refitted: RatingModel) -> None:
    """What validation ratings taught a model that the refit has them as training ratings."""
    if isinstance(model, ResidualModel) and isinstance(refitted, ResidualModel):
        refitted.gain = model.gain


def _errors(
    data: Dataset, train: Interactions, pairs: Interactions, model: dict[str, tuple[float, float]]
) -> dict[str, dict[str, float]]:
    """RMSE and MAE of the model and of what it has to beat, fitted on the same ratings."""
    rows = {}
    for line in baselines(train, len(data.users), len(data.items)):
        prediction = np.clip(line.predict(pairs), *data.scale)
        rows[line.name] = (rmse(prediction, pairs.rating), mae(prediction, pairs.rating))
    return {name: {"rmse": error, "mae": absolute} for name, (error, absolute) in (rows | model).items()}


def _history(run: Run) -> list[dict[str, Any]]:
    return [{"phase": "fit"} | row for row in history_rows(run.progress)]

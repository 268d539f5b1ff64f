"""Training from a data set to a model: search, fit, calibration, refit and test."""

import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from threading import Event, Lock
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from reelgraph import machine
from reelgraph._version import __version__
from reelgraph.arrays import Float32s, Floats, Indices
from reelgraph.artifact import Artifact
from reelgraph.config import TrainConfig
from reelgraph.data.dataset import NO_TIME, Dataset, Interactions, merge
from reelgraph.data.load import silent
from reelgraph.errors import ConfigError, StoppedError
from reelgraph.evaluation import quality
from reelgraph.metrics.baselines import baselines
from reelgraph.metrics.ranking import Score, evaluate_ranking, same_for_all
from reelgraph.metrics.ratings import mae, rmse
from reelgraph.models import RankingModel, ResidualModel
from reelgraph.models.base import HidesRatings, RatingModel
from reelgraph.models.graph import BipartiteGraph, build_graph, reveal
from reelgraph.models.shard import place
from reelgraph.recommend.recommender import Recommender
from reelgraph.scoring.intervals import calibrate
from reelgraph.scoring.scorers import scorer_for
from reelgraph.scoring.session import Queries, Residuals, SessionEffect, choose
from reelgraph.training.bars import bars
from reelgraph.training.devices import running_on
from reelgraph.training.fit_ranking import RankingHead, blend_head, refit_head, score_of, search_head
from reelgraph.training.leaks import check_data
from reelgraph.training.loop import Progress, Spare, beside, few_threads
from reelgraph.training.runner import Checkpoints, Observe, Run, Runner
from reelgraph.training.runs import RankingRuns, RatingRuns
from reelgraph.training.tuning import Search, Trial, search
from reelgraph.training.validation import hidden_residuals, predict

LIBRARIES = ("torch", "torch-geometric", "numpy", "pyarrow", "duckdb")


def fit(
    data: Dataset, config: TrainConfig | None = None, *, progress: bool = True, observe: Observe | None = None,
    checkpoints: Checkpoints | None = None,
    model: Literal["residual", "gcn", "ranking"] | None = None, seed: int | None = None, dim: int | None = None,
    hide: float | None = None, newcomers: float | None = None, dropout: float | None = None,
    huber_delta: float | None = None, l2: float | None = None, side_l2: float | None = None,
    learning_rate: float | None = None, decay_steps: float | None = None, average: float | None = None,
    max_steps: int | None = None, eval_every: int | None = None, patience: int | None = None,
    session: bool | None = None, side_features: bool | None = None, min_improvement: float | None = None,
    ranking: bool | None = None, rank_dim: int | None = None, temperature: float | None = None,
    rank_l2: float | None = None, rank_hide: float | None = None, rank_newcomers: float | None = None,
    rank_dropout: float | None = None, rank_max_steps: int | None = None,
    tune: Literal["none", "quick", "full"] | None = None, refit: bool | None = None, use_all: bool | None = None,
    processes: int | None = None, device: Literal["auto", "cpu", "cuda", "mps"] | None = None,
    checkpoint_seconds: float | None = None,
) -> Recommender:  # fmt: skip
    """Train a model.

    The fit stops by validation error. It then goes on for as many steps on training and validation ratings, or half as
    many above a million training ratings; the ranking head starts again on these and takes the same steps. The other
    arguments are fields of `TrainConfig`, which describes them and has their defaults; None leaves one as it is.

    Args:
        data: the ratings; test ratings are used once, after training.
        config: settings; those given by name come before these.
        progress: show bars, on a terminal or in a notebook.
        observe: called after every step with the phase ("fit" or "rank refit", for instance), its progress and its
            settings, in place of the bars. Another thread may call it, never two at once.
        checkpoints: where to keep checkpoints; None keeps none.

    Returns:
        The model, with its validation and test errors in `artifact.manifest["metrics"]`. With `use_all`, all ratings
        are added to it after these are measured. After Ctrl-C it is the best model so far.

    Raises:
        TrainingError: if a loss or gradient is not finite.
        ArtifactError: if a checkpoint is damaged or belongs to another fit.
        ConfigError: if a setting is out of range.
    """
    settings = (config or TrainConfig()).changed(locals())
    with nullcontext(observe) if observe is not None else bars() if progress else nullcontext(silent) as shown:
        recommender = take_part(data, settings, observe=shown, checkpoints=checkpoints)
    if recommender is None:
        raise RuntimeError("only rank 0 of a distributed training returns a model: call take_part")
    if checkpoints is not None:
        checkpoints.remove(recommender.artifact)
    return recommender


def take_part(
    data: Dataset, config: TrainConfig, *, observe: Observe = silent, checkpoints: Checkpoints | None = None
) -> Recommender | None:
    """Run this process's part of a training, see `fit`; returns the model in rank 0 and None in other processes."""
    started = time.monotonic()
    if data.implicit:
        config = config.without_stars()
    elif config.model == "ranking":
        raise ConfigError("--model ranking: expected views, likes or counts, found ratings", "leave it out")
    check_data(data, config.side_features)
    runs, stop = (RatingRuns(data), RankingRuns(data)), Event()
    with running_on(config.device) as device, few_threads(len(data.train)) as few:
        spare = Spare(machine.processors()) if few and device.type == "cpu" and place()[1] == 1 else None
        observe = one_at_a_time(observe)
        runner, rankings = (Runner(kind, observe, checkpoints, stop, spare) for kind in runs)
        with beside(stop, spare is not None) as submit:
            ranks = submit_head(submit, rankings, config)
            fitted = tune_and_fit(runner, config)
            fitted = learn_from_validation(fitted, data)
            fitted, head = fit_head(fitted, rankings, ranks, submit)
            fitted = refit_both(fitted, runner, rankings, ranks, head)
            fitted = add_head(fitted, head) if head else fitted
        if place()[0]:
            return None
        artifact = make_artifact(fitted, data)
        recommender = judge_test(artifact, fitted, data)
        if config.use_all and len(data.valid) + len(data.test):
            del recommender, runner, rankings  # frees their graphs before a larger one is built
            artifact = add_held_out(artifact, fitted, *runs)
            recommender = Recommender(artifact)
    artifact.manifest["given"] = config.model_dump(mode="json", include=set(fitted.given))
    artifact.manifest["device"] = device.type
    artifact.manifest["seconds"] = time.monotonic() - started
    return recommender


@dataclass(frozen=True)
class Calibration:
    """What the validation ratings teach about a fitted model."""

    session: SessionEffect | None  # None without an effect of the time of rating
    intervals: dict[str, Any]  # by name, as the manifest holds them
    errors: dict[str, tuple[float, float]]  # RMSE and MAE on the validation ratings by name


@dataclass(frozen=True)
class Fitted:
    """The state of a training between two of its steps."""

    given: frozenset[str]  # the settings that the user gave
    run: Run  # the rating model's fit; its refit once there is one; without a model for counts
    model: RatingModel | None  # with all users; None for counts and in processes other than rank 0
    trials: list[Trial]
    steps: int  # of the fit that validation chose
    history: list[dict[str, Any]]
    interrupted: bool
    calibration: Calibration | None = None  # None without validation ratings and in processes other than rank 0
    head: RankingHead | None = None  # the ranking head's fit on the training ratings
    ranking: RankingModel | None = None  # the ranking head with all users, as `model`


def tune_and_fit(runner: Runner, config: TrainConfig) -> Fitted:
    """Fit the rating model, if any, to the training ratings with the settings that validation chooses."""
    given = config.given
    if config.model == "ranking":
        return Fitted(
            given, Run(None, Progress(), config, runner.runs.data.train, 0, []), None, [], 0, [], interrupted=False
        )
    best = search(runner, config, given)
    history = [{"phase": "fit"} | row for row in best.run.history]
    return Fitted(given, best.run, runner.whole(best.run), best.trials, best.run.steps, history, best.interrupted)


def learn_from_validation(fitted: Fitted, data: Dataset) -> Fitted:
    """Calibrate the rating model, while it has not been fitted to the validation ratings."""
    model, valid = fitted.model, data.valid
    if model is None or not len(valid):
        return fitted
    if isinstance(model, ResidualModel):
        standardised = torch.as_tensor(((valid.rating - model.graph.mean) / model.graph.std).astype(np.float32))
        model.fit_gain(*model.graph.pairs(valid.user_index, valid.item_index), standardised)
    prediction = predict(model, valid, data.scale)
    counts = [
        np.bincount(getattr(data.train, side), minlength=size)[getattr(valid, side)]
        for side, size in (("user_index", len(data.users)), ("item_index", len(data.items)))
    ]
    intervals = {"untimed": calibrate(valid.rating - prediction, *counts)}
    errors = {"model": (rmse(prediction, valid.rating), mae(prediction, valid.rating))}
    session = None
    if isinstance(model, HidesRatings) and fitted.run.config.session:
        session, timed = fit_session(model, data, prediction)
        if session is not None:
            intervals["timed"] = calibrate(valid.rating - timed, *counts)
            errors = {"model": (rmse(timed, valid.rating), mae(timed, valid.rating)), "untimed": errors["model"]}
    named = {name: interval.half_width.tolist() for name, interval in intervals.items() if interval is not None}
    return replace(fitted, calibration=Calibration(session, named, errors))


def fit_session(model: HidesRatings, data: Dataset, prediction: Float32s) -> tuple[SessionEffect | None, Float32s]:
    """The effect of the time of rating, if it predicts validation ratings better, and their predictions with it."""
    train, valid = data.train, data.valid
    if train.timestamp is None or valid.timestamp is None:
        return None, prediction
    residual = hidden_residuals(model, train, data.scale)
    history = Residuals.of(train.user_index, train.item_index, train.timestamp, residual, len(data.users))
    queries = Queries(valid.user_index, valid.item_index, valid.timestamp, np.ones(len(valid), bool))
    causal = data.manifest["split"]["kind"] in {"time", "last"}
    session = choose(queries, valid.rating - prediction, history, causal)
    if session is not None:
        prediction = np.clip(prediction + session.predict(queries, history), *data.scale)
    return session, prediction


@dataclass(frozen=True)
class HeadFits:
    """The fits of the ranking head, which do not depend on the rating model; each waits for its result."""

    tuned: Callable[[], Search | None]  # None if nothing is liked
    refitted: Callable[[], Run | None]  # None if the settings ask for no refit, or after an interrupt


Submit = Callable[[Callable[[], Any]], Callable[[], Any]]  # see `loop.beside`


def submit_head(submit: Submit, rankings: Runner, config: TrainConfig) -> HeadFits | None:
    """Hand the fits of the ranking head over to `submit`, if the settings ask for one."""
    if not config.ranking:
        return None
    tuned = submit(lambda: search_head(rankings, config))

    def refit() -> Run | None:
        found = tuned()
        if found is None or found.interrupted or not config.refit or not len(rankings.runs.data.valid):
            return None
        return refit_head(rankings, found, config)

    return HeadFits(tuned, submit(refit))


def fit_head(
    fitted: Fitted, rankings: Runner, ranks: HeadFits | None, submit: Submit
) -> tuple[Fitted, Callable[[], RankingHead] | None]:
    """Wait for the ranking head's fit, and let `submit` choose how the lists blend it with the rating model."""
    if ranks is None or fitted.interrupted:
        return fitted, None
    try:
        tuned = ranks.tuned()
    except StoppedError:
        if fitted.run.model is None:
            raise
        return replace(fitted, interrupted=True), None  # The rating model is complete and worth keeping.
    if tuned is None:
        return fitted, None
    stars = None if fitted.model is None else star_scores(rankings.runs.data, fitted.model, fitted.run.config)
    return replace(fitted, interrupted=tuned.interrupted), submit(lambda: blend_head(rankings, tuned, stars))


def refit_both(
    fitted: Fitted, runner: Runner, rankings: Runner, ranks: HeadFits | None, blend: Callable[[], Any] | None
) -> Fitted:
    """Fit both models again on training and validation ratings; if interrupted, keep the first fits.

    `blend` belongs to the ranking head, if there is one, and may run here while the head's refit goes on.
    """
    if not fitted.run.config.refit or not len(runner.runs.data.valid) or fitted.interrupted:
        return fitted
    run, head, model = fitted.run, None, None
    if run.model is not None:
        run = runner.refit(run, rescale="l2" not in fitted.given)
    interrupted = run.progress.interrupted
    if ranks is not None and blend is not None and not interrupted:
        blend()
        head = ranks.refitted()
        interrupted = head is None or head.progress.interrupted
    if interrupted:
        return replace(fitted, interrupted=True)
    if run.model is not None:
        model = runner.whole(run)
    elif head is not None:
        run = replace(run, train=head.train)
    if isinstance(model, ResidualModel) and isinstance(fitted.model, ResidualModel):
        model.gain.copy_(fitted.model.gain)  # Only ratings that no fit has seen can teach it.
    return replace(fitted, run=run, model=model, ranking=None if head is None else rankings.whole(head))


def add_head(fitted: Fitted, wait: Callable[[], RankingHead]) -> Fitted:
    """The rating model with the ranking head, the refitted one if there is one."""
    head = wait()
    ranking = head.model if fitted.ranking is None else fitted.ranking
    steps = fitted.steps or head.facts["steps"]
    return replace(fitted, head=head, ranking=ranking, history=fitted.history + head.history, steps=steps)


def one_at_a_time(observe: Observe) -> Observe:
    """The observer, called by one thread at a time."""
    lock = Lock()

    def observe_alone(phase: str, progress: Progress, config: TrainConfig) -> None:
        with lock:
            observe(phase, progress, config)

    return observe_alone


def make_artifact(fitted: Fitted, data: Dataset) -> Artifact:
    """The trained model as it is saved, before its errors are known."""
    model, train, config, head = fitted.model, fitted.run.train, fitted.run.config, fitted.head
    graph = graph_of(fitted)
    session = None if fitted.calibration is None else fitted.calibration.session
    seen: dict[str, Any] = {"user_index": train.user_index, "item_index": train.item_index, "rating": train.rating}
    if session is not None and isinstance(model, HidesRatings):
        seen |= {"timestamp": train.timestamp, "residual": hidden_residuals(model, train, data.scale)}
    manifest = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "config": config.model_dump() | ({} if head is None else head.chosen),
        "steps": fitted.steps,
        "tuning": [asdict(trial) for trial in fitted.trials],
        "ranking": None if head is None else head.facts,
        "session": None if session is None else asdict(session),
        "intervals": {} if fitted.calibration is None else fitted.calibration.intervals,
        "interrupted": fitted.interrupted,
        "processes": place()[1],
        "refitted": train is not data.train,
        "seen": {
            "train": len(data.train),
            "valid": 0 if train is data.train else len(data.valid),
            "test": 0,
            "after_metrics": 0,
        },
        "libraries": {"reelgraph": __version__, "python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
        "machine": {
            "name": machine.describe(),
            "vectors": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
        },
        "data": data.manifest,
        "scale": data.manifest["scale"],
        "standardise": {"mean": graph.mean, "std": graph.std},
    }
    arrays = {
        name: array for part in (model, fitted.ranking) if part is not None for name, array in part.export().items()
    }
    weights = {name: value.numpy(force=True) for name, value in arrays.items()}
    return Artifact(manifest, weights, data.user_table, data.item_table, pa.table(seen), fitted.history, data.rejects)


def graph_of(fitted: Fitted) -> BipartiteGraph:
    """The graph of a fit with all users."""
    models = [model for model in (fitted.model, fitted.ranking) if model is not None]
    return models[0].graph


def judge_test(artifact: Artifact, fitted: Fitted, data: Dataset) -> Recommender:
    """Measure the model on the test ratings; the manifest takes these errors and those on validation ratings."""
    recommender, metrics = Recommender(artifact), {}
    if fitted.model is None:
        if fitted.head is not None and fitted.head.model is not None and len(data.valid):
            metrics["valid"] = list_table(data, data.train, data.valid, score_of(fitted.head.model))
        if len(data.test):
            metrics["test"] = list_table(data, fitted.run.train, data.test, recommender.scores)
            artifact.manifest["analysis"] = quality.measure_quality(recommender, data.test)
    elif fitted.calibration is not None:
        metrics["valid"] = error_table(data, data.train, data.valid, fitted.calibration.errors)
    if fitted.model is not None and len(data.test):
        report = recommender.predictor.evaluate(*data.raw_ids(data.test), data.test.rating, data.test.timestamp)
        metrics["test"] = report.errors()
        artifact.manifest["analysis"] = report.to_json() | quality.measure_quality(recommender, data.test)
    artifact.manifest["metrics"] = metrics
    return recommender


def add_held_out(artifact: Artifact, fitted: Fitted, ratings: RatingRuns, rankings: RankingRuns) -> Artifact:
    """The measured model with validation and test ratings added as messages; its parameters and metrics stay.

    Args:
        artifact: the measured model.
        fitted: its rating model and ranking head.
        ratings, rankings: the kinds of runs that fitted them.
    """
    data, model, head = ratings.data, fitted.model, fitted.head
    every = fitted.run.train
    for part in (data.valid, data.test) if every is data.train else (data.test,):
        if len(part):
            times = np.full(len(part), NO_TIME) if part.timestamp is None else part.timestamp
            every = merge(every, replace(part, timestamp=times))
    mean, std = graph_of(fitted).mean, graph_of(fitted).std
    standardised = torch.as_tensor((every.rating - np.float32(mean)) / np.float32(std))
    graph = build_graph(every, len(data.users), len(data.items), alone=True).standardised(standardised, mean, std)
    ranking = None
    if fitted.ranking is not None and head is not None:
        ranking = with_ratings(fitted.ranking, rankings.build(graph, every, head.run.config))
    larger = None if model is None else with_ratings(model, ratings.build(graph, every, fitted.run.config))
    larger_fit = replace(fitted, model=larger, ranking=ranking, run=replace(fitted.run, train=every))
    seen = {"train": len(data.train), "valid": len(data.valid), "test": len(data.test)}
    seen["after_metrics"] = len(every) - artifact.seen.num_rows
    return replace(make_artifact(larger_fit, data), manifest=artifact.manifest | {"seen": seen})


@torch.no_grad()
def with_ratings(model: Any, larger: Any) -> Any:
    """`larger`, a new model over more ratings, with the parameters of `model`.

    Users and movies without ratings in `model` start from zeros, as new ones do in an update.
    """
    larger.load_state_dict(model.state_dict())
    users, unrated = model.graph.num_users, reveal(model.graph).degree == 0
    for name in larger.node_tables:
        getattr(larger, name)[unrated] = 0
    if isinstance(larger, RankingModel):
        larger.free[unrated[users:]] = 0
        larger.bias[unrated[users:]] = larger.bias[~unrated[users:]].min()
    return larger


def star_scores(data: Dataset, model: RatingModel, config: TrainConfig) -> Callable[[Indices], Floats]:
    """A function of user indices that gives the rating model's standardised predictions of all movies."""
    low, high = data.scale
    unit = (model.graph.std / (high - low), (model.graph.mean - low) / (high - low))
    scorer = scorer_for(config.model, {name: value.numpy(force=True) for name, value in model.export().items()}, unit)
    return lambda users: scorer.score(scorer.users(users))


def list_table(data: Dataset, train: Interactions, pairs: Interactions, score: Score) -> dict[str, dict[str, float]]:
    """NDCG at 10 and recall at 20 of popularity in the same data, and of the model."""
    count = np.bincount(train.item_index, minlength=len(data.items)).astype(np.float64)
    rows = {"popularity": same_for_all(count), "model": score}
    reports = {name: evaluate_ranking(row, train, pairs, len(data.items), data.scale[1]) for name, row in rows.items()}
    return {name: {"ndcg": report.ndcg, "recall": report.recall} for name, report in reports.items()}


def error_table(
    data: Dataset, train: Interactions, pairs: Interactions, model: dict[str, tuple[float, float]]
) -> dict[str, dict[str, float]]:
    """RMSE and MAE of baselines fitted to the same ratings, and of the model."""
    rows = {}
    for line in baselines(train, len(data.users), len(data.items)):
        prediction = np.clip(line.predict(pairs), *data.scale)
        rows[line.name] = (rmse(prediction, pairs.rating), mae(prediction, pairs.rating))
    return {name: {"rmse": error, "mae": absolute} for name, (error, absolute) in (rows | model).items()}

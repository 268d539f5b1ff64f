"""From ratings to a trained model: what `reelgraph train` does, as two functions."""

import hashlib
import platform
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from reelgraph import __version__, checkpoint
from reelgraph.artifact import Artifact
from reelgraph.baselines import baselines
from reelgraph.config import DataConfig, TrainConfig
from reelgraph.data import features, sources
from reelgraph.data.dataset import Dataset, Interactions, is_prepared, load_prepared, merge
from reelgraph.data.prepare import prepare
from reelgraph.errors import ConfigError
from reelgraph.graph import BipartiteGraph, build_graph
from reelgraph.metrics import mae, rmse
from reelgraph.models import GCNModel, ResidualModel
from reelgraph.recommender import Recommender
from reelgraph.training import Fit, Progress, RatingModel, history_rows, predict

Report = Callable[[str], None]
Observe = Callable[[str, Progress, TrainConfig], None]
_LIBRARIES = ("torch", "torch-geometric", "numpy", "pyarrow", "duckdb", "sqlframe")


def silent(*_: object) -> None:
    """A report that goes nowhere."""


def load(
    ratings: str | Path | None = None,
    *,
    items: str | Path | None = None,
    users: str | Path | None = None,
    test: str | Path | None = None,
    config: DataConfig | None = None,
    report: Report = silent,
    **settings: Any,
) -> Dataset:
    """Ratings from a file or folder, validated, indexed and split.

    Args:
        ratings: a CSV, TSV or Parquet file, a MovieLens folder, a Prepared directory, or None for the bundled sample.
        items: a movie table.
        users: a user table.
        test: a file of test ratings; the split is then `given`.
        config: data settings.
        report: takes one line of text at a time on what was found.
        **settings: fields of `config` by name, such as `split="time"`, in its place.

    Raises:
        DataError: if the ratings cannot be used; see `data.prepare`.
    """
    config = config or DataConfig(**settings)
    if test is not None:
        config = config.model_copy(update={"split": "given"})
    if ratings is not None and is_prepared(Path(ratings)):
        if items or users or test:
            raise ConfigError(
                f"{ratings}: expected no other tables beside a prepared directory, found some",
                "prepare again with them",
            )
        return load_prepared(Path(ratings))
    source = sources.find(*(None if path is None else Path(path) for path in (ratings, items, users, test)))
    with tempfile.TemporaryDirectory(prefix="reelgraph-") as directory:
        return load_prepared(prepare(source, config, Path(directory) / "prepared", report))


@dataclass(frozen=True)
class Checkpoints:
    """Where a fit's checkpoints go, and whether to go on from them.

    Attributes:
        directory: holds one file a phase, `fit.safetensors` and `refit.safetensors`; removed after a whole fit.
        resume: go on from the files that are there.
    """

    directory: Path
    resume: bool = False


def fit(
    data: Dataset,
    config: TrainConfig | None = None,
    *,
    observe: Observe = silent,
    checkpoints: Checkpoints | None = None,
    **settings: Any,
) -> Recommender:
    """Fit a model: stop by validation, then fit again on train and validation with the chosen number of steps.

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
    config, started = config or TrainConfig(**settings), time.monotonic()
    valid = data.valid if len(data.valid) else None
    with torch.random.fork_rng(devices=[]), _quiet_sparse():
        model, progress = _run("fit", data, data.train, valid, config, observe, checkpoints)
        metrics = {}
        if valid is not None:
            metrics["valid"] = _errors(data, data.train, valid, predict(model, valid, data.scale))
        history, train, interrupted = _history("fit", progress), data.train, progress.interrupted
        if config.refit and valid is not None and not interrupted:
            exact = config.model_copy(update={"max_steps": progress.best_step})
            both = merge(data.train, data.valid)
            refitted, again = _run("refit", data, both, None, exact, observe, checkpoints)
            interrupted = again.interrupted
            if not interrupted:
                model, train = refitted, both
    manifest = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "config": config.model_dump() | {"l2": config.l2_for(model.graph.num_edges)},
        "steps": progress.best_step or progress.step,
        "interrupted": interrupted,
        "refitted": train is not data.train,
        "libraries": {"reelgraph": __version__, "python": platform.python_version()}
        | {name: version(name) for name in _LIBRARIES},
        "data": data.manifest,
        "scale": data.manifest["scale"],
        "standardise": {"mean": model.graph.mean, "std": model.graph.std},
    }
    seen = pa.table({"user_index": train.user_index, "item_index": train.item_index, "rating": train.rating})
    weights = {name: value.numpy() for name, value in model.export().items()}
    artifact = Artifact(manifest, weights, data.user_table, data.item_table, seen, history, data.rejects)
    if len(data.test):
        prediction = _predict_test(Recommender(artifact), data)
        metrics["test"] = _errors(data, train, data.test, prediction)
    manifest |= {"metrics": metrics, "seconds": time.monotonic() - started}
    if checkpoints is not None and not interrupted:
        shutil.rmtree(checkpoints.directory, ignore_errors=True)
    return Recommender(replace(artifact, manifest=manifest))


@contextmanager
def _quiet_sparse() -> Iterator[None]:
    """Answer what torch asks with a warning: no, sparse matrices made here need no check of their indices."""
    unchecked = torch.sparse.check_sparse_tensor_invariants(enable=False)  # type: ignore[no-untyped-call]
    with unchecked, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CS[CR] tensor support is in beta")
        yield


def _run(
    phase: str,
    data: Dataset,
    train: Interactions,
    valid: Interactions | None,
    config: TrainConfig,
    observe: Observe,
    checkpoints: Checkpoints | None,
) -> tuple[RatingModel, Progress]:
    torch.manual_seed(config.seed)
    fitting = Fit(_model(data, build_graph(train, len(data.users), len(data.items)), config), config, valid, data.scale)
    if checkpoints is None:
        return fitting.model, fitting.run(lambda progress: observe(phase, progress, config))
    path = checkpoints.directory / f"{phase}.safetensors"
    # max_steps and patience may be raised for a resumed fit; everything else must be what it was.
    settings = config.model_dump(mode="json", exclude={"max_steps", "patience", "checkpoint_seconds"})
    identity = {"settings": settings, "data": _identity(data)}
    if checkpoints.resume and path.exists():
        checkpoint.restore(fitting, path, identity)
    saved = time.monotonic()

    def keep(progress: Progress) -> None:
        nonlocal saved
        observe(phase, progress, config)
        if fitting.done or progress.interrupted or time.monotonic() - saved >= config.checkpoint_seconds:
            checkpoint.save(fitting, path, identity)
            saved = time.monotonic()

    return fitting.model, fitting.run(keep)


def _identity(data: Dataset) -> dict[str, Any]:
    """All that a fit reads of its data, as JSON: ratings by fingerprint, scale, ids in index order and side columns."""
    tables = repr([table.to_pydict() for table in (data.user_table, data.item_table)])
    return {
        "ratings": data.manifest["split"]["fingerprints"],
        "scale": list(data.scale),
        "tables": hashlib.sha256(tables.encode()).hexdigest(),
    }


def _model(data: Dataset, graph: BipartiteGraph, config: TrainConfig) -> RatingModel:
    if config.model == "gcn":
        return GCNModel(graph, scale=data.scale, dim=config.dim, dropout=config.dropout)
    return ResidualModel(
        graph,
        dim=config.dim,
        hide=config.hide,
        dropout=config.dropout,
        user_features=_features(data.user_table, config),
        item_features=_features(data.item_table, config),
    )


def _features(table: pa.Table, config: TrainConfig) -> Any:
    encoded = features.encode(table) if config.side_features else None
    return None if encoded is None else encoded[0]


def _predict_test(model: Recommender, data: Dataset) -> Any:
    user_ids = data.users.ids.take(pa.array(data.test.user_index)).to_pylist()
    movie_ids = data.items.ids.take(pa.array(data.test.item_index)).to_pylist()
    return model.predict_ids(user_ids, movie_ids)


def _errors(data: Dataset, train: Interactions, pairs: Interactions, prediction: Any) -> dict[str, dict[str, float]]:
    """RMSE and MAE of the model and of what it has to beat, fitted on the same ratings."""
    rows = {
        line.name: np.clip(line.predict(pairs), *data.scale)
        for line in baselines(train, len(data.users), len(data.items))
    } | {"model": prediction}
    return {name: {"rmse": rmse(row, pairs.rating), "mae": mae(row, pairs.rating)} for name, row in rows.items()}


def _history(phase: str, progress: Progress) -> list[dict[str, Any]]:
    return [{"phase": phase} | row for row in history_rows(progress)]

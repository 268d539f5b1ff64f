"""Adds ratings to a trained model and removes users from it, without a full fit.

The learned tables stay; everything that follows from the ratings is computed again. New users and movies start with
tables of zeros: a new user's state comes from the ratings alone, a new movie's from its raters and side features. A few
averaged steps of the training loop then fit the tables to all ratings.
"""

import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from reelgraph.arrays import Float32s, Floats, Indices, Int64s, Mask
from reelgraph.artifact import LEARNED, Artifact
from reelgraph.config import TrainConfig
from reelgraph.data import side_features, side_tables
from reelgraph.data.dataset import LIKED, NO_TIME, Dataset, Interactions
from reelgraph.data.frames import TableLike, is_frame, write_frame
from reelgraph.data.pair_files import rows_of
from reelgraph.data.rows import Malformed, describe_refused
from reelgraph.data.sources import CANONICAL, NEEDED, PAIR
from reelgraph.data.vocabulary import Vocabulary, describe_overlap, require_ids
from reelgraph.errors import ConfigError, DataError
from reelgraph.evaluation.differences import Distance, distance
from reelgraph.manifest import read_config
from reelgraph.models import RankingModel, ResidualModel
from reelgraph.models.graph import BipartiteGraph, build_graph
from reelgraph.models.residual import SideFeatures
from reelgraph.models.sparse import quiet_sparse
from reelgraph.recommend.recommender import Recommender
from reelgraph.training.fit import fit
from reelgraph.training.loop import Fit, Progress
from reelgraph.training.validation import hidden_residuals

# Chosen by adding ratings to models without them; see "Steps of an update" in docs/experiments.md.
WARM_RATE = 0.002  # step size
WARM_STEPS = 10


def rebuild(
    artifact: Artifact, ratings: Interactions, facts: dict[str, int], *, steps: int = 0, seed: int = 0
) -> Artifact:
    """Compute a model again from its tables, with a row for every user and movie, and ratings sorted by user and movie.

    `facts` are added to the manifest's `changes`; `steps` of the training loop follow at a small step size.
    """
    manifest, weights = artifact.manifest, artifact.weights
    if manifest["config"]["model"] == "gcn":
        raise ConfigError("update and forget: expected a residual model, found gcn", "train again on the new ratings")
    with torch.random.fork_rng(devices=[]), quiet_sparse():
        graph = _graph(artifact, ratings)
        config = read_config(manifest["config"])
        rating_model, ranking_model = restore(artifact, graph, ratings)
        warm = {"learning_rate": WARM_RATE, "decay_steps": 0.0, "average": 0.0, "max_steps": max(steps, 1)}
        low, high = manifest["scale"]["low"], manifest["scale"]["high"]
        if steps:
            graph.shard.seed(seed)
            if rating_model is not None:
                fit_again(rating_model, config.model_copy(update=warm))
            if ranking_model is not None and ranking_model.liked.any():
                fit_again(ranking_model, config.for_ranking(len(ratings)).model_copy(update=warm))
        models = [model for model in (rating_model, ranking_model) if model is not None]
        arrays = {name: array for model in models for name, array in model.export().items()}
        seen: dict[str, Any] = {
            "user_index": ratings.user_index, "item_index": ratings.item_index, "rating": ratings.rating,
        }  # fmt: skip
        if ratings.timestamp is not None and rating_model is not None:
            residual = hidden_residuals(rating_model, ratings, (low, high))
            seen |= {"timestamp": ratings.timestamp, "residual": residual}
    counts = manifest["data"].get("counts", {})
    counts = counts | {"users": artifact.users.num_rows, "movies": artifact.items.num_rows, "train": len(ratings)}
    changes = dict(manifest.get("changes", {}))
    for name, number in facts.items():
        changes[name] = changes.get(name, 0) + number
    known = {name: value for name, value in manifest.items() if name != "seen"}  # counts the ratings by split
    return replace(
        artifact,
        manifest=known | {"changes": changes, "data": manifest["data"] | {"counts": counts}},
        weights={name: weights[name] if name not in arrays else arrays[name].numpy() for name in weights | arrays},
        seen=pa.table(seen),
    )


def fit_again(model: ResidualModel | RankingModel, config: TrainConfig) -> None:
    """Take `config.max_steps` steps from a fitted model, and give it the mean of the weights on the way."""
    fit = Fit(model, config, None)
    fit.warm(fit.rates.max_steps)
    total = fit.weights()

    def add(_: Progress) -> None:
        for name, value in model.state_dict().items():
            total[name] += value

    steps = fit.run(add).step
    model.load_state_dict({name: value / (1 + steps) for name, value in total.items()})


def restore(
    artifact: Artifact, graph: BipartiteGraph, ratings: Interactions
) -> tuple[ResidualModel | None, RankingModel | None]:
    """The models of an artifact over a graph of its nodes; contributions of side features are constants."""
    weights, config = artifact.weights, read_config(artifact.manifest["config"])

    def both(name: str, prefix: str = "") -> torch.Tensor:
        return torch.from_numpy(np.concatenate([weights[f"{prefix}{side}.{name}"] for side in ("user", "item")]))

    rating_model = None
    if "item.state" in weights:
        dim = weights["item.state"].shape[1]
        rating_model = ResidualModel(
            graph, dim=dim, hide=config.hide, newcomers=config.newcomers, dropout=config.dropout
        )
        rating_model.user_side = SideFeatures.fixed(weights["user.side"])
        rating_model.item_side = SideFeatures.fixed(weights["item.side"])
        rating_model.gain.fill_(float(weights["gain"]))
        with torch.no_grad():
            for name in rating_model.node_tables:
                getattr(rating_model, name).copy_(both(name))
    if "rank.item.state" not in weights:
        return rating_model, None
    ranking_model = RankingModel(
        graph,
        torch.from_numpy(ratings.rating >= LIKED * artifact.manifest["scale"]["high"]),
        dim=weights["rank.item.state"].shape[1],
        hide=config.rank_hide,
        newcomers=config.rank_newcomers,
        dropout=config.rank_dropout,
        temperature=config.temperature,
    )
    ranking_model.restore(
        own=both("own", "rank."),
        residual=both("channel", "rank."),
        free=torch.from_numpy(weights["rank.item.free"]),
        bias=torch.from_numpy(weights["rank.item.bias"]),
    )
    ranking_model.item_side = SideFeatures.fixed(ranking_model.unscaled(weights["rank.item.side"]))
    return rating_model, ranking_model


def training_data(artifact: Artifact) -> Dataset:
    """A model's training ratings as a data set without validation and test ratings."""
    train, scale = artifact.ratings, artifact.manifest["scale"]
    nothing = train.take(slice(0))
    users, items = Vocabulary.of(artifact.users, "user"), Vocabulary.of(artifact.items, "movie")
    rejects = pa.table({"reason": pa.array([], pa.string())})
    return Dataset(
        train, nothing, nothing, users, items, artifact.users, artifact.items, rejects,
        (scale["low"], scale["high"]), artifact.manifest["data"],
    )  # fmt: skip


def _graph(artifact: Artifact, ratings: Interactions) -> BipartiteGraph:
    """The graph of the ratings, standardised as in the model's training."""
    graph = build_graph(ratings, artifact.users.num_rows, artifact.items.num_rows)
    mean, std = (artifact.manifest["standardise"][name] for name in ("mean", "std"))
    rating = torch.from_numpy((ratings.rating - np.float32(mean)) / np.float32(std))
    return graph.standardised(rating, mean, std)


@dataclass(frozen=True)
class UpdateSummary:
    """Numbers of ratings added and replaced, of new users and movies, and of steps, and the time taken."""

    added: int
    replaced: int
    new_users: int
    new_movies: int
    steps: int
    seconds: float


def forget(artifact: Artifact, user_id: str) -> Artifact:
    """Remove a user from a model: from its ratings, states and all statistics.

    Biases, residuals, degrees, messages and states are computed from the other users' ratings. What other nodes' tables
    learned from the user's ratings stays; only a new training removes it.
    """
    index = Vocabulary.of(artifact.users, "user").index(user_id)
    left = artifact.ratings.take(artifact.ratings.user_index != index)
    if not len(left):
        raise ConfigError(f"forget: expected ratings of other users than {user_id}, found none", "delete the model")
    return with_users(artifact, np.arange(artifact.users.num_rows) != index, left, {"forgotten": 1})


def with_users(artifact: Artifact, kept: Mask, ratings: Interactions, facts: dict[str, int]) -> Artifact:
    """Some of a model's users, bool `(num_users,)`, with these ratings of theirs; `facts` as in `rebuild`."""
    rows, place = np.flatnonzero(kept), np.cumsum(kept) - 1
    weights = {
        name: array[rows] if name.removeprefix("rank.").startswith("user.") else array
        for name, array in artifact.weights.items()
    }
    smaller = replace(artifact, weights=weights, users=artifact.users.take(pa.array(rows)))
    return rebuild(smaller, replace(ratings, user_index=place[ratings.user_index].astype(np.int32)), facts)


def update(
    artifact: Artifact,
    user_ids: list[str],
    movie_ids: list[str],
    rating: Floats | None,
    timestamps: Int64s | None = None,
    *,
    item_table: pa.Table | None = None,
    steps: int = WARM_STEPS,
    seed: int = 0,
) -> tuple[Artifact, UpdateSummary]:
    """Add ratings of known and new users and movies to a model.

    Args:
        artifact: the model.
        user_ids, movie_ids: user and movie of each new rating.
        rating: the ratings, in the model's scale; the last one of a user and movie counts. None for views or likes.
        timestamps: seconds since 1970 or `NO_TIME`, int64 `(num_ratings,)`; None without times.
        item_table: side columns of new movies, with their ids as `movieId`.
        steps: steps of the training loop on all ratings.
        seed: seed of these steps.
    """
    started = time.monotonic()
    scale = artifact.manifest["scale"]
    rating = np.full(len(user_ids), scale["high"]) if rating is None else rating
    wrong = np.flatnonzero(~((rating >= scale["low"]) & (rating <= scale["high"])))
    if len(wrong):
        raise DataError(
            f"rating {rating[wrong[0]]:g} in row {wrong[0] + 1:,}: expected {scale['low']:g} to {scale['high']:g}, "
            "the scale of the model",
            "correct it, or train again on the new scale",
        )
    user_ids, movie_ids = _checked_ids(artifact, user_ids, movie_ids, item_table)
    users, new_users = _more_rows(artifact.users, "userId", user_ids, None)
    items, new_items = _more_rows(artifact.items, "movieId", movie_ids, item_table)
    weights = dict(artifact.weights)
    for side, more in (("user", new_users), ("item", new_items)):
        for name, array in artifact.weights.items():
            if name.removeprefix("rank.").startswith(f"{side}."):
                weights[name] = np.concatenate([array, np.zeros((more, *array.shape[1:]), np.float32)])
    if new_items:
        for name in ("item.side", "rank.item.side"):
            if name in weights:
                weights[name] = _side_of_new(artifact.weights[name], items)
        if "rank.item.bias" in weights:
            weights["rank.item.bias"][-new_items:] = artifact.weights["rank.item.bias"].min()
    old = artifact.ratings
    user_index, _ = Vocabulary.of(users, "user").indices(user_ids)
    item_index, _ = Vocabulary.of(items, "movie").indices(movie_ids)
    time_column = np.full(len(rating), NO_TIME) if timestamps is None else timestamps
    together, replaced = _with_new(old, user_index, item_index, rating.astype(np.float32), time_column)
    manifest = {name: value for name, value in artifact.manifest.items() if name != LEARNED}  # All is its own now.
    larger = replace(artifact, manifest=manifest, weights=weights, users=users, items=items)
    rebuilt = rebuild(larger, together, {"updated": len(rating)}, steps=steps, seed=seed)
    added = len(together) - len(old)
    return rebuilt, UpdateSummary(added, replaced, new_users, new_items, steps, time.monotonic() - started)


def update_model(
    model: Recommender, ratings: TableLike, *, items: TableLike | None = None, steps: int = WARM_STEPS, seed: int = 0
) -> Recommender:
    """Add ratings, with their users and movies, to a model without a full fit.

    Args:
        model: a model; it stays as it is.
        ratings: (user id, movie id, rating) tuples, perhaps with a time, or a file or DataFrame with such columns.
        items: a movie table with the new movies.
        steps: steps of the training loop on all ratings.
        seed: seed of these steps.

    Raises:
        DataError: if a rating is outside the model's scale.
        ConfigError: if the model is `gcn`.
    """
    stars = model.predictor.has_stars
    rows = rows_of(ratings, NEEDED if stars else PAIR, "ratings", tuple(CANONICAL), implicit=not stars)
    with tempfile.TemporaryDirectory(prefix="reelgraph-") as folder:
        path = write_frame(items, ("movieId", "title"), "items", Path(folder)) if is_frame(items) else items
        refused: list[Malformed] = []
        table = None if path is None else side_tables.read_items(Path(path), refused.append)
        for line in describe_refused("items" if is_frame(items) else Path(path or "").name, refused):
            warnings.warn(line, stacklevel=2)
    given = rows.user_ids, rows.movie_ids, rows.rating if stars else None, rows.timestamps
    return Recommender(update(model.artifact, *given, item_table=table, steps=steps, seed=seed)[0])


def compare(artifact: Artifact, seed: int = 0) -> tuple[Distance, float]:
    """Fit a new model to a model's ratings with its settings; returns how the two differ and the seconds of the fit."""
    started = time.monotonic()
    config = artifact.manifest["config"] | {
        "tune": "none",
        "seed": seed,
        "use_all": False,
        "max_steps": artifact.manifest["steps"],
    }
    ranking = artifact.manifest.get("ranking")
    config |= {"rank_max_steps": ranking["steps"]} if ranking else {"ranking": False}
    whole = fit(training_data(artifact), read_config(config))
    seconds = time.monotonic() - started
    apart = distance(whole, Recommender(artifact), seed)
    assert apart is not None  # the same users and movies
    return apart, seconds


def _checked_ids(
    artifact: Artifact, user_ids: list[str], movie_ids: list[str], item_table: pa.Table | None
) -> tuple[list[str], list[str]]:
    """Canonical ids, some of which the model and the movie table must know."""
    user_ids, movie_ids = require_ids(user_ids, "user", "row"), require_ids(movie_ids, "movie", "row")
    known = Vocabulary.of(artifact.users, "user"), Vocabulary.of(artifact.items, "movie")
    describe_overlap("update", (known[0], user_ids), (known[1], movie_ids))
    if item_table is not None:
        describe_overlap("movie table", (Vocabulary.of(item_table, "movie"), movie_ids))
    return user_ids, movie_ids


def _more_rows(table: pa.Table, column: str, ids: list[str], facts: pa.Table | None) -> tuple[pa.Table, int]:
    """A table with a row for each new id, filled in from `facts`, and the number of new rows."""
    known = Vocabulary(table[column].combine_chunks(), column)
    new = list(dict.fromkeys(name for name in ids if name not in known))
    if not new:
        return table, 0
    rows: dict[str, dict[str, Any]] = {}
    if facts is not None:
        rows = {str(row[column]): row for row in facts.to_pylist()}
    cells = {
        field.name: pa.array(
            [name if field.name == column else rows.get(name, {}).get(field.name) for name in new], field.type
        )
        for field in table.schema
    }
    return pa.concat_tables([table, pa.table(cells, schema=table.schema)]).combine_chunks(), len(new)


def _side_of_new(side: Float32s, table: pa.Table) -> Float32s:
    """The contribution of side features to the states of all movies, from that to the states of known movies.

    The contribution is linear in the features, so least squares on the known movies recovers the map.
    """
    known = len(side)
    encoded = side_features.encode(table, known)
    more = np.zeros((table.num_rows - known, side.shape[1]), np.float32)
    if encoded is not None and side.any():
        matrix = np.concatenate([encoded[0], np.ones((len(encoded[0]), 1), np.float32)], axis=1)
        solution = np.linalg.lstsq(matrix[:known], side, rcond=None)[0]
        more = (matrix[known:] @ solution).astype(np.float32)
    return np.concatenate([side, more])


def _with_new(
    old: Interactions, user: Indices, item: Indices, rating: Float32s, timestamp: Int64s
) -> tuple[Interactions, int]:
    """Old and new ratings, the last one of each pair, sorted, and the number of old ones replaced."""
    users, items = np.concatenate([old.user_index, user]), np.concatenate([old.item_index, item])
    ratings = np.concatenate([old.rating, rating])
    order = np.lexsort((np.arange(len(users)), items, users))
    last = np.ones(len(order), bool)
    last[:-1] = (np.diff(users[order]) != 0) | (np.diff(items[order]) != 0)
    chosen = order[last]
    times = None if old.timestamp is None else np.concatenate([old.timestamp, timestamp])[chosen]
    replaced = len(old) - int((chosen < len(old)).sum())
    return Interactions(users[chosen], items[chosen], ratings[chosen], times), replaced

"""All that follows from a model's tables and its ratings, made anew where the ratings have changed.

What a fit learns are the nodes' tables; biases, residuals, degrees, messages and states follow from them and from the
ratings, by the models' own formulas.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from reelgraph.artifact import Artifact
from reelgraph.config import TrainConfig
from reelgraph.data.dataset import Dataset, Interactions
from reelgraph.data.vocabulary import Vocabulary
from reelgraph.errors import ConfigError
from reelgraph.graph import BipartiteGraph, build_graph
from reelgraph.models import RankingModel, ResidualModel
from reelgraph.models.residual import SideFeatures
from reelgraph.objectives import hidden_residuals
from reelgraph.pipeline import quiet_sparse
from reelgraph.ranking import LIKED
from reelgraph.training import Fit

WARM_RATE = 0.002  # step size after an update, chosen by validation ratings of ML-100K added to a model of the others


def rebuild(
    artifact: Artifact, ratings: Interactions, facts: dict[str, int], *, steps: int = 0, seed: int = 0
) -> tuple[Artifact, int]:
    """All that follows from the tables and the ratings, made anew; and the number of steps done.

    Args:
        artifact: the model, whose tables have a row for every user and movie.
        ratings: the ratings in place of the model's, sorted by user and movie.
        facts: what the manifest's `changes` is to say, a number each.
        steps: steps of the training loop, at a small step size.
        seed: of what these steps hide.

    Raises:
        ConfigError: if the model is `gcn`, whose states do not follow from its arrays.
    """
    manifest, weights = artifact.manifest, artifact.weights
    if manifest["config"]["model"] != "residual":
        raise ConfigError("update and forget: expected a residual model, found gcn", "train again on the new ratings")
    with torch.random.fork_rng(devices=[]), quiet_sparse():
        graph = _graph(artifact, ratings)
        config = TrainConfig.model_validate(manifest["config"])
        rating_model, ranking_model = restore(artifact, graph, ratings)
        warm = {"learning_rate": WARM_RATE, "decay_steps": 0.0, "average": 0.0, "max_steps": max(steps, 1)}
        low, high = manifest["scale"]["low"], manifest["scale"]["high"]
        if steps:
            torch.manual_seed(seed)
            Fit(rating_model, config.model_copy(update=warm), None, (low, high)).run(lambda _: None)
            if ranking_model is not None and ranking_model.liked.any():
                own = config.for_ranking(len(ratings)).model_copy(update=warm)
                Fit(ranking_model, own, None, (low, high)).run(lambda _: None)
        arrays = rating_model.export() | ({} if ranking_model is None else ranking_model.export())
        seen: dict[str, Any] = {
            "user_index": ratings.user_index, "item_index": ratings.item_index, "rating": ratings.rating,
        }  # fmt: skip
        if ratings.timestamp is not None:
            residual = hidden_residuals(rating_model, ratings, (low, high))
            seen |= {"timestamp": ratings.timestamp, "residual": residual}
    counts = manifest["data"].get("counts", {})
    counts = counts | {"users": artifact.users.num_rows, "movies": artifact.items.num_rows, "train": len(ratings)}
    changes = dict(manifest.get("changes", {}))
    for name, number in facts.items():
        changes[name] = changes.get(name, 0) + number
    return replace(
        artifact,
        manifest=manifest | {"changes": changes, "data": manifest["data"] | {"counts": counts}},
        weights={name: weights[name] if name not in arrays else arrays[name].numpy() for name in weights | arrays},
        seen=pa.table(seen),
    ), steps


def restore(
    artifact: Artifact, graph: BipartiteGraph, ratings: Interactions
) -> tuple[ResidualModel, RankingModel | None]:
    """The models with the tables of an artifact, over a graph of its nodes; side features stay as learned."""
    weights, config = artifact.weights, TrainConfig.model_validate(artifact.manifest["config"])

    def both(name: str, prefix: str = "") -> torch.Tensor:
        return torch.from_numpy(np.concatenate([weights[f"{prefix}{side}.{name}"] for side in ("user", "item")]))

    rating_model = ResidualModel(
        graph,
        dim=weights["item.state"].shape[1],
        hide=config.hide,
        newcomers=config.newcomers,
        dropout=config.dropout,
    )
    rating_model.user_side, rating_model.item_side = (
        SideFeatures.fixed(weights["user.side"]),
        SideFeatures.fixed(weights["item.side"]),
    )
    rating_model.gain = float(weights["gain"])
    with torch.no_grad():
        for parameter, name in (
            ("free", "free"),
            ("implicit", "implicit"),
            ("residual", "residual"),
            ("offset", "offset"),
        ):
            getattr(rating_model, parameter).copy_(both(name))
    if "rank.item.state" not in weights:
        return rating_model, None
    temperature = config.temperature
    ranking_model = RankingModel(
        graph,
        torch.from_numpy(ratings.rating >= LIKED * artifact.manifest["scale"]["high"]),
        dim=weights["rank.item.state"].shape[1],
        hide=config.rank_hide,
        newcomers=config.rank_newcomers,
        dropout=config.rank_dropout,
        temperature=temperature,
    )
    own = both("own", "rank.")
    with torch.no_grad():
        ranking_model.restore(
            own=own,
            residual=both("channel", "rank."),
            free=torch.from_numpy(weights["rank.item.free"]),
            bias=torch.from_numpy(weights["rank.item.bias"]),
        )
    ranking_model.item_side = SideFeatures.fixed(ranking_model.unscaled(weights["rank.item.side"]))
    return rating_model, ranking_model


def training_data(artifact: Artifact) -> Dataset:
    """The training ratings of a model as a data set without other splits."""
    train, scale = artifact.ratings, artifact.manifest["scale"]
    nothing = train.take(slice(0))
    users, items = Vocabulary.of(artifact.users, "user"), Vocabulary.of(artifact.items, "movie")
    rejects = pa.table({"reason": pa.array([], pa.string())})
    return Dataset(
        train, nothing, nothing, users, items, artifact.users, artifact.items, rejects,
        (scale["low"], scale["high"]), artifact.manifest["data"],
    )  # fmt: skip


def _graph(artifact: Artifact, ratings: Interactions) -> BipartiteGraph:
    """The graph of ratings, standardised as the model's tables were learned."""
    graph = build_graph(ratings, artifact.users.num_rows, artifact.items.num_rows)
    mean, std = (artifact.manifest["standardise"][name] for name in ("mean", "std"))
    rating = torch.from_numpy((ratings.rating - np.float32(mean)) / np.float32(std))
    return graph.standardised(rating, mean, std)

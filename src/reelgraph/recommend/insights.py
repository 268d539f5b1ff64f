"""What the /insights page and `reelgraph report` show of a model, as JSON values."""

from collections.abc import Iterable
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np

from reelgraph.arrays import NO_ITEM, Ints, Mask
from reelgraph.metrics.ratings import history_groups, value_groups
from reelgraph.recommend.recommender import Recommender

LIST_LENGTH = 10
MAX_USERS = 500  # users whose lists are counted
MAX_MOVIES = 10  # movies shown as most often recommended

# Bounds of the popularity groups, as shares of the catalogue from the most rated movie down.
POPULARITY_BOUNDS = (0.0, 0.01, 0.05, 0.2, 0.5, 1.0)


def summarize(model: Recommender, analysis: dict[str, Any] | None = None) -> dict[str, Any]:
    """The model's kind, seed, training time, errors and list measures; `analysis` replaces the one made in training."""
    manifest = model.artifact.manifest
    metrics = dict(manifest.get("metrics") or {})
    if analysis is not None and not model.predictor.has_stars:
        rows = {"popularity": analysis["lists"]["popularity"], "model": analysis["lists"]["default"]}
        metrics["test"] = {
            name: {measure: row[measure] for measure in ("ndcg", "recall")} for name, row in rows.items()
        }
    elif analysis is not None:
        own = {"model": {"rmse": analysis["rmse"], "mae": analysis["mae"]}}
        metrics["test"] = analysis.get("baselines", {}) | own
        if analysis["rmse_untimed"] is not None:
            metrics["test"]["untimed"] = {"rmse": analysis["rmse_untimed"], "mae": analysis["mae_untimed"]}
    return {
        "kind": manifest["config"].get("model", "unknown"),
        "seed": manifest["config"].get("seed"),
        **{name: manifest.get(name) for name in ("steps", "seconds", "changes")},
        "metrics": metrics,
        "list_measures": (analysis or manifest.get("analysis") or {}).get("lists"),
    }


def describe(model: Recommender, analysis: dict[str, Any] | None = None) -> dict[str, Any]:
    """The model's data, training, errors by group, lists, explanations and similar movies; see `summarize`."""
    manifest = model.artifact.manifest
    analysis = analysis or manifest.get("analysis") or {}
    groups = analysis["groups"] | {"calibration": analysis["calibration"]} if "groups" in analysis else None
    return {
        "data": _data(model),
        "history": list(model.artifact.history),
        "tuning": _trials("stars", manifest) + _trials("lists", manifest.get("ranking") or {}),
        "groups": groups,
        "lists": _lists(model),
        "reasons": analysis.get("deletion"),
        "similar": analysis.get("similar"),
    }


def _trials(target: str, training: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"target": target, **trial} for trial in training.get("tuning") or []]


def _data(model: Recommender) -> dict[str, Any]:
    predictor, manifest = model.predictor, model.artifact.manifest
    data = manifest["data"]
    return {
        "users": len(predictor.users),
        "movies": len(predictor.items),
        "ratings": len(predictor.seen_item),
        "scale": predictor.scale_facts,
        "counts": data.get("counts") or {},
        "split": {name: value for name, value in (data.get("split") or {}).items() if name != "fingerprints"},
        "sources": [file["name"] for file in (data.get("source") or {}).get("files", [])],
        "values": _histogram(value_groups(predictor.seen_rating)) if predictor.has_stars else [],
        "user_ratings": _histogram(history_groups(predictor.user_counts)),
        "movie_ratings": _histogram(history_groups(predictor.item_counts)),
    }


def _histogram(groups: Iterable[tuple[str, Mask]]) -> list[dict[str, Any]]:
    return [{"name": name, "number": int(mask.sum())} for name, mask in groups]


def _lists(model: Recommender) -> dict[str, Any]:
    """How often each movie is recommended, over the default lists of users spread evenly over all users."""
    predictor = model.predictor
    users = np.unique(np.linspace(0, len(predictor.users) - 1, MAX_USERS).astype(np.int32))
    k = min(LIST_LENGTH, len(predictor.items))
    items = model.list_indices(users, k=k)
    lists = np.bincount(items[items != NO_ITEM], minlength=len(predictor.items))
    most = np.argsort(-lists, kind="stable")[:MAX_MOVIES]
    return {
        "users": len(users),
        "k": k,
        "listed": int((lists > 0).sum()),
        "histogram": _histogram(history_groups(lists)),
        "popularity": _popularity(predictor.item_counts, lists),
        "most": [_movie(model, item) | {"lists": int(lists[item])} for item in most.tolist() if lists[item]],
    }


def _movie(model: Recommender, item: int) -> dict[str, Any]:
    ratings = model.predictor.raters(item)[1]
    mean = float(np.mean(ratings, dtype=np.float64)) if len(ratings) and model.predictor.has_stars else None
    return {**asdict(model.catalogue.movie(item)), "ratings": len(ratings), "mean": mean}


def _popularity(ratings: Ints, lists: Ints) -> list[dict[str, Any]]:
    """Each popularity group's share of all ratings and of all places in lists; the first has at least one movie."""
    order = np.argsort(-ratings, kind="stable")
    ends = np.ceil(np.asarray(POPULARITY_BOUNDS) * len(order)).astype(int)
    groups = []
    for (first, last), (low, high) in zip(pairwise(ends.tolist()), pairwise(POPULARITY_BOUNDS), strict=True):
        own = order[first:last]
        name = f"{100 * low:g}-{100 * high:g} %"
        shares = {what: of[own].sum() / max(of.sum(), 1) for what, of in (("ratings", ratings), ("places", lists))}
        groups.append({"name": name, "movies": len(own), **{what: float(share) for what, share in shares.items()}})
    return groups

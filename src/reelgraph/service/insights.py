"""Statistics of the model in service for the insights page."""

import hashlib
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from reelgraph.arrays import NO_ITEM, Ints, Mask
from reelgraph.bench.results import COLUMNS, RESULTS, read_results, summary
from reelgraph.metrics.ratings import history_groups, value_groups
from reelgraph.service.model import Served, read
from reelgraph.service.responses import movie_json

LIST_LENGTH, MAX_USERS, MAX_SHOWN = 10, 500, 10  # of the lists that are counted, and of the most listed movies

# Groups of movies by number of ratings, most rated first; each ends at this share of the catalogue.
POPULARITY_EDGES = (0.0, 0.01, 0.05, 0.2, 0.5, 1.0)


@dataclass
class Insights:
    """What analysts see beside the model in service.

    Attributes:
        leaderboard: bench results, if any.
        other: a second model for comparison, if any.
    """

    leaderboard: dict[str, Any] | None = None
    other: Served | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _computed: tuple[str, dict[str, Any]] = ("", {})

    @classmethod
    def of(cls, bench: Path | None, compare: Path | None) -> "Insights":
        """Read bench results and a second model at the start, so that no request waits for the disk."""
        leaderboard = None
        if bench is not None:
            leaderboard = _leaderboard(read_results(bench / RESULTS, "name the --out directory of a bench"))
        return cls(leaderboard, None if compare is None else read(compare.resolve()))

    @property
    def tag(self) -> str:
        """Identifies leaderboard and second model in ETags."""
        content = json.dumps([self.leaderboard, None if self.other is None else self.other.facts], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def describe(self, model: Served) -> dict[str, Any]:
        """The statistics of a model, computed for the first request and kept."""
        with self._lock:
            if self._computed[0] != model.checksum:
                self._computed = (model.checksum, _statistics(model))
            statistics = self._computed[1]
        other = None if self.other is None else _model_facts(self.other)
        return {"model": _model_facts(model), "other": other, "leaderboard": self.leaderboard} | statistics

    def close(self) -> None:
        """Close the second model's files."""
        if self.other is not None:
            self.other.held.close()


def _leaderboard(results: dict[str, Any]) -> dict[str, Any]:
    columns = [{"name": name, "title": title, "digits": digits} for name, title, digits in COLUMNS]
    facts = {name: results.get(name) for name in ("date", "machine", "reelgraph")}
    return facts | {"columns": columns, "rows": summary(results["runs"])}


def _model_facts(model: Served) -> dict[str, Any]:
    manifest = model.recommender.artifact.manifest
    return {
        "artifact": model.facts,
        "kind": manifest["config"].get("model", "unknown"),
        "seed": manifest["config"].get("seed"),
        **{name: manifest.get(name) for name in ("steps", "seconds", "changes")},
        "metrics": manifest.get("metrics") or {},
        "list_measures": (manifest.get("analysis") or {}).get("lists"),
    }


def _statistics(model: Served) -> dict[str, Any]:
    artifact = model.recommender.artifact
    analysis = artifact.manifest.get("analysis")
    groups = None if analysis is None else analysis["groups"] | {"calibration": analysis["calibration"]}
    return {
        "data": _data_facts(model),
        "history": list(artifact.history),
        "groups": groups,
        "lists": _list_statistics(model),
    }


def _data_facts(model: Served) -> dict[str, Any]:
    predictor, manifest = model.recommender.predictor, model.recommender.artifact.manifest
    data = manifest["data"]
    return {
        "users": len(predictor.users),
        "movies": len(predictor.items),
        "ratings": len(predictor.seen_item),
        "scale": {name: manifest["scale"].get(name) for name in ("low", "high", "step")},
        "counts": data.get("counts") or {},
        "split": {name: value for name, value in (data.get("split") or {}).items() if name != "fingerprints"},
        "sources": [file["name"] for file in (data.get("source") or {}).get("files", [])],
        "values": _group_sizes(value_groups(predictor.seen_rating)),
        "user_ratings": _group_sizes(history_groups(predictor.user_counts)),
        "movie_ratings": _group_sizes(history_groups(predictor.item_counts)),
    }


def _group_sizes(groups: Iterable[tuple[str, Mask]]) -> list[dict[str, Any]]:
    return [{"name": name, "number": int(mask.sum())} for name, mask in groups]


def _list_statistics(model: Served) -> dict[str, Any]:
    """How often movies are listed, counted over the default lists of an even sample of users."""
    recommender, predictor = model.recommender, model.recommender.predictor
    users = np.unique(np.linspace(0, len(predictor.users) - 1, MAX_USERS).astype(np.int32))
    k = min(LIST_LENGTH, len(predictor.items))
    items = recommender.list_indices(users, k=k)
    lists = np.bincount(items[items != NO_ITEM], minlength=len(predictor.items))
    top = np.argsort(-lists, kind="stable")[:MAX_SHOWN]
    return {
        "users": len(users),
        "k": k,
        "listed": int((lists > 0).sum()),
        "histogram": _group_sizes(history_groups(lists)),
        "popularity": _popularity(predictor.item_counts, lists),
        "most": [movie_json(model, item) | {"lists": int(lists[item])} for item in top.tolist() if lists[item]],
    }


def _popularity(ratings: Ints, lists: Ints) -> list[dict[str, Any]]:
    """Shares of ratings and list places, int `(num_items,)` each, by popularity group."""
    order = np.argsort(-ratings, kind="stable")
    ends = np.ceil(np.asarray(POPULARITY_EDGES) * len(order)).astype(int)
    groups = []
    for (first, last), (low, high) in zip(pairwise(ends.tolist()), pairwise(POPULARITY_EDGES), strict=True):
        group = order[first:last]
        groups.append({
            "name": f"{100 * low:g}-{100 * high:g} %",
            "movies": len(group),
            "ratings": float(ratings[group].sum() / max(ratings.sum(), 1)),
            "places": float(lists[group].sum() / max(lists.sum(), 1)),
        })  # fmt: skip
    return groups

"""What analysts ask: the model's data, training, errors and lists, and two models' lists of one user side by side."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from reelgraph.arrays import NO_ITEM
from reelgraph.bench.results import COLUMNS, RESULTS, read_results, summary
from reelgraph.metrics.ratings import history_groups, value_groups
from reelgraph.recommend.lists import Choice
from reelgraph.service.errors import unknown
from reelgraph.service.model import Served, read
from reelgraph.service.responses import answer, cached, movie_json, page_json
from reelgraph.service.schemas import FAILURES, Compared, Id, InsightsFound, Length
from reelgraph.service.state import served

routes = APIRouter(prefix="/api", responses=FAILURES, tags=["analysts"])


LENGTH, MOST_USERS, MOST_SHOWN = 10, 500, 10  # of the lists that are counted, and of the movies listed most

# Movies from the most rated down, each group to this share of the catalogue.
POPULARITY_EDGES = (0.0, 0.01, 0.05, 0.2, 0.5, 1.0)

_REMEDY = "name the --out directory of a bench"


@dataclass
class Insights:
    """What analysts are shown beside the model in service.

    Attributes:
        leaderboard: bench results, or None.
        other: the second model, or None.
    """

    leaderboard: dict[str, Any] | None = None
    other: Served | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _kept: tuple[str, dict[str, Any]] = ("", {})

    @classmethod
    def of(cls, bench: Path | None, compare: Path | None) -> "Insights":
        """Read bench results and a second model, now: no request waits for the disk.

        Raises:
            DataError: if the results cannot be read.
            ArtifactError: if the model cannot be used.
        """
        board = None if bench is None else _leaderboard(read_results(bench / RESULTS, _REMEDY))
        return cls(board, None if compare is None else read(compare.resolve()))

    @property
    def mark(self) -> str:
        """Marks what answers depend on beside the model in service."""
        known = json.dumps([self.leaderboard, None if self.other is None else self.other.facts], sort_keys=True)
        return hashlib.sha256(known.encode()).hexdigest()[:12]

    def describe(self, model: Served) -> dict[str, Any]:
        """What is said of a model; computed once, by whoever asks first."""
        with self._turn:
            if self._kept[0] != model.checksum:
                self._kept = (model.checksum, _described(model))
            content = self._kept[1]
        other = None if self.other is None else _model_facts(self.other)
        return {"model": _model_facts(model), "other": other, "leaderboard": self.leaderboard} | content

    def close(self) -> None:
        """Let go of the second model's files."""
        if self.other is not None:
            self.other.held.close()


def _insights(request: Request) -> Insights:
    insights: Insights = request.app.state.insights
    return insights


@routes.get("/insights", response_model=InsightsFound)
async def insights(request: Request) -> Response:
    """The model's data, training, errors and lists in numbers."""
    model, known = served(request), _insights(request)
    extra = f"-{model.facts['since']}-{known.mark}"
    # The first answer about a model counts its lists: beside the other requests, not before them.
    return await run_in_threadpool(cached, request, model, lambda: known.describe(model), extra)


@routes.get("/insights/compare", response_model=Compared)
async def compare(request: Request, user: Annotated[Id, Query()], k: Length = LENGTH) -> Response:
    """A user's list by the model in service, beside that of the other model; what was rated since is left aside."""
    model, other = served(request), _insights(request).other
    models = [model] if other is None else [model, other]
    if not any(user in one.recommender.users for one in models):
        raise unknown("user", user)

    def make() -> Response:
        pages = [_side(one, user, k) for one in models]
        ranks = [{movie["movie_id"]: movie["rank"] for movie in page["movies"]} for page in pages]
        for page, elsewhere in zip(pages, ranks[::-1] if len(ranks) > 1 else [{}], strict=True):
            for movie in page["movies"]:
                movie["elsewhere"] = elsewhere.get(movie["movie_id"])
        both = len(pages) > 1 and all(page["known"] for page in pages)
        shared = len(ranks[0].keys() & ranks[1].keys()) if both else None
        beside = pages[1] if len(pages) > 1 else None
        return answer({"user": user, "k": k, "serving": pages[0], "other": beside, "shared": shared})

    return await run_in_threadpool(make)


def _side(model: Served, user: str, k: int) -> dict[str, Any]:
    recommender = model.recommender
    if user not in recommender.users:
        return {"artifact": model.facts, "known": False, "ratings": 0, "movies": []}
    person = recommender.person(user)
    page = recommender.lists.page(person, Choice(k=min(k, len(recommender.items))))
    movies = page_json(page, 0)["movies"]
    return {"artifact": model.facts, "known": True, "ratings": len(person.rated), "movies": movies}


def _leaderboard(found: dict[str, Any]) -> dict[str, Any]:
    columns = [{"name": name, "title": title, "digits": digits} for name, title, digits in COLUMNS]
    facts = {name: found.get(name) for name in ("date", "machine", "reelgraph")}
    return facts | {"columns": columns, "rows": summary(found["runs"])}


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


def _described(model: Served) -> dict[str, Any]:
    """What takes a moment to count, or is as long as the manifest has it."""
    artifact = model.recommender.artifact
    analysis = artifact.manifest.get("analysis")
    groups = None if analysis is None else analysis["groups"] | {"calibration": analysis["calibration"]}
    return {"data": _data(model), "history": list(artifact.history), "groups": groups, "lists": _lists(model)}


def _data(model: Served) -> dict[str, Any]:
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
        "values": _numbers(value_groups(predictor.seen_rating)),
        "user_ratings": _numbers(history_groups(predictor.user_counts)),
        "movie_ratings": _numbers(history_groups(predictor.item_counts)),
    }


def _numbers(groups: Any) -> list[dict[str, Any]]:
    return [{"name": name, "number": int(mask.sum())} for name, mask in groups]


def _lists(model: Served) -> dict[str, Any]:
    """How often movies are listed, over the default lists of users spread evenly over all."""
    recommender, predictor = model.recommender, model.recommender.predictor
    users = np.unique(np.linspace(0, len(predictor.users) - 1, MOST_USERS).astype(np.int32))
    k = min(LENGTH, len(predictor.items))
    items = recommender.list_indices(users, k=k)
    lists = np.bincount(items[items != NO_ITEM], minlength=len(predictor.items))
    most = np.argsort(-lists, kind="stable")[:MOST_SHOWN]
    return {
        "users": len(users),
        "k": k,
        "listed": int((lists > 0).sum()),
        "histogram": _numbers(history_groups(lists)),
        "popularity": _popularity(predictor.item_counts, lists),
        "most": [movie_json(model, item) | {"lists": int(lists[item])} for item in most.tolist() if lists[item]],
    }


def _popularity(ratings: Any, lists: Any) -> list[dict[str, Any]]:
    """Shares of ratings and of places, int `(num_items,)` each, by popularity; at least one movie is of the first."""
    order = np.argsort(-ratings, kind="stable")
    ends = np.ceil(np.asarray(POPULARITY_EDGES) * len(order)).astype(int)
    groups = []
    for (first, last), (low, high) in zip(pairwise(ends.tolist()), pairwise(POPULARITY_EDGES), strict=True):
        own = order[first:last]
        name = f"{100 * low:g}-{100 * high:g} %"
        shares = {what: of[own].sum() / max(of.sum(), 1) for what, of in (("ratings", ratings), ("places", lists))}
        groups.append({"name": name, "movies": len(own), **{what: float(share) for what, share in shares.items()}})
    return groups

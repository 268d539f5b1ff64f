"""Answers: JSON of the library's values, and their marks for caches."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from fastapi import Request
from pydantic_core import to_json
from starlette.responses import Response

from reelgraph._version import __version__
from reelgraph.recommend.explain import Explanation, Score
from reelgraph.recommend.lists import Page
from reelgraph.service.model import Served


def answer(content: Any, **headers: str) -> Response:
    """Values as JSON; not to be kept by caches unless a header says so."""
    return Response(to_json(content), headers={"Cache-Control": "no-store"} | headers, media_type="application/json")


def cached(request: Request, served: Served, make: Callable[[], Any], extra: str = "") -> Response:
    """The answer to a question about a model, made only where the asker does not hold it already.

    Args:
        request: its `If-None-Match` says what the asker holds.
        served: the model; its checksum marks the answer.
        make: makes the content.
        extra: what else the content depends on.
    """
    # Weak, since compression changes the bytes and not what they say.
    tag = f'W/"{served.checksum[:32]}-{__version__}{extra}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    held = {part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")}
    if tag.removeprefix("W/") in held or "*" in held:
        return Response(status_code=304, headers=headers)
    return Response(to_json(make()), headers=headers, media_type="application/json")


def movie_json(served: Served, item: int) -> dict[str, Any]:
    """A movie with its training ratings."""
    mean = served.means[item]
    return {
        **asdict(served.recommender.catalogue.movie(item)),
        "ratings": int(served.recommender.predictor.item_counts[item]),
        "mean": None if np.isnan(mean) else float(mean),
    }


def reasons_json(found: Explanation, most: int) -> dict[str, Any]:
    """An explanation with the `most` weightiest neighbours, the others as one sum: a movie may have thousands."""
    ranking = found.ranking
    shortened = replace(
        found,
        neighbours=found.neighbours[:most],
        ranking=None if ranking is None else replace(ranking, neighbours=ranking.neighbours[:most]),
    )
    content = shortened.to_json() | {"others": _others(found, most)}
    if ranking is not None:
        content["ranking"] |= {"others": _others(ranking, most)}
    return content


def _others(found: Explanation | Score, most: int) -> dict[str, Any]:
    left = found.neighbours[most:]
    return {"number": len(left), "contribution": sum(neighbour.contribution for neighbour in left)}


def page_json(page: Page, offset: int) -> dict[str, Any]:
    """A part of a list; ranks count from the list's beginning."""
    movies = [
        suggestion.to_json(rank) | {"interval": interval}
        for rank, (suggestion, interval) in enumerate(zip(page.suggestions, page.intervals, strict=True), offset + 1)
    ]
    return {"movies": movies, "more": page.more}

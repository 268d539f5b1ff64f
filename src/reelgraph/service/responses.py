"""JSON responses and their cache headers."""

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
    """A JSON response that caches must not store."""
    return Response(to_json(content), headers={"Cache-Control": "no-store"} | headers, media_type="application/json")


def cached(request: Request, served: Served, make: Callable[[], Any], extra: str = "") -> Response:
    """A JSON response that depends on the model only, or 304 if the client has it already.

    Args:
        request: its `If-None-Match` names what the client has.
        served: the model; its checksum is the ETag.
        make: makes the content.
        extra: anything else that the content depends on.
    """
    # A weak ETag, since compression changes the bytes but not the content.
    tag = f'W/"{served.checksum[:32]}-{__version__}{extra}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    known = {part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")}
    if tag.removeprefix("W/") in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(to_json(make()), headers=headers, media_type="application/json")


def movie_json(served: Served, item: int) -> dict[str, Any]:
    """A movie with number and mean of its training ratings."""
    mean = served.means[item]
    return {
        **asdict(served.recommender.catalogue.movie(item)),
        "ratings": int(served.recommender.predictor.item_counts[item]),
        "mean": None if np.isnan(mean) else float(mean),
    }


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """An explanation; the ratings of the movie's other raters are one sum, which names nobody."""
    ranking = explanation.ranking
    nameless = replace(explanation, neighbours=(), ranking=None if ranking is None else replace(ranking, neighbours=()))
    content = nameless.to_json()
    for part, given in ((content, explanation), (content["ranking"], ranking)):
        if given is not None:
            del part["neighbours"]
            part["raters"] = _raters(given)
    return content


def _raters(explanation: Explanation | Score) -> dict[str, Any]:
    parts = [neighbour.contribution for neighbour in explanation.neighbours]
    return {"number": len(parts), "contribution": sum(parts)}


def page_json(page: Page, offset: int) -> dict[str, Any]:
    """A page of a list; ranks count from the beginning of the list."""
    movies = [
        suggestion.to_json(rank) | {"interval": interval}
        for rank, (suggestion, interval) in enumerate(zip(page.suggestions, page.intervals, strict=True), offset + 1)
    ]
    return {"movies": movies, "more": page.more, "order_reason": page.order_reason}

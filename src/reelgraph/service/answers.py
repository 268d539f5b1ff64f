"""Answers: JSON of the library's values, and their marks for caches."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from fastapi import Request
from pydantic_core import to_json
from starlette.responses import Response

from reelgraph import __version__
from reelgraph.lists import Page
from reelgraph.service.current import Served


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


def page_json(page: Page, offset: int) -> dict[str, Any]:
    """A part of a list; ranks count from the list's beginning."""
    movies = [
        suggestion.to_json(rank) | {"interval": interval}
        for rank, (suggestion, interval) in enumerate(zip(page.suggestions, page.intervals, strict=True), offset + 1)
    ]
    return {"movies": movies, "more": page.more}

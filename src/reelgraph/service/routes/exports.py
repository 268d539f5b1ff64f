"""The route for exports of other services."""

import threading
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from reelgraph.data.personal_exports import read_upload
from reelgraph.service.errors import ServiceError
from reelgraph.service.model import Served
from reelgraph.service.responses import answer, movie_json
from reelgraph.service.schemas import FAILURES, ExportResponse
from reelgraph.service.state import served

routes = APIRouter(prefix="/api", responses=FAILURES, tags=["visitors"])
_BODY = {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
_MATCHING = threading.Lock()  # one export at a time, since an unpacked one may take much memory


@routes.post("/exports", response_model=ExportResponse, openapi_extra={"requestBody": _BODY})
async def match_export(
    request: Request,
    name: Annotated[
        str, Query(max_length=200, description="the file's name, such as watchlist.csv, which may say what it holds")
    ] = "export",
) -> Response:
    """Match the films of a Letterboxd, IMDb or Trakt export, or of a CSV file, with movies; nothing is stored."""
    model, content = served(request), await request.body()
    return answer(await run_in_threadpool(_match, model, name, content))


def _match(model: Served, name: str, content: bytes) -> dict[str, Any]:
    with _MATCHING:
        predictor = model.recommender.predictor
        matched = model.films.match(read_upload(name, content, stars=predictor.has_stars))
    outside = next((pair for pair in matched.ratings.items() if predictor.as_rating(pair[1]) is None), None)
    if outside is not None:
        movie, stars = outside
        raise ServiceError("invalid", f"expected ratings of {predictor.expected}, found {stars:g} of movie {movie}")
    items = model.recommender.items
    return {
        "ratings": matched.ratings,
        "watched": matched.watched,
        "watchlist": matched.watchlist,
        "unmatched": [
            {
                "title": film.title or str(film),
                "year": film.year,
                "similar": [asdict(movie) for movie in similar],
            }
            for film, similar in matched.unmatched
        ],
        "movies": [movie_json(model, items.index(movie)) for movie in matched.ratings],
    }

"""Routes for ratings: stored in the database, acknowledged once they are on disk."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from reelgraph.service.auth import may_write
from reelgraph.service.database.store import RatingChange, StoredRating
from reelgraph.service.errors import ServiceError, unknown
from reelgraph.service.responses import answer
from reelgraph.service.schemas import (
    FAILURES,
    KEYED,
    DeletedCount,
    Id,
    RatingRequest,
    RatingResponse,
    RatingsRequest,
    UserRatings,
    WrittenCount,
)
from reelgraph.service.state import served, state_of

routes = APIRouter(prefix="/api", tags=["ratings"], dependencies=[Depends(may_write)], responses=FAILURES | KEYED)


@routes.post("/ratings", response_model=RatingResponse)
async def rate(request: Request, body: RatingRequest) -> Response:
    """Store a rating; it replaces an earlier one of the same user and movie."""
    _check(request, {body.movie: body.rating})
    ledger = state_of(request).ledger
    (stored,) = await ledger.call("put", lambda store: store.put(body.user, {body.movie: body.rating}))
    facts = {"rating": stored.rating, "timestamp": stored.timestamp, "replaced": stored.replaced}
    return answer({"user": body.user, "movie": stored.movie_id, **facts})


@routes.post("/ratings/batch", response_model=WrittenCount)
async def rate_several(request: Request, body: RatingsRequest) -> Response:
    """Store several ratings of a user, all or none."""
    _check(request, body.ratings)
    stored = await state_of(request).ledger.call("put", lambda store: store.put(body.user, body.ratings))
    return answer({"written": len(stored)})


@routes.get("/users/{user_id:path}/ratings", response_model=UserRatings)
async def ratings(
    request: Request,
    user_id: Id,
    history: Annotated[bool, Query(description="also return all changes, oldest first")] = False,
) -> Response:
    """The ratings that a user has given through the service, newest first."""
    ledger, content = state_of(request).ledger, dict[str, Any](user=user_id)
    content["ratings"] = _entries(await ledger.call("ratings", lambda store: store.ratings(user_id)))
    if history:
        content["history"] = _entries(await ledger.call("history", lambda store: store.history(user_id)))
    return answer(content)


def _entries(rows: Sequence[StoredRating | RatingChange]) -> list[dict[str, Any]]:
    return [{"movie": row.movie_id, "rating": row.rating, "timestamp": row.timestamp} for row in rows]


@routes.delete("/users/{user_id:path}/ratings/{movie_id:path}", response_model=DeletedCount)
async def delete_rating(request: Request, user_id: Id, movie_id: Id) -> Response:
    """Delete a rating."""
    ledger = state_of(request).ledger
    deleted = await ledger.call("delete_rating", lambda store: store.delete_rating(user_id, movie_id))
    return answer({"deleted": deleted})


@routes.delete("/users/{user_id:path}", response_model=DeletedCount)
async def delete_user(request: Request, user_id: Id) -> Response:
    """Delete all that the database holds about a user, and say how many rows that was."""
    deleted = await state_of(request).ledger.call("delete_user", lambda store: store.delete_user(user_id))
    return answer({"deleted": deleted})


def _check(request: Request, ratings: dict[str, float]) -> None:
    """Refuse unknown movies and ratings outside the scale, which training would reject."""
    predictor = served(request).recommender.predictor
    for movie, stars in ratings.items():
        if movie not in predictor.items:
            raise unknown("movie", movie)
        if not predictor.low <= stars <= predictor.high:
            message = f"rating of movie {movie}: expected {predictor.low:g} to {predictor.high:g}, found {stars:g}"
            raise ServiceError("invalid", message)

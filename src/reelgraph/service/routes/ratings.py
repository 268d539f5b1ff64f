"""Ratings that people give: kept in the database, acknowledged once they are on disk."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from reelgraph.service.auth import may_write
from reelgraph.service.database import store
from reelgraph.service.errors import ServiceError, unknown
from reelgraph.service.responses import answer
from reelgraph.service.schemas import (
    FAILURES,
    KEYED,
    Id,
    NumberDeleted,
    NumberWritten,
    RatingGiven,
    RatingKept,
    RatingsGiven,
    UserRatings,
)
from reelgraph.service.state import served, state_of

routes = APIRouter(prefix="/api", tags=["ratings"], dependencies=[Depends(may_write)], responses=FAILURES | KEYED)


@routes.post("/ratings", response_model=RatingKept)
async def rate(request: Request, given: RatingGiven) -> Response:
    """Keep a rating in place of an earlier one of the same user and movie."""
    _check(request, {given.movie: given.rating})
    (kept,) = await state_of(request).ledger.do("put", lambda store: store.put(given.user, {given.movie: given.rating}))
    facts = {"rating": kept.rating, "timestamp": kept.timestamp, "replaced": kept.replaced}
    return answer({"user": given.user, "movie": kept.movie_id, **facts})


@routes.post("/ratings/batch", response_model=NumberWritten)
async def rate_several(request: Request, given: RatingsGiven) -> Response:
    """Keep several ratings of one user, all or none."""
    _check(request, given.ratings)
    kept = await state_of(request).ledger.do("put", lambda store: store.put(given.user, given.ratings))
    return answer({"written": len(kept)})


@routes.get("/users/{user_id:path}/ratings", response_model=UserRatings)
async def ratings(
    request: Request,
    user_id: Id,
    history: Annotated[bool, Query(description="every change too, the oldest first")] = False,
) -> Response:
    """What a user has rated through the service, the newest first."""
    ledger, facts = state_of(request).ledger, dict[str, Any](user=user_id)
    facts["ratings"] = _rows(await ledger.do("ratings", lambda store: store.ratings(user_id)))
    if history:
        facts["history"] = _rows(await ledger.do("history", lambda store: store.history(user_id)))
    return answer(facts)


def _rows(kept: Sequence[store.Rated | store.Change]) -> list[dict[str, Any]]:
    return [{"movie": one.movie_id, "rating": one.rating, "timestamp": one.timestamp} for one in kept]


@routes.delete("/users/{user_id:path}/ratings/{movie_id:path}", response_model=NumberDeleted)
async def take_back(request: Request, user_id: Id, movie_id: Id) -> Response:
    """Take a rating back."""
    gone = await state_of(request).ledger.do("delete_rating", lambda store: store.delete_rating(user_id, movie_id))
    return answer({"deleted": gone})


@routes.delete("/users/{user_id:path}", response_model=NumberDeleted)
async def forget(request: Request, user_id: Id) -> Response:
    """Remove everything that the database has about a user, and say how many rows it was."""
    return answer(
        {"deleted": await state_of(request).ledger.do("delete_user", lambda store: store.delete_user(user_id))}
    )


def _check(request: Request, given: dict[str, float]) -> None:
    """Refuse ratings that no training would take.

    Raises:
        ServiceError: `unknown_id` or `invalid`.
    """
    predictor = served(request).recommender.predictor
    for movie, stars in given.items():
        if movie not in predictor.items:
            raise unknown("movie", movie)
        if not predictor.low <= stars <= predictor.high:
            message = f"rating of movie {movie}: expected {predictor.low:g} to {predictor.high:g}, found {stars:g}"
            raise ServiceError("invalid", message)

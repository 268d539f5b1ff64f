"""Routes for ratings: stored in the database, acknowledged once they are on disk."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from reelgraph.service.auth import COOKIE, Writer, share_token, visitor_token, writer, writer_of
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
    ShareRequest,
    ShareToken,
    UserRatings,
    VisitorId,
    VisitorToken,
    WrittenCount,
)
from reelgraph.service.state import served, state_of

routes = APIRouter(prefix="/api", tags=["ratings"], responses=FAILURES | KEYED)
Author = Annotated[Writer, Depends(writer)]
_COOKIE_SECONDS = 365 * 86_400


@routes.post("/visitors", response_model=VisitorToken)
async def visitor(request: Request) -> Response:
    """Become an anonymous user. The token is also set as a cookie; who has a token already gets the same again."""
    user, token = await visitor_token(request)
    response = answer({"user": user, "token": token})
    secure = request.scope["scheme"] == "https"
    response.set_cookie(COOKIE, token, _COOKIE_SECONDS, secure=secure, httponly=True, samesite="strict")
    return response


@routes.post("/shares", response_model=ShareToken)
async def share(request: Request, body: ShareRequest, author: Author) -> Response:
    """Make a token with which others can list movies together with a visitor, for some time. It shows no rating."""
    expires = int(time.time()) + 3600 * body.hours
    return answer({"share": await share_token(request, author.acting_for(body.user), expires), "expires": expires})


@routes.get("/visitors", response_model=VisitorId)
async def present_visitor(request: Request) -> Response:
    """Say which anonymous user the request's token names, if any."""
    try:
        return answer({"user": (await writer_of(request)).visitor})
    except ServiceError as error:
        if error.code not in {"unauthorized", "forbidden"}:
            raise
        return answer({"user": None})


@routes.delete("/visitors", response_model=DeletedCount)
async def delete_visitor(request: Request, author: Author) -> Response:
    """Delete all that the database holds about the visitor of the token, and the cookie."""
    user = author.acting_for(None)
    response = answer(
        {"deleted": await state_of(request).ledger.call("delete_user", lambda store: store.delete_user(user))}
    )
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


@routes.post("/ratings", response_model=RatingResponse)
async def rate(request: Request, body: RatingRequest, author: Author) -> Response:
    """Store a rating; it replaces an earlier one of the same user and movie."""
    user, ratings = author.acting_for(body.user), {body.movie: body.rating}
    _check(request, ratings)
    (stored,) = await state_of(request).ledger.call("put", lambda store: store.put(user, ratings))
    facts = {"rating": stored.rating, "timestamp": stored.timestamp, "replaced": stored.replaced}
    return answer({"user": user, "movie": stored.movie_id, **facts})


@routes.post("/ratings/batch", response_model=WrittenCount)
async def rate_several(request: Request, body: RatingsRequest, author: Author) -> Response:
    """Store several ratings of a user, all or none."""
    user = author.acting_for(body.user)
    _check(request, body.ratings)
    stored = await state_of(request).ledger.call("put", lambda store: store.put(user, body.ratings))
    return answer({"written": len(stored)})


@routes.get("/users/{user_id:id}/ratings", response_model=UserRatings)
async def ratings(
    request: Request,
    user_id: Id,
    author: Author,
    history: Annotated[bool, Query(description="also return all changes, oldest first")] = False,
) -> Response:
    """List the ratings that a user has given through the service, newest first."""
    ledger, user = state_of(request).ledger, author.acting_for(user_id)
    content: dict[str, Any] = {"user": user}
    content["ratings"] = _entries(await ledger.call("ratings", lambda store: store.ratings(user)))
    if history:
        content["history"] = _entries(await ledger.call("history", lambda store: store.history(user)))
    return answer(content)


def _entries(rows: Sequence[StoredRating | RatingChange]) -> list[dict[str, Any]]:
    return [{"movie": row.movie_id, "rating": row.rating, "timestamp": row.timestamp} for row in rows]


@routes.delete("/users/{user_id:id}/ratings/{movie_id:id}", response_model=DeletedCount)
async def delete_rating(request: Request, user_id: Id, movie_id: Id, author: Author) -> Response:
    """Delete a rating."""
    ledger, user = state_of(request).ledger, author.acting_for(user_id)
    return answer({"deleted": await ledger.call("delete_rating", lambda store: store.delete_rating(user, movie_id))})


@routes.delete("/users/{user_id:id}", response_model=DeletedCount)
async def delete_user(request: Request, user_id: Id, author: Author) -> Response:
    """Delete all that the database holds about a user, and say how many rows that was."""
    ledger, user = state_of(request).ledger, author.acting_for(user_id)
    return answer({"deleted": await ledger.call("delete_user", lambda store: store.delete_user(user))})


def _check(request: Request, ratings: dict[str, float]) -> None:
    """Refuse unknown movies and ratings outside the scale, which training would reject."""
    predictor = served(request).recommender.predictor
    for movie, stars in ratings.items():
        if movie not in predictor.items:
            raise unknown("movie", movie)
        if predictor.as_rating(stars) is None:
            message = f"rating of movie {movie}: expected {predictor.expected}, found {stars:g}"
            raise ServiceError("invalid", message)

"""Routes for analysts: statistics of the model, and two models' lists for one user."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from reelgraph.recommend.insights import LIST_LENGTH
from reelgraph.recommend.lists import Choice
from reelgraph.service.errors import unknown
from reelgraph.service.insights import tag_of
from reelgraph.service.model import Served
from reelgraph.service.responses import answer, cached, page_json
from reelgraph.service.schemas import FAILURES, Comparison, Id, InsightsResponse, Length
from reelgraph.service.state import served, state_of

routes = APIRouter(prefix="/api", responses=FAILURES, tags=["analysts"])


@routes.get("/insights", response_model=InsightsResponse)
async def insights(request: Request) -> Response:
    """Describe data, training, errors and lists of the model in numbers."""
    model, known = served(request), state_of(request).insights
    learning = state_of(request).learner.public()
    extra = f"-{model.facts['since']}-{known.tag}-{tag_of(learning)}"
    # The first request computes lists; a thread keeps other requests from waiting.
    return await run_in_threadpool(cached, request, model, lambda: known.describe(model, learning), extra)


@routes.get("/insights/compare", response_model=Comparison)
async def compare(request: Request, user: Annotated[Id, Query()], k: Length = LIST_LENGTH) -> Response:
    """Compare a user's lists by both models; ratings given through the service are ignored."""
    model, other = served(request), state_of(request).insights.other
    models = [model] if other is None else [model, other]
    if not any(each.knows(user) for each in models):
        raise unknown("user", user)

    def make() -> Response:
        sides = [_side(each, user, k) for each in models]
        ranks = [{movie["movie_id"]: movie["rank"] for movie in side["movies"]} for side in sides]
        for side, ranks_elsewhere in zip(sides, ranks[::-1] if len(ranks) > 1 else [{}], strict=True):
            for movie in side["movies"]:
                movie["elsewhere"] = ranks_elsewhere.get(movie["movie_id"])
        both_known = len(sides) > 1 and all(side["known"] for side in sides)
        shared = len(ranks[0].keys() & ranks[1].keys()) if both_known else None
        other_side = sides[1] if len(sides) > 1 else None
        return answer({"user": user, "k": k, "serving": sides[0], "other": other_side, "shared": shared})

    return await run_in_threadpool(make)


def _side(model: Served, user: str, k: int) -> dict[str, Any]:
    recommender = model.recommender
    if not model.knows(user):
        return {"artifact": model.facts, "known": False, "ratings": 0, "movies": []}
    person = recommender.person(user)
    page = recommender.lists.page(person, Choice(k=min(k, len(recommender.items))))
    movies = page_json(page, 0)["movies"]
    return {"artifact": model.facts, "known": True, "ratings": len(person.rated), "movies": movies}

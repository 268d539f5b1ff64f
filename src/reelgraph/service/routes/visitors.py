"""What visitors ask: movies, lists, reasons. A few lines over the library each; only users' lists look elsewhere."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from reelgraph.data.vocabulary import Vocabulary
from reelgraph.recommend.catalogue import Catalogue
from reelgraph.recommend.lists import Choice
from reelgraph.recommend.predictor import Person
from reelgraph.service.database.ledger import BRIEFLY
from reelgraph.service.errors import ServiceError, unknown
from reelgraph.service.model import Served
from reelgraph.service.responses import answer, cached, movie_json, page_json, reasons_json
from reelgraph.service.schemas import (
    FAILURES,
    CatalogueFacts,
    Genre,
    Id,
    Ids,
    Length,
    ListWanted,
    MoviesFound,
    Offset,
    Order,
    RatedMovie,
    ReasonsFound,
    ReasonsWanted,
    Share,
    SimilarMovies,
    UserList,
    VisitorList,
    Years,
)
from reelgraph.service.state import State, served, state_of

routes = APIRouter(prefix="/api", responses=FAILURES, tags=["visitors"])


def index_of(vocabulary: Vocabulary, name: str) -> int:
    """The index of an id, without the search for its neighbours that the library's message makes.

    Raises:
        ServiceError: `unknown_id`.
    """
    if name not in vocabulary:
        raise unknown(vocabulary.what, name)
    return vocabulary.index(name)


@routes.get("/catalogue", response_model=CatalogueFacts)
async def catalogue(request: Request) -> Response:
    """What there is, in numbers."""
    model, writes = served(request), state_of(request).writes
    return cached(request, model, lambda: _facts(model) | {"writes": writes}, f"-{model.facts['since']}-{writes}")


def _facts(model: Served) -> dict[str, Any]:
    recommender, movies = model.recommender, model.recommender.catalogue
    return {
        "movies": len(recommender.items),
        "users": len(recommender.users),
        "ratings": len(recommender.predictor.seen_item),
        "scale": {name: recommender.artifact.manifest["scale"].get(name) for name in ("low", "high", "step")},
        "genres": [{"name": name, "movies": int(mask.sum())} for name, mask in movies.genre_members.items()],
        "years": _years(movies),
        "artifact": model.facts,
    }


def _years(movies: Catalogue) -> tuple[int, int] | None:
    known = movies.years[np.isfinite(movies.years)]
    return (int(known.min()), int(known.max())) if len(known) else None


@routes.get("/movies", response_model=MoviesFound)
async def movies(
    request: Request,
    only: Annotated[
        Ids, Query(alias="id", default_factory=list, description="none but these movies; all if not given")
    ],
    q: Annotated[str, Query(max_length=200, description="words of the title or the year, as typed so far")] = "",
    genre: Genre | None = None,
    year: Years | None = None,
    limit: Length = 20,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Movies by title; without `q` the most rated first."""
    model = served(request)

    def find() -> dict[str, Any]:
        found = model.titles.find(q)
        if only:
            index, known = model.recommender.items.indices(only)
            found = found[np.isin(found, index[known])]
        if genre is not None or year is not None:
            found = found[model.recommender.catalogue.matching(genre, year)[found]]
        shown = found[offset : offset + limit].tolist()
        return {"movies": [movie_json(model, item) for item in shown], "total": len(found)}

    return cached(request, model, find)


@routes.get("/movies/{movie_id:path}/similar", response_model=SimilarMovies)
async def similar(request: Request, movie_id: Id, k: Length = 10) -> Response:
    """Movies like this one."""
    model = served(request)
    index_of(model.recommender.items, movie_id)

    def find() -> dict[str, Any]:
        most = min(k, len(model.recommender.items))
        return {"movies": [_similar_json(*pair) for pair in model.recommender.similar(movie_id, most)]}

    return cached(request, model, find)


def _similar_json(movie: Any, similarity: float) -> dict[str, Any]:
    return {**vars(movie), "similarity": similarity}


@routes.get("/movies/{movie_id:path}", response_model=RatedMovie)
async def movie(request: Request, movie_id: Id) -> Response:
    """One movie."""
    model = served(request)
    item = index_of(model.recommender.items, movie_id)
    return cached(request, model, lambda: movie_json(model, item))


@routes.get("/users/{user_id:path}/recommendations", response_model=UserList)
async def user_list(
    request: Request,
    user_id: Id,
    k: Length = 10,
    genre: Genre | None = None,
    year: Years | None = None,
    order: Order | None = None,
    diversity: Share | None = None,
    offset: Offset = 0,
) -> Response:
    """The best movies for a user of the training data, or for one who has given ratings since."""
    state, model = state_of(request), served(request)
    since = await _given_since(state, user_id)
    choice = Choice(k=k, genre=genre, year=year, order=order, diversity=diversity, deny=tuple(since))
    if user_id in model.recommender.users:
        person = model.recommender.person(user_id)
    elif since:
        state.metrics.fold_ins.inc()
        person = model.recommender.person(ratings=known_ratings(model, since)[0])
    else:
        raise unknown("user", user_id)
    return answer(await _page(model, person, choice, offset))


async def _page(model: Served, person: Person, choice: Choice, offset: int) -> dict[str, Any]:
    """A part of a list as JSON."""

    def make() -> dict[str, Any]:
        return page_json(model.recommender.lists.page(person, choice, offset), offset)

    # Later pages of a diverse list need those before: beside the other requests, not before them.
    return await run_in_threadpool(make) if offset else make()


async def _given_since(state: State, user_id: str) -> dict[str, float]:
    """What a user has rated through the service, by movie id; nothing while the database is away."""
    if state.writes == "off":
        return {}
    try:
        found = await state.ledger.do("ratings", lambda store: store.ratings(user_id), patience=BRIEFLY)
    except ServiceError:
        return {}
    return {row.movie_id: row.rating for row in found}


@routes.post("/recommendations", response_model=VisitorList)
async def visitor_list(request: Request, wanted: ListWanted) -> Response:
    """The best movies for a visitor, known by any number of ratings; without one, a start list."""
    model = served(request)
    known, strange = known_ratings(model, wanted.ratings)
    choice = Choice(
        k=wanted.k, genre=wanted.genre, year=wanted.year, deny=wanted.exclude, order=wanted.order,
        diversity=wanted.diversity,
    )  # fmt: skip
    state_of(request).metrics.fold_ins.inc()
    person = model.recommender.person(ratings=known)
    return answer(await _page(model, person, choice, wanted.offset) | {"unknown": strange})


def known_ratings(model: Served, ratings: dict[str, float]) -> tuple[dict[str, float], list[str]]:
    """The ratings of movies that the model knows, and the ids of the others."""
    items = model.recommender.items
    known = {name: stars for name, stars in ratings.items() if name in items}
    return known, [name for name in ratings if name not in known]


@routes.post("/explanations", response_model=ReasonsFound)
async def reasons(request: Request, wanted: ReasonsWanted) -> Response:
    """Why a movie is predicted and ranked as it is, in parts that sum to the numbers."""
    model = served(request)
    if (wanted.user is None) == (wanted.ratings is None):
        raise ServiceError("invalid", "expected either a user or ratings, found none or both")
    index_of(model.recommender.items, wanted.movie)
    ratings, strange = None, list[str]()
    if wanted.user is not None:
        index_of(model.recommender.users, wanted.user)
    else:
        ratings, strange = known_ratings(model, wanted.ratings or {})
        state_of(request).metrics.fold_ins.inc()

    def explain() -> Response:
        found = model.recommender.explain(wanted.user, movie=wanted.movie, ratings=ratings)
        interval = _interval(model, found.prediction, wanted, ratings)
        return answer(reasons_json(found, wanted.neighbours) | {"interval": interval, "unknown": strange})

    # A movie that thousands have rated has as many parts: beside the other requests, not before them.
    return await run_in_threadpool(explain)


def _interval(
    model: Served, prediction: float, wanted: ReasonsWanted, ratings: dict[str, float] | None
) -> tuple[float, float] | None:
    """The ends that hold nine ratings of ten, as lists have them."""
    recommender, predictor = model.recommender, model.recommender.predictor
    count = len(ratings or {}) if wanted.user is None else predictor.user_counts[recommender.users.index(wanted.user)]
    shown = np.clip(np.asarray([prediction], np.float32), predictor.low, predictor.high)
    ends = predictor.around(shown, np.asarray([recommender.items.index(wanted.movie)], np.int32), int(count))
    return None if ends is None else (float(ends[0][0]), float(ends[1][0]))

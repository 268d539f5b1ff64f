"""Routes for visitors: movies, lists and explanations."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from reelgraph.data.vocabulary import Vocabulary
from reelgraph.recommend.catalogue import Catalogue
from reelgraph.recommend.lists import Choice, Order
from reelgraph.recommend.predictor import Person
from reelgraph.recommend.together import Member, list_together
from reelgraph.service.auth import author_of, sharer_of
from reelgraph.service.database.ledger import SHORT_TIMEOUT
from reelgraph.service.errors import ServiceError, unknown
from reelgraph.service.model import Served
from reelgraph.service.responses import answer, cached, explanation_json, movie_json, page_json
from reelgraph.service.schemas import (
    FAILURES,
    KEYED,
    CatalogueFacts,
    ExplanationRequest,
    ExplanationResponse,
    Genre,
    Id,
    Ids,
    Length,
    ListRequest,
    MovieList,
    MovieSearch,
    Offset,
    QuestionRequest,
    Questions,
    RatedMovie,
    Share,
    SimilarMovies,
    VisitorList,
    Years,
)
from reelgraph.service.state import State, served, state_of

routes = APIRouter(prefix="/api", responses=FAILURES, tags=["visitors"])


@routes.get("/catalogue", response_model=CatalogueFacts)
async def catalogue(request: Request) -> Response:
    """Describe the catalogue: its size, rating scale, genres and years, the model, and who may write ratings."""
    model, state = served(request), state_of(request)
    facts = {"writes": state.writes, "posters": state.posters is not None, "keep": state.keep}
    extra = f"-{model.facts['since']}-{'-'.join(map(str, facts.values()))}"
    return cached(request, model, lambda: _catalogue_facts(model) | facts, extra)


def _catalogue_facts(model: Served) -> dict[str, Any]:
    recommender, movies = model.recommender, model.recommender.catalogue
    return {
        "movies": len(recommender.items),
        "users": len(recommender.users),
        "ratings": len(recommender.predictor.seen_item),
        "scale": recommender.predictor.scale_facts,
        "genres": [{"name": name, "movies": int(mask.sum())} for name, mask in movies.genre_members.items()],
        "years": _year_range(movies),
        "artifact": model.facts,
    }


def _year_range(movies: Catalogue) -> tuple[int, int] | None:
    years = movies.years[np.isfinite(movies.years)]
    return (int(years.min()), int(years.max())) if len(years) else None


@routes.get("/movies", response_model=MovieSearch)
async def movies(
    request: Request,
    only: Annotated[Ids, Query(alias="id", default_factory=list, description="search only among these movies")],
    q: Annotated[str, Query(max_length=200, description="words of the title or the year, as typed so far")] = "",
    genre: Genre | None = None,
    year: Years | None = None,
    limit: Length = 20,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Find movies by title; without text, list them by number of ratings."""
    model = served(request)

    def search() -> dict[str, Any]:
        matches = model.recommender.titles.find(q)
        if only:
            index, known = model.recommender.items.indices(only)
            matches = matches[np.isin(matches, index[known])]
        if genre is not None or year is not None:
            matches = matches[model.recommender.catalogue.matching(genre, year)[matches]]
        page = matches[offset : offset + limit].tolist()
        return {"movies": [movie_json(model, item) for item in page], "total": len(matches)}

    return cached(request, model, search)


@routes.get("/movies/{movie_id:id}/similar", response_model=SimilarMovies)
async def similar(request: Request, movie_id: Id, k: Length = 10) -> Response:
    """List similar movies, the most similar first."""
    model = served(request)
    _index(model.recommender.items, movie_id)

    def find() -> dict[str, Any]:
        pairs = model.recommender.similar(movie_id, min(k, len(model.recommender.items)))
        return {"movies": [{**vars(movie), "similarity": similarity} for movie, similarity in pairs]}

    return cached(request, model, find)


@routes.get("/movies/{movie_id:id}", response_model=RatedMovie)
async def movie(request: Request, movie_id: Id) -> Response:
    """Describe a movie, with number and mean of its training ratings."""
    model = served(request)
    item = _index(model.recommender.items, movie_id)
    return cached(request, model, lambda: movie_json(model, item))


@routes.get("/users/{user_id:id}/recommendations", response_model=MovieList)
async def user_list(
    request: Request,
    user_id: Id,
    k: Length = 10,
    genre: Genre | None = None,
    year: Years | None = None,
    order: Order | None = None,
    diversity: Share | None = None,
    calibration: Share = 0.0,
    offset: Offset = 0,
) -> Response:
    """List the best movies for a user of the training data; with key or token, for one who rated here as well."""
    state, model = state_of(request), served(request)
    given = await _ratings_given(state, user_id)
    choice = Choice(
        k=k, genre=genre, year=year, order=order, diversity=diversity, calibration=calibration,
        deny=_known(model, given),
    )  # fmt: skip
    person = await _person_of(request, model, user_id, given)
    return answer(await _page(model, person, choice, offset))


async def _ratings_given(state: State, user_id: str) -> dict[str, float]:
    """The ratings that a user has given through the service, by movie id; none while the database is away."""
    if state.writes == "off":
        return {}
    try:
        stored = await state.ledger.call("ratings", lambda store: store.ratings(user_id), timeout=SHORT_TIMEOUT)
    except ServiceError:
        return {}
    return {rating.movie_id: rating.rating for rating in stored}


@routes.post("/recommendations", response_model=VisitorList, responses=KEYED)
async def visitor_list(request: Request, body: ListRequest) -> Response:
    """List the best movies for a visitor with any number of ratings, alone or together with others; or a start list."""
    model = served(request)
    known, unknown_ids = _split_known(model, body.ratings)
    choice = Choice(
        k=body.k, genre=body.genre, year=body.year, deny=_known(model, body.exclude), order=body.order,
        diversity=body.diversity, calibration=body.calibration,
        allow=None if body.only is None else _known(model, body.only), include_seen=body.include_seen,
    )  # fmt: skip
    if body.together is not None:
        return answer(await _group_page(request, model, body, choice, known) | {"unknown": unknown_ids})
    state_of(request).metrics.fold_ins.inc()
    person = model.recommender.person(ratings=known)
    return answer(await _page(model, person, choice, body.offset) | {"unknown": unknown_ids})


async def _group_page(
    request: Request, model: Served, body: ListRequest, choice: Choice, ratings: dict[str, float]
) -> dict[str, Any]:
    """A page of the list for the visitor, if they have rated anything, and the others of `together`."""
    state, members, seen = state_of(request), list[Member](), list[str]()
    author = await author_of(request)
    if not body.ratings and author.visitor is not None:
        ratings = _split_known(model, await _ratings_given(state, author.visitor))[0]
    if ratings:
        members.append(Member("you", model.recommender.person(ratings=ratings)))
    for number, other in enumerate(body.together or (), len(members) + 1):
        name = other.name or other.user or f"person {number}"
        if other.user is not None:
            given = await _ratings_given(state, other.user)
            person = await _person_of(request, model, other.user, given)
            seen += given
            members.append(Member(name, person, author.may_access(other.user)))
        else:
            sharer = None if other.share is None else await sharer_of(state, other.share)
            given = other.ratings or {}
            if sharer is not None:
                stored = await state.ledger.call("ratings", lambda store, user=sharer: store.ratings(user))  # type: ignore[misc]
                given = {rating.movie_id: rating.rating for rating in stored}
            person = model.recommender.person(ratings=_split_known(model, given)[0])
            members.append(Member(name, person, sharer is None or sharer == author.visitor))
    if (body.only is not None or body.include_seen) and not all(member.open for member in members):
        found = "only" if body.only is not None else "include_seen"
        problem = f"expected neither only nor include_seen, which tell what others have seen, found {found}"
        raise ServiceError("forbidden", problem)
    state.metrics.fold_ins.inc(len(members))
    if not body.include_seen:
        choice = replace(choice, deny=(*choice.deny, *_known(model, seen)))

    def make() -> dict[str, Any]:
        page = list_together(model.recommender.lists, members, choice, body.strategy, body.offset)
        movies = [
            line.to_json(rank) | {"interval": None} for rank, line in enumerate(page.suggestions, body.offset + 1)
        ]
        return {"movies": movies, "more": page.more, "order_reason": page.order_reason}

    return await run_in_threadpool(make)


async def _person_of(request: Request, model: Served, user_id: str, given: dict[str, float]) -> Person:
    """A user of the training data, or with key or token one who is known by the ratings given here."""
    if model.knows(user_id):
        return model.recommender.person(user_id)
    if given and (await author_of(request)).may_access(user_id):
        state_of(request).metrics.fold_ins.inc()
        return model.recommender.person(ratings=_split_known(model, given)[0])
    raise unknown("user", user_id)


@routes.post("/questions", response_model=Questions)
async def questions(request: Request, body: QuestionRequest) -> Response:
    """List the movies to ask a visitor about next: those whose ratings would say most, and that they may know."""
    model = served(request)
    known, _ = _split_known(model, body.ratings)
    deny, recommender = _known(model, body.exclude), model.recommender

    def make() -> dict[str, Any]:
        person = recommender.person(ratings=known)
        items, _ = recommender.items.indices([movie.movie_id for movie in recommender.ask(known, body.k, deny=deny)])
        stars = recommender.scorer.pairs(person.state, items[None])[0]
        return {
            "movies": [
                movie_json(model, item) | {"prediction": prediction, "interval": interval}
                for item, (prediction, interval) in zip(
                    items.tolist(), recommender.lists.forecasts(person, items, stars), strict=True
                )
            ]
        }

    return answer(await run_in_threadpool(make))  # It takes long in a large catalogue.


def _known(model: Served, movie_ids: Iterable[str]) -> tuple[str, ...]:
    """The ids that the model knows, which may be newer or older than the page or the ratings."""
    return tuple(movie_id for movie_id in movie_ids if movie_id in model.recommender.items)


async def _page(model: Served, person: Person, choice: Choice, offset: int) -> dict[str, Any]:
    def make() -> dict[str, Any]:
        return page_json(model.recommender.lists.page(person, choice, offset), offset)

    # A later page of a diverse list computes all pages before it; a thread keeps other requests from waiting.
    return await run_in_threadpool(make) if offset else make()


@routes.post("/explanations", response_model=ExplanationResponse, responses={403: KEYED[403]})
async def explain(request: Request, body: ExplanationRequest) -> Response:
    """Explain why a movie is predicted and ranked as it is, by contributions that sum up to the numbers."""
    model = served(request)
    if (body.user is None) == (body.ratings is None):
        raise ServiceError("invalid", "expected either a user or ratings, found none or both")
    _index(model.recommender.items, body.movie)
    ratings, unknown_ids = None, list[str]()
    if body.user is not None:
        if not (await author_of(request)).may_access(body.user):
            raise ServiceError("forbidden", "user: expected the write key or this user's token, found neither")
        if not model.knows(body.user):
            raise unknown("user", body.user)
    else:
        ratings, unknown_ids = _split_known(model, body.ratings or {})
        state_of(request).metrics.fold_ins.inc()

    def make() -> Response:
        explanation = model.recommender.explain(body.user, movie=body.movie, ratings=ratings)
        interval = _interval(model, explanation.prediction, body, ratings)
        return answer(explanation_json(explanation) | {"interval": interval, "unknown": unknown_ids})

    # Popular movies have thousands of neighbours; a thread keeps other requests from waiting.
    return await run_in_threadpool(make)


def _interval(
    model: Served, prediction: float | None, body: ExplanationRequest, ratings: dict[str, float] | None
) -> tuple[float, float] | None:
    """The interval that holds nine ratings of ten, the same as in lists."""
    recommender, predictor = model.recommender, model.recommender.predictor
    if prediction is None:
        return None
    count = len(ratings or {}) if body.user is None else predictor.user_counts[recommender.users.index(body.user)]
    clipped = np.clip(np.asarray([prediction], np.float32), predictor.low, predictor.high)
    ends = predictor.around(clipped, np.asarray([recommender.items.index(body.movie)], np.int32), int(count))
    return None if ends is None else (float(ends[0][0]), float(ends[1][0]))


def _index(vocabulary: Vocabulary, name: str) -> int:
    """The index of an id; faster on unknown ids than the library, which searches for similar ones."""
    if name not in vocabulary:
        raise unknown(vocabulary.what, name)
    return vocabulary.index(name)


def _split_known(model: Served, ratings: dict[str, float]) -> tuple[dict[str, float], list[str]]:
    """The ratings of movies that the model knows, and the ids of the others."""
    items = model.recommender.items
    known = {movie: stars for movie, stars in ratings.items() if movie in items}
    return known, [movie for movie in ratings if movie not in known]

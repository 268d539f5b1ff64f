"""The service as an ASGI application."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from reelgraph._version import __version__
from reelgraph.errors import ConfigError
from reelgraph.service.database.connection import address
from reelgraph.service.database.ledger import Ledger
from reelgraph.service.errors import handle_errors
from reelgraph.service.insights import Insights
from reelgraph.service.learning import Learner
from reelgraph.service.middleware import API_VERSION, BodyLimit, Edge, TokenBuckets
from reelgraph.service.model import Current, newest
from reelgraph.service.posters import Posters
from reelgraph.service.routes import exports, insights, operations, ratings, visitors
from reelgraph.service.settings import Keys, Settings
from reelgraph.service.state import State
from reelgraph.service.static_files import missing_page, page_routes
from reelgraph.service.telemetry import Metrics

_COMPRESSION = 4  # of 9: most of the gain in a third of the time


def create_app(
    directory: Path,
    settings: Settings | None = None,
    keys: Keys | None = None,
    changed: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The service for a model.

    Args:
        directory: a model, or a directory of models.
        settings: how to serve.
        keys: keys for writing and administration.
        changed: called after each change of the model.

    Raises:
        ArtifactError: if the model cannot be used.
        ConfigError: if `open` is set though other machines can connect, or a model is to learn that cannot.
        DatabaseError: if the database of ratings cannot be used, other than a server that does not answer yet.
        DataError: if bench results cannot be read.
        OutputError: if the model is to learn, but cannot be replaced.
    """
    settings, current = settings or Settings(), Current(directory.absolute(), changed)
    if settings.open and not settings.local:
        raise ConfigError(f"--open: expected a loopback --host, found {settings.host}", "set keys in place of --open")
    statistics = Insights.of(settings.bench, settings.compare)
    metrics = Metrics(current)
    ledger = Ledger(address(settings.database, beside=directory), metrics)
    learner = Learner(settings, current, ledger, metrics)
    keys = keys or Keys()
    folder = settings.posters or current.directory.with_name(f"{current.directory.name}.posters")
    posters = None if keys.tmdb is None else Posters(folder, keys.tmdb, settings.tmdb)
    state = State(settings, keys, current, statistics, metrics, ledger, learner, posters)
    if not settings.wait or newest(current.directory) is not None:
        operations.change_model(state, "start", current.load)
    if state.writes != "off" or learner.enabled:
        ledger.start()
    learner.check()
    app = FastAPI(
        title="reelgraph", version=API_VERSION, summary=f"Movie recommendations (reelgraph {__version__})",
        docs_url=None, redoc_url=None, openapi_url="/api/openapi.json", redirect_slashes=False,
        lifespan=_lifespan(state),
    )  # fmt: skip
    app.state.service = state
    handle_errors(app, missing_page)
    for routes in (
        visitors.routes, exports.routes, insights.routes, ratings.routes, operations.admin, operations.health,
        operations.telemetry, page_routes(),
    ):  # fmt: skip
        _name_operations(routes)
        app.include_router(routes)
    app.add_middleware(BodyLimit, limit=settings.body_limit, export_limit=settings.export_limit)
    app.add_middleware(GZipMiddleware, compresslevel=_COMPRESSION)
    if settings.sites:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.sites, allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["X-Request-ID", "X-API-Version", "Retry-After"],
        )  # fmt: skip
    app.add_middleware(Edge, metrics=metrics, buckets=TokenBuckets(settings.rate))
    return app


def _name_operations(routes: APIRouter) -> None:
    """Name each operation in /docs by the first sentence of its docstring."""
    for route in routes.routes:
        if isinstance(route, APIRoute) and route.description and route.summary is None:
            route.summary, _, rest = route.description.partition(".")
            route.description = rest.strip()


def _lifespan(state: State) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work) for work in (operations.watch(state), operations.learn(state))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)  # One may be reading a model.
            state.ledger.close()

    return lifespan

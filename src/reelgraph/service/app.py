"""The service as one ASGI application."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from reelgraph._version import __version__
from reelgraph.service.database.connection import address
from reelgraph.service.database.ledger import Ledger
from reelgraph.service.errors import handle_problems
from reelgraph.service.middleware import API_VERSION, BodyLimit, Buckets, Edge
from reelgraph.service.model import Current, newest
from reelgraph.service.routes import insights, operations, ratings, visitors
from reelgraph.service.settings import Keys, Settings
from reelgraph.service.state import State
from reelgraph.service.static_files import STATIC, asset_routes, docs_routes, read_assets
from reelgraph.service.telemetry import Metrics

_COMPRESSION = 4  # of 9: three quarters of the gain for a third of the time


def create_app(
    directory: Path,
    settings: Settings | None = None,
    keys: Keys | None = None,
    changed: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The service over a model.

    Args:
        directory: a model, or a directory of models.
        settings: what the service does.
        keys: who may write and administer.
        changed: called after each change of the model.

    Raises:
        ArtifactError: if the model cannot be used.
        DatabaseError: if ratings cannot be kept and waiting will not mend it.
        DataError: if bench results cannot be read.
    """
    settings, current = settings or Settings(), Current(directory.absolute(), changed)
    beside = insights.Insights.of(settings.bench, settings.compare)
    metrics = Metrics(current)
    ledger = Ledger(address(settings.database, beside=directory), metrics)
    state = State(settings, keys or Keys(), current, metrics, ledger)
    if not settings.wait or newest(current.directory) is not None:
        operations.change(state, "start", current.load)
    if state.writes != "off":
        ledger.start()
    app = FastAPI(
        title="reelgraph", version=API_VERSION, summary=f"Movie recommendations (reelgraph {__version__})",
        docs_url=None, redoc_url=None, openapi_url="/api/openapi.json", redirect_slashes=False,
        lifespan=_life(state),
    )  # fmt: skip
    app.state.service, app.state.insights = state, beside
    handle_problems(app)
    for routes in (
        visitors.routes,
        insights.routes,
        ratings.routes,
        operations.admin,
        operations.health,
        operations.measures,
    ):
        app.include_router(routes)
    for routes in (asset_routes(read_assets(STATIC)), docs_routes()):
        app.include_router(routes)
    app.add_middleware(BodyLimit, most=settings.body_limit)
    app.add_middleware(GZipMiddleware, compresslevel=_COMPRESSION)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=[origin.strip() for origin in settings.origins.split(",")],
            allow_methods=["GET", "POST", "DELETE"], allow_headers=["Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["X-Request-ID", "X-API-Version", "Retry-After"],
        )  # fmt: skip
    app.add_middleware(Edge, metrics=state.metrics, buckets=Buckets(settings.rate))
    return app


def _life(state: State) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(operations.watch(state))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)  # It may be reading a model.
            state.ledger.close()
            state.current.close()
            app.state.insights.close()

    return life

"""The service as one ASGI application."""

from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response

from reelgraph import __version__
from reelgraph.service import visits
from reelgraph.service.answers import answer
from reelgraph.service.assets import STATIC, asset_routes, read_assets
from reelgraph.service.current import Current, read
from reelgraph.service.edge import API_VERSION, BodyLimit, Edge
from reelgraph.service.problems import handle_problems
from reelgraph.service.settings import LOOPBACK, Keys, Settings

health = APIRouter(prefix="/health", tags=["operations"])


@health.get("/live")
async def live() -> Response:
    """Whether the process answers."""
    return answer({"status": "ok"})


@health.get("/ready")
async def ready(request: Request) -> Response:
    """Whether there is a model, which, and since when."""
    served = request.app.state.current.get()
    return answer({"status": "ok", "artifact": served.facts | {"path": str(served.path)}})


def create_app(model: Path, settings: Settings | None = None, keys: Keys | None = None) -> FastAPI:
    """The service over a model's directory.

    Raises:
        ArtifactError: if the model cannot be used.
    """
    settings, keys = settings or Settings(), keys or Keys()
    app = FastAPI(
        title="reelgraph", version=API_VERSION, summary=f"Movie recommendations (reelgraph {__version__})",
        docs_url=None, redoc_url=None, openapi_url="/api/openapi.json", redirect_slashes=False,
    )  # fmt: skip
    app.state.settings, app.state.keys = settings, keys
    app.state.current = Current(read(model))
    app.state.writes = "key" if keys.write else "open" if settings.host in LOOPBACK else "off"
    handle_problems(app)
    for routes in (visits.routes, health, asset_routes(read_assets(STATIC))):
        app.include_router(routes)
    app.add_middleware(BodyLimit, most=settings.body_limit)
    app.add_middleware(GZipMiddleware, compresslevel=4)
    app.add_middleware(Edge)
    return app

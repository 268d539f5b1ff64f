"""Routes of the page, the insights page and the API documentation."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC, DOCS = Path(__file__).parent / "static", Path(__file__).parent / "docs"


class _Files(StaticFiles):
    """Files that browsers keep and revalidate before each use."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        # Files are sent whole: errors about ranges would not have the service's error shape.
        scope["headers"] = [header for header in scope["headers"] if header[0] != b"range"]
        response.headers.update({"Cache-Control": "no-cache", "Accept-Ranges": "none"})
        return response


def page_routes() -> APIRouter:
    """`/` for visitors, `/insights` for analysts, `/docs` (Swagger UI), and the files that they load."""
    routes = APIRouter(include_in_schema=False)
    page = _Files(directory=STATIC)
    docs = _Files(directory=DOCS, packages=[("fastapi_swagger", "resources")])

    def named(files: StaticFiles, name: str) -> Callable[[Request], Awaitable[Response]]:
        async def send(request: Request) -> Response:
            return await files.get_response(name, request.scope)

        return send

    for path, files, name in (
        ("/", page, "index.html"),
        ("/insights", page, "insights.html"),
        ("/favicon.ico", page, "favicon.svg"),
        ("/docs", docs, "docs.html"),
    ):
        routes.add_api_route(path, named(files, name), response_model=None)

    @routes.get("/static/{name:path}", response_model=None)
    async def page_file(request: Request, name: str) -> Response:
        return await page.get_response(name, request.scope)

    @routes.get("/docs/{name}", response_model=None)
    async def docs_file(request: Request, name: str) -> Response:
        return await docs.get_response(name, request.scope)

    return routes

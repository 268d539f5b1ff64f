"""Routes of the page, the insights page and the API documentation."""

import html
import os
import re
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from reelgraph.service.errors import ServiceError
from reelgraph.service.schemas import Id
from reelgraph.service.state import served, state_of

STATIC, DOCS = Path(__file__).parent / "static", Path(__file__).parent / "docs"
_LINK, _TITLE = re.compile(r'(href|src)="(?!#)'), re.compile(r"<title>.*?</title>")


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
    """The page (`/`, `/movie/ID`), its posters, `/insights`, `/docs` (Swagger UI), and the files that they load."""
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
    routes.add_api_route("/movie/{movie_id:id}", movie_page, response_model=None)
    routes.add_api_route("/posters/{movie_id:id}", poster, response_model=None)

    @routes.get("/static/{name:path}", response_model=None)
    async def page_file(request: Request, name: str) -> Response:
        return await page.get_response(name, request.scope)

    @routes.get("/docs/{name}", response_model=None)
    async def docs_file(request: Request, name: str) -> Response:
        return await docs.get_response(name, request.scope)

    return routes


async def movie_page(request: Request, movie_id: Id) -> Response:
    """The page, which opens the movie of its address; its head names the movie for those who share the link."""
    recommender = served(request).recommender
    if movie_id not in recommender.items:
        raise ServiceError("not_found", "expected a movie of this catalogue, found another")
    movie = recommender.catalogue.movie(recommender.items.index(movie_id))
    title, genres = html.escape(str(movie)), html.escape(", ".join(movie.genres[:3]) or "Movie")
    head = (
        f'<title>{title}: reelgraph</title>\n<meta property="og:title" content="{title}">\n'
        f'<meta property="og:description" content="{genres}: how you would rate it, and why">'
    )
    return HTMLResponse(_TITLE.sub(lambda _: head, _page("index.html", request)), headers={"Cache-Control": "no-cache"})


async def poster(request: Request, movie_id: Id) -> Response:
    """The poster of a movie."""
    recommender, posters, image = served(request).recommender, state_of(request).posters, b""
    if posters is not None and movie_id in recommender.items:
        tmdb_id = recommender.catalogue.movie(recommender.items.index(movie_id)).tmdb_id
        image = await posters.get(tmdb_id) if tmdb_id is not None else b""
    if not image:
        raise ServiceError("not_found", "expected a movie with a poster, found another")
    return Response(image, headers={"Cache-Control": "public, max-age=604800"}, media_type="image/jpeg")


def missing_page(request: Request, problem: ServiceError) -> Response | None:
    """The page for an address that does not exist, for browsers; None where an error response is expected."""
    wanted = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    if problem.code != "not_found" or not wanted or request.scope["path"].startswith("/api/"):
        return None
    return HTMLResponse(_page("missing.html", request), 404, headers={"Cache-Control": "no-store"})


def _page(name: str, request: Request) -> str:
    """A document whose links lead to the service's root from the request's path, also behind a proxy's prefix."""
    up = "../" * (request.scope["path"].count("/") - 1)
    return _LINK.sub(rf'\1="{up}', _text(name))


@cache
def _text(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")

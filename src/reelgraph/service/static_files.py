"""The page's files, held in memory: what a visitor asks for never waits for the disk."""

import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from reelgraph.service.errors import ServiceError

STATIC, DOCS = Path(__file__).parent / "static", Path(__file__).parent / "docs"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class Asset:
    """One file.

    Attributes:
        content: its bytes.
        packed: the same compressed; None where that saves nothing.
        kind: its media type.
        tag: marks its content.
    """

    content: bytes
    packed: bytes | None
    kind: str
    tag: str

    @classmethod
    def of(cls, content: bytes, suffix: str) -> "Asset":
        """A file's content with what its answers need."""
        packed = gzip.compress(content, 9, mtime=0)
        smaller = packed if len(packed) < 0.9 * len(content) else None
        return cls(content, smaller, _TYPES[suffix], f'W/"{hashlib.sha256(content).hexdigest()[:32]}"')

    def answer(self, request: Request) -> Response:
        """The file, or that the asker holds it already."""
        headers = {"ETag": self.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if self.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self.packed, headers=headers | {"Content-Encoding": "gzip"}, media_type=self.kind)
        return Response(self.content, headers=headers, media_type=self.kind)


def read_assets(folder: Path) -> dict[str, Asset]:
    """The files of a folder by their path within it; of other kinds than a page needs, none."""
    return {
        file.relative_to(folder).as_posix(): Asset.of(file.read_bytes(), file.suffix)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix in _TYPES
    }


def asset_routes(assets: dict[str, Asset]) -> APIRouter:
    """`/` for visitors, `/insights` for analysts where there is such a page, and the files of both."""
    routes = APIRouter(include_in_schema=False)

    def add(path: str, name: str) -> None:
        async def page(request: Request) -> Response:
            return assets[name].answer(request)

        routes.add_api_route(path, page, methods=["GET"], response_model=None)

    for path, name in {"/": "index.html", "/insights": "insights.html", "/favicon.ico": "favicon.svg"}.items():
        if name in assets:
            add(path, name)

    @routes.get("/static/{name:path}", response_model=None)
    async def static(request: Request, name: str) -> Response:
        return _found(assets, name).answer(request)

    return routes


def docs_routes() -> APIRouter:
    """`/docs`: the routes to look at and to try, by Swagger UI from its package; read when first asked for."""
    routes = APIRouter(include_in_schema=False)
    assets: dict[str, Asset] = {}

    def read() -> None:
        with as_file(files("fastapi_swagger") / "resources") as swagger:
            assets.update(read_assets(swagger) | read_assets(DOCS))

    @routes.get("/docs", response_model=None)
    @routes.get("/docs/{name}", response_model=None)
    async def docs(request: Request, name: str = "docs.html") -> Response:
        if not assets:
            await run_in_threadpool(read)
        return _found(assets, name).answer(request)

    return routes


def _found(assets: dict[str, Asset], name: str) -> Asset:
    if name not in assets:
        raise ServiceError("not_found", "expected a file of the page, found another name")
    return assets[name]

"""Posters are fetched from TMDB once, kept, and served by the service itself."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from pydantic import SecretStr

from reelgraph.artifact import read_artifact, write_artifact
from reelgraph.service.posters import Posters
from reelgraph.service.settings import Keys

JPEG = b"\xff\xd8\xff a picture"
KEY = "0123456789abcdef"


@dataclass
class StandIn:
    """A stand-in for TMDB: movie 1 has a poster, 2 has none, 3 has one that is no picture, others are unknown."""

    address: str
    asked: list[str] = field(default_factory=list)
    broken: bool = False


@pytest.fixture
def tmdb() -> Iterator[StandIn]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stand_in.asked.append(self.path)
            path, _, query = self.path.partition("?")
            token = self.headers.get("Authorization")
            content: bytes | None = None
            if path.startswith("/3/movie/") and (query == f"api_key={KEY}" or token == "Bearer a.b.c"):
                poster = {"1": "/one.jpg", "2": None, "3": "/three.jpg", "4": "/../../secret"}.get(path[9:], "unknown")
                content = None if poster == "unknown" else json.dumps({"poster_path": poster}).encode()
            elif path == "/t/p/w342/one.jpg":
                content = JPEG
            elif path == "/t/p/w342/three.jpg":
                content = b"<html>"
            self.send_response(503 if stand_in.broken else 404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in = StandIn(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield stand_in
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def linked(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose first movies have the TMDB ids 1 to 5."""
    artifact = read_artifact(model_dir)
    ids = pa.array([str(n) if n <= 5 else None for n in range(1, artifact.items.num_rows + 1)], pa.string())
    path = tmp_path_factory.mktemp("linked") / "model"
    write_artifact(replace(artifact, items=artifact.items.append_column("tmdbId", ids)), path)
    return path


def test_a_poster_is_fetched_once_and_kept(
    serve: Callable[..., httpx.Client], linked: Path, tmdb: StandIn, tmp_path: Path
) -> None:
    keys, folder = Keys(tmdb=SecretStr(KEY)), tmp_path / "posters"
    client = serve(linked, keys, tmdb=tmdb.address, posters=folder)
    assert client.get("/api/catalogue").json()["posters"] is True
    movies = [movie for movie in client.get("/api/movies", params={"limit": 100}).json()["movies"] if movie["tmdb_id"]]
    by_tmdb = {movie["tmdb_id"]: movie["movie_id"] for movie in movies}
    for _ in range(3):
        answer = client.get(f"/posters/{by_tmdb['1']}")
        assert (answer.content, answer.headers["content-type"]) == (JPEG, "image/jpeg")
        assert "max-age" in answer.headers["cache-control"]
        assert "img-src 'self'" in answer.headers["content-security-policy"]
    assert len(tmdb.asked) == 2
    for without in ("2", "5", "4"):
        for _ in range(2):
            assert client.get(f"/posters/{by_tmdb[without]}").status_code == 404
    assert len(tmdb.asked) == 5
    assert client.get("/posters/no-such-movie").status_code == 404
    assert sorted(file.name for file in folder.iterdir()) == ["1.jpg", "2.jpg", "4.jpg", "5.jpg"]
    tmdb.broken = True
    again = serve(linked, keys, tmdb=tmdb.address, posters=folder)
    assert again.get(f"/posters/{by_tmdb['1']}").content == JPEG, "kept posters need no TMDB"
    assert len(tmdb.asked) == 5


def test_without_a_key_nothing_is_fetched(serve: Callable[..., httpx.Client], linked: Path, tmdb: StandIn) -> None:
    client = serve(linked, tmdb=tmdb.address)
    assert client.get("/api/catalogue").json()["posters"] is False
    assert client.get("/posters/1").status_code == 404
    assert tmdb.asked == []


def test_failures_pause_requests_and_leave_no_file(tmdb: StandIn, tmp_path: Path) -> None:
    async def visit() -> None:
        posters = Posters(tmp_path / "posters", SecretStr("a.b.c"), tmdb.address)
        assert await posters.get("1") == JPEG
        assert await posters.get("3") == b"", "not a picture"
        asked = len(tmdb.asked)
        assert await posters.get("2") == b""
        assert len(tmdb.asked) == asked, "paused"

    asyncio.run(visit())
    assert [file.name for file in (tmp_path / "posters").iterdir()] == ["1.jpg"]

"""Limits on bytes and time hold while a request is still incomplete, and other clients do not wait."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from reelgraph.recommend.recommender import Recommender
from reelgraph.service.app import create_app
from reelgraph.service.server import Protocol
from reelgraph.service.settings import Settings
from tests.support.serving import PATIENCE, serving, until

POST = b"POST /api/recommendations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
ENDLESS = {
    "header": (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"y" * 65_536),
    "header name": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"y" * 65_536),
    "headers": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n" * 10_000),
    "URL": (b"GET /", b"y" * 65_536),
    "method": (b"", b"G" * 65_536),
    "empty lines": (b"", b"\r\n" * 30_000),
    "chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b" " * 0x1000 + b"\r\n"),
    "chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", b" " * 65_536),
    "chunk extension": (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", b"y" * 65_536),
    "trailers": (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"A: b\r\n" * 10_000),
    "trailer": (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: ", b"y" * 65_536),
    "body": (POST + b"Content-Length: 99999999\r\n\r\n", b" " * 65_536),
}
STOPPED = {
    "nothing": b"",
    "a line": b"GET / HTTP/1.1\r\n",
    "half a header": b"GET / HTTP/1.1\r\nHost: x\r\nX: y",
    "no body": POST + b"Content-Length: 10\r\n\r\n",
    "half a body": POST + b'Content-Length: 10\r\n\r\n{"k"',
    "half a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n10\r\n{",
    "a wish to continue": POST + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n",
}
MAX_SENT = 64 * 1024 * 1024


@pytest.fixture
def client(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A service with short times."""
    for name in ("head_seconds", "body_seconds", "write_seconds"):
        monkeypatch.setattr(Protocol, name, 0.5)
    settings = Settings(database=str(tmp_path / "r.sqlite"), watch=0, rate=0, open=True)
    with serving(create_app(model_dir, settings), settings) as client:
        yield client


@contextmanager
def connected(client: httpx.Client) -> Iterator[socket.socket]:
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), PATIENCE) as connection:
        yield connection


def received(connection: socket.socket) -> bytes:
    """What the service sends until it closes the connection."""
    answer = b""
    with suppress(ConnectionResetError):  # It did not read all that was sent.
        while part := connection.recv(65_536):
            answer += part
    return answer


def longest_wait(client: httpx.Client, stop: threading.Event) -> float:
    longest = 0.0
    while not stop.is_set():
        start = time.perf_counter()
        assert client.get("/health/live").status_code == 200
        longest = max(longest, time.perf_counter() - start)
    return longest


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_request_is_refused_and_delays_nobody(client: httpx.Client, kind: str) -> None:
    start, piece = ENDLESS[kind]
    ended, sent = threading.Event(), 0

    def send() -> None:
        nonlocal sent
        with connected(client) as connection:
            with suppress(OSError):
                connection.sendall(start)
                while sent < MAX_SENT:
                    connection.sendall(piece)
                    sent += len(piece)
            received(connection)
        ended.set()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    assert longest_wait(client, ended) < 2
    sender.join(PATIENCE)
    assert sent < MAX_SENT, "the service closes the connection"


@pytest.mark.parametrize("kind", STOPPED)
def test_a_request_that_does_not_go_on_is_closed(client: httpx.Client, kind: str) -> None:
    with connected(client) as connection:
        connection.sendall(STOPPED[kind])
        answer = received(connection)
    if kind == "nothing":
        assert answer == b""
    else:
        head, _, body = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408")
        assert json.loads(body)["error"]["code"] == "too_slow"


def test_a_request_that_trickles_in_is_closed(client: httpx.Client) -> None:
    with connected(client) as connection:
        connection.sendall(POST + b"Content-Length: 100000\r\n\r\n")
        start = time.monotonic()
        with suppress(OSError):
            while time.monotonic() < start + PATIENCE:
                connection.sendall(b" ")
                time.sleep(0.02)
    assert time.monotonic() < start + PATIENCE


@pytest.mark.parametrize("close", [True, False])
def test_a_body_that_does_not_end_changes_nothing(client: httpx.Client, model: Recommender, close: bool) -> None:
    body = json.dumps({"user": "ann", "movie": model.items.id(0), "rating": 4}).encode()
    head = POST.replace(b"recommendations", b"ratings").replace(b"Host: x", b"Host: localhost")
    with connected(client) as connection:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(body), body))
        if not close:
            assert received(connection).startswith(b"HTTP/1.1 408")
    until(lambda: 'code="too_slow"' in client.get("/metrics").text)
    assert client.get("/api/users/ann/ratings").json()["ratings"] == []


def test_a_kept_connection_that_trickles_is_closed(client: httpx.Client) -> None:
    with connected(client) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        start = time.monotonic()
        with suppress(OSError):
            while time.monotonic() < start + PATIENCE:
                connection.sendall(b"\r\n")
                time.sleep(0.02)
    assert time.monotonic() < start + PATIENCE


def test_a_client_that_does_not_read_is_closed(client: httpx.Client) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE)
        connection.connect((client.base_url.host, client.base_url.port or 0))
        request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
        closed = threading.Event()

        def send() -> None:
            with suppress(OSError):
                for _ in range(1_000_000):
                    connection.sendall(request)
            closed.set()

        threading.Thread(target=send, daemon=True).start()
        until(closed.is_set, 6 * PATIENCE)  # a busy machine answers the requests sent before slowly


def test_requests_on_a_kept_connection_have_their_limits_each(client: httpx.Client) -> None:
    body = json.dumps({"exclude": ["x" * 90] * 1900}).encode()
    for _ in range(8):  # More than one request may have, in all.
        answer = client.post("/api/recommendations", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200
        assert "connection" not in answer.headers
    with connected(client) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        received_so_far = b""
        while received_so_far.count(b"HTTP/1.1 200") < 50:
            part = connection.recv(65_536)
            assert part
            received_so_far += part


def test_a_slow_answer_is_not_cut_off(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("head_seconds", "body_seconds", "write_seconds"):
        monkeypatch.setattr(Protocol, name, 0.2)
    settings = Settings(database=str(tmp_path / "r.sqlite"), watch=0, open=True)
    app = create_app(model_dir, settings)
    load = app.state.service.current.load

    def slow_load(path: Path | None = None) -> object:
        time.sleep(1.5)
        return load(path)

    app.state.service.current.load = slow_load
    with serving(app, settings) as client:
        assert client.post("/api/admin/reload").status_code == 200
        with connected(client) as connection:  # The beginning of another request does not cut it off either.
            connection.sendall(b"POST /api/admin/reload HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
            assert b"HTTP/1.1 408" in received(connection)

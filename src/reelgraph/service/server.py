"""The server process: one worker that finishes its requests before it stops."""

import asyncio
import functools
import gc
import math
import signal
import socket
import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow
import uvicorn
from fastapi import FastAPI
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reelgraph import machine
from reelgraph.errors import SetupError
from reelgraph.service.app import create_app
from reelgraph.service.errors import STATUS, ServiceError
from reelgraph.service.settings import Keys, Settings, generated_keys
from reelgraph.service.telemetry import LOGGER, start_logging

_MAX_HEAD = 65_536  # bytes of request line and headers
_SWITCH_SECONDS = 0.0005


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 with limits on bytes and time that hold while a request is still incomplete.

    uvicorn itself waits for the end of a request, however long that takes and whatever it collects meanwhile.

    Attributes:
        head_seconds: for request line and headers, from the first byte on; also for the first byte.
        body_seconds: for the body.
        write_seconds: for a client to read while the response waits for it.
    """

    head_seconds, body_seconds, write_seconds = 10.0, 20.0, 30.0

    def __init__(self, *arguments: Any, body_limit: int, export_limit: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._body_limit, self._export_limit = body_limit, export_limit
        self._max_bytes = 0  # of the request, with its body
        self._bytes = 0  # of the request that is being received
        self._state = "head"  # or "body", or "complete"
        self._deadline = math.inf
        self._header_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._deadline = self.loop.time() + self.head_seconds
        self._check_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse what came and refuse a request that grows too large."""
        if self._state == "complete":
            self._begin()
        self._bytes += len(data)
        super().data_received(data)
        if self._bytes > (_MAX_HEAD if self._state == "head" else self._max_bytes) and not self.transport.is_closing():
            if self._state == "head":
                self._refuse(ServiceError("invalid", f"expected a head of at most {_MAX_HEAD:,} bytes"), 400)
            else:
                self._refuse(ServiceError("too_large", "expected a smaller body"))

    def on_message_begin(self) -> None:
        """Count the bytes and seconds of a new request."""
        super().on_message_begin()
        self._begin()

    def _begin(self) -> None:
        self._state, self._bytes, self._deadline = "head", 1, self.loop.time() + self.head_seconds

    def on_url(self, url: bytes) -> None:
        """Refuse a long URL that comes in one piece."""
        super().on_url(url)
        if len(self.url) > _MAX_HEAD:
            raise ValueError("too long a URL")  # The parser turns it into a 400 response.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuse long headers that come in one piece, and trailers after the body."""
        self._header_bytes = len(name) + len(value) + (self._header_bytes if self.headers else 0)
        if self._header_bytes > _MAX_HEAD:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the time for the body, and set its limit."""
        self._state, self._deadline = "body", self.loop.time() + self.body_seconds
        is_export = self.url.partition(b"?")[0].endswith(b"/exports")
        # Chunked encoding may double a body; the application has the exact limit.
        self._max_bytes = _MAX_HEAD + 2 * (self._export_limit if is_export else self._body_limit)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop the clock: the application now has all the time it needs."""
        self._state, self._deadline = "complete", math.inf
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Start the time for the client to read."""
        super().pause_writing()
        self._deadline = self.loop.time() + self.write_seconds

    def resume_writing(self) -> None:
        """Stop the time for the client to read."""
        super().resume_writing()
        self._deadline = math.inf if self._state == "complete" else self.loop.time() + self.body_seconds

    def _check_time(self) -> None:
        now, cycle = self.loop.time(), self.cycle
        answering = cycle is not None and not cycle.response_complete and not self.flow.write_paused
        if self._state == "head" and answering:
            self._deadline = now + self.head_seconds  # The previous request comes first.
        if now >= self._deadline:
            if self.transport.is_closing() or self.flow.write_paused:
                if cycle is not None:
                    cycle.disconnected = True
                self.transport.abort()  # The client does not read what it is sent.
                return
            if self._bytes:
                self._refuse(ServiceError("too_slow", "expected the rest of the request, found none in time"))
            self.transport.close()
        if self.transport.is_closing():
            self._deadline = min(self._deadline, now + self.write_seconds)
        self._timer = self.loop.call_later(min(1.0, self.head_seconds), self._check_time)

    def _refuse(self, error: ServiceError, status: int | None = None) -> None:
        """Answer with an error unless the response has begun, and close the connection."""
        status, body, cycle = status or STATUS[error.code], error.body(), self.cycle
        if cycle is None or not cycle.response_started or (cycle.response_complete and self._state == "head"):
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()
        LOGGER.warning(
            "request refused", extra={"facts": {"status": status, "code": error.code, "client": self.client}}
        )

    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request and close the connection."""
        self._refuse(ServiceError("invalid", msg), 400)


def run(directory: Path, settings: Settings, keys: Keys, ready: Callable[[str], None] | None = None) -> None:
    """Serve until the process is told to stop; `ready` is called with the URL once the port is open.

    Without any key and without `open`, a service for this machine alone makes a key for this run and prints it.

    Raises:
        ArtifactError: if the model cannot be used.
        SetupError: if the address is not available.
    """
    # Memory goes back to the system when a model does: neither Arrow nor a thread keeps a heap of its own.
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    machine.save_memory()
    signal.signal(signal.SIGTERM, _stop)
    threadpool_limits(1)  # Requests run in parallel; more threads within one would only compete.
    # A thread that works beside the requests, such as one that reads a model, delays them by at most this time.
    sys.setswitchinterval(_SWITCH_SECONDS)
    listener = _listen(settings)
    start_logging()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{listener.getsockname()[1]}"
    lines = [f"reelgraph serves {directory} at {url}"]
    if keys.write is None and keys.admin is None and settings.local and not settings.open:
        keys = generated_keys(keys)
        assert keys.write is not None
        lines.append(f"key to write and administer, for this run: {keys.write.get_secret_value()}")
    app = create_app(directory, settings, keys, changed=release_memory)
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    if ready is not None:
        ready(url)
    server_of(app, settings).run(sockets=[listener])


def server_of(app: FastAPI, settings: Settings) -> uvicorn.Server:
    """The web server of an application."""
    protocol: Any = functools.partial(Protocol, body_limit=settings.body_limit, export_limit=settings.export_limit)
    config = uvicorn.Config(
        app, http=protocol, ws="none", access_log=False, server_header=False, log_config=None,
        timeout_graceful_shutdown=math.ceil(settings.grace), proxy_headers=settings.proxies is not None,
        forwarded_allow_ips=settings.proxies,
    )  # fmt: skip
    return uvicorn.Server(config)


def release_memory() -> None:
    """Return the memory of a replaced model to the system, and exclude the new one from garbage collection."""
    gc.collect()
    gc.freeze()
    machine.release_memory()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        where = f"{settings.host} port {settings.port}"
        raise SetupError(f"{where}: expected a free address of this machine, found {error}", "choose another") from None


def _stop(_: int, __: FrameType | None) -> None:
    sys.exit(0)

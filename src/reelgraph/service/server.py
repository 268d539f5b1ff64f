"""The server process: one worker that finishes its requests before it stops."""

import gc
import math
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

import pyarrow
import uvicorn
from fastapi import FastAPI
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reelgraph import machine
from reelgraph.errors import SetupError
from reelgraph.service.app import create_app
from reelgraph.service.errors import ServiceError
from reelgraph.service.settings import Keys, Settings
from reelgraph.service.telemetry import start_logging

_MAX_HEADERS = 65_536  # bytes of all headers of a request
_SWITCH_SECONDS = 0.0005


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 with a limit on headers, and errors in the form of all other errors."""

    def on_message_begin(self) -> None:
        """Start to count header bytes."""
        super().on_message_begin()
        self.header_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self.header_bytes += len(name) + len(value)
        if self.header_bytes > _MAX_HEADERS:
            raise ValueError("too many headers")  # The parser turns it into a 400 response.
        super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request and close the connection."""
        body = ServiceError("invalid", msg).body()
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
        self.transport.close()


def run(directory: Path, settings: Settings, keys: Keys) -> None:
    """Serve until the process is told to stop.

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
    app = create_app(directory, settings, keys, changed=release_memory)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    sys.stdout.write(f"reelgraph serves {directory} at http://{host}:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    server_of(app, settings).run(sockets=[listener])


def server_of(app: FastAPI, settings: Settings) -> uvicorn.Server:
    """The web server of an application."""
    config = uvicorn.Config(
        app, http=Protocol, ws="none", access_log=False, server_header=False, log_config=None,
        timeout_graceful_shutdown=math.ceil(settings.grace), forwarded_allow_ips=settings.proxies,
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

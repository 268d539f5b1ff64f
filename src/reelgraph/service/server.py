"""The service as a process: one worker, stopped without breaking off what runs."""

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

_HEADERS_MOST = 65_536  # bytes of a request's headers together

_TURN_SECONDS = 0.0005


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 with bounded headers, whose refusals have the one shape of all failures."""

    def on_message_begin(self) -> None:
        """Begin to count a request's headers."""
        super().on_message_begin()
        self.header_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header.

        Raises:
            ValueError: if they are too many; the parser makes a refusal of it.
        """
        self.header_bytes += len(name) + len(value)
        if self.header_bytes > _HEADERS_MOST:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        body = ServiceError("invalid", msg).body()
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
        self.transport.close()


def run(directory: Path, settings: Settings, keys: Keys) -> None:
    """Serve until the process is told to stop.

    Raises:
        ArtifactError: if the model cannot be used.
        SetupError: if the address cannot be had.
    """
    _prepare_memory()
    signal.signal(signal.SIGTERM, _stop)
    # Requests run beside each other already; threads within one would only wait for one another.
    threadpool_limits(1)
    # What is read beside the requests, such as another model, holds them up for no longer than this at a time.
    sys.setswitchinterval(_TURN_SECONDS)
    listening = _listen(settings)
    start_logging()
    app = create_app(directory, settings, keys, changed=tidy)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    sys.stdout.write(f"reelgraph serves {directory} at http://{host}:{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    server_of(app, settings).run(sockets=[listening])


def server_of(app: FastAPI, settings: Settings) -> uvicorn.Server:
    """The web server of an application."""
    config = uvicorn.Config(
        app, http=Protocol, ws="none", access_log=False, server_header=False, log_config=None,
        timeout_graceful_shutdown=math.ceil(settings.grace), forwarded_allow_ips=settings.proxies,
    )  # fmt: skip
    return uvicorn.Server(config)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        where = f"{settings.host} port {settings.port}"
        raise SetupError(f"{where}: expected a free address of this machine, found {error}", "choose another") from None


def _stop(_: int, __: FrameType | None) -> None:
    sys.exit(0)


def _prepare_memory() -> None:
    """Let memory be given back: models come and go, and neither Arrow nor a thread must keep a heap of its own."""
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    machine.save_memory()


def tidy() -> None:
    """Give the memory of a model that is gone back to the system, and keep the present one out of later collections."""
    gc.collect()
    gc.freeze()
    machine.release_memory()

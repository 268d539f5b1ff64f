"""What every request passes on its way in and out: its id, its limits, its headers, its failure."""

import ipaddress
import math
import secrets
import string
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reelgraph.service.errors import CODE, ServiceError, problem_of
from reelgraph.service.telemetry import LOGGER, Metrics

MOST_CLIENTS = 10_000

_BURST_SECONDS = 2  # of its rate that a client may spend at once


class Buckets:
    """A bucket of tokens for each client; the least recently seen clients are forgotten first.

    Args:
        rate: tokens a second; 0 is no limit.
        most: clients remembered.
        clock: seconds that only go up.
    """

    def __init__(self, rate: float, most: int = MOST_CLIENTS, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.most, self.clock = rate, most, clock
        self.burst = max(1.0, rate * _BURST_SECONDS)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> float:
        """Take a client's token.

        Returns:
            0 if there was one, else the seconds until there is.
        """
        if not self.rate:
            return 0.0
        now = self.clock()
        tokens, then = self._buckets.pop(client, (self.burst, now))
        tokens = min(self.burst, tokens + (now - then) * self.rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self.rate
        self._buckets[client] = (tokens if wait else tokens - 1, now)
        if len(self._buckets) > self.most:
            self._buckets.popitem(last=False)
        return wait


def client_of(host: str) -> str:
    """Whose bucket it is: an address, or of IPv6 the network of 64 bits, since one household has all of it."""
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host


API_VERSION = "1"

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_VERSIONED = f"/api/v{API_VERSION}/"

_ID_SIGNS = frozenset(string.ascii_letters + string.digits + "-_.")


def request_id(given: str | None) -> str:
    """The id that came with a request, if it can stand in a log and a header; else a new one."""
    if given is not None and 1 <= len(given) <= 64 and _ID_SIGNS.issuperset(given):
        return given
    return secrets.token_hex(8)


class Edge:
    """The outermost layer: request id, version in the path, headers of every answer, and failures nobody handled."""

    def __init__(self, app: ASGIApp, metrics: Metrics, buckets: Buckets) -> None:
        self.app, self.metrics, self.buckets = app, metrics, buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), None)
        inner = _rewritten(scope)
        passage = Passage(send, request_id(given))
        start = time.perf_counter()
        self.metrics.running.inc()
        try:
            self._limit(inner)
            await self.app(inner, receive, passage.send)
        except Exception as error:
            problem = problem_of(error)
            inner[CODE] = problem.code
            if problem.code == "internal":
                LOGGER.exception("failure", extra={"facts": {"request_id": passage.request_id}})
            if passage.status:  # The answer has begun: all that is left is to break it off.
                raise
            await problem.response()(inner, receive, passage.send)
        finally:
            self.metrics.running.dec()
            self._told(inner, passage, time.perf_counter() - start)

    def _limit(self, scope: Scope) -> None:
        if scope["client"] is None or scope["path"].startswith("/health/"):
            return
        wait = self.buckets.take(client_of(scope["client"][0]))
        if wait:
            seconds = str(math.ceil(wait))
            raise ServiceError("too_many_requests", "expected fewer requests", headers={"Retry-After": seconds})

    def _told(self, scope: Scope, passage: "Passage", seconds: float) -> None:
        """Count the request and log it: by its route, since paths name users, and without its query."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "none").replace(":path}", "}")
        code = scope.get(CODE)
        self.metrics.answered(method, route, passage.status, seconds)
        facts = {"request_id": passage.request_id, "method": method, "route": route, "status": passage.status}
        if code is not None:
            self.metrics.errors.labels(code).inc()
            facts["code"] = code
        client = scope["client"][0] if scope["client"] else None
        LOGGER.info("request", extra={"facts": facts | {"ms": round(seconds * 1000, 2), "client": client}})


def _rewritten(scope: Scope) -> Scope:
    """The request as the routes know it: HEAD is GET whose body the server leaves out, version 1 is the present one."""
    inner = dict(scope)
    if scope["method"] == "HEAD":
        inner["method"] = "GET"
    if scope["path"].startswith(_VERSIONED):
        inner["path"] = "/api/" + scope["path"].removeprefix(_VERSIONED)
    return inner


class Passage:
    """An answer on its way out: its status is noted, headers that all answers have are added.

    Args:
        send: where it goes.
        request_id: of the request.
    """

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self.request_id, self.status = send, request_id, 0

    async def send(self, message: Message) -> None:
        """As ASGI says."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"], headers["X-API-Version"] = self.request_id, API_VERSION
            for name, value in SECURITY.items():
                headers.setdefault(name, value)
        await self._send(message)


class BodyLimit:
    """Refuses larger bodies, whether or not they say their length; the rest of the service gets whole bodies."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        if b"content-length" not in headers and b"transfer-encoding" not in headers:
            await self.app(scope, receive, send)
            return
        length = headers.get(b"content-length", b"0")
        body = None if length.isdigit() and int(length) > self.most else await self._read(receive)
        if body is None:
            too_large = ServiceError("too_large", f"expected a body of at most {self.most:,} bytes, found a larger one")
            await too_large.response()(scope, receive, send)
            return
        read = False

        async def whole() -> Message:
            nonlocal read
            if read:
                return await receive()
            read = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, whole, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The body; None if it is too large."""
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.most:
                return None
            more = message.get("more_body", False)
        return b"".join(parts)

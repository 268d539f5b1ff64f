"""Middleware: request ids, rate and body limits, response headers, logging."""

import ipaddress
import math
import secrets
import string
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import quote, unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reelgraph.service.errors import CODE, ServiceError, service_error
from reelgraph.service.telemetry import LOGGER, Metrics

API_VERSION = "1"
MAX_CLIENTS = 10_000
EXPORTS = "/api/exports"  # the route with larger bodies
MAX_EXPORTS = 4  # that are read or matched at a time, which bounds their memory
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

_BURST_SECONDS = 2  # a client may send the requests of this time at once
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_VERSIONED = f"/api/v{API_VERSION}/"
_UNQUOTED = "!$&'()*+,;=:@"  # may stand in a path segment as they are
_ID_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-_.")


class Edge:
    """The outermost middleware: request id, rate limit, API version, response headers, log, unhandled errors."""

    def __init__(self, app: ASGIApp, metrics: Metrics, buckets: "TokenBuckets") -> None:
        self.app, self.metrics, self.buckets = app, metrics, buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given_id = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), None)
        inner = _rewritten(scope)
        response = _ResponseStart(send, request_id(given_id))
        start = time.perf_counter()
        self.metrics.running.inc()
        try:
            self._limit_rate(inner)
            await self.app(inner, receive, response.send)
        except Exception as error:
            problem = service_error(error)
            inner[CODE] = problem.code
            if problem.code == "internal":
                LOGGER.exception("failure", extra={"facts": {"request_id": response.request_id}})
            if response.status:  # The response has begun and can only be cut off.
                raise
            await problem.response()(inner, receive, response.send)
        finally:
            self.metrics.running.dec()
            self._log(inner, response, time.perf_counter() - start)

    def _limit_rate(self, scope: Scope) -> None:
        if scope["client"] is None or scope["path"].startswith("/health/"):
            return
        wait = self.buckets.take(client_of(scope["client"][0]))
        if wait:
            seconds = str(math.ceil(wait))
            raise ServiceError("too_many_requests", "expected fewer requests", headers={"Retry-After": seconds})

    def _log(self, scope: Scope, response: "_ResponseStart", seconds: float) -> None:
        """Count and log the request by its route, without path and query, which may name users."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "none").replace(":path}", "}").replace(":id}", "}")
        code = scope.get(CODE)
        self.metrics.count_response(method, route, response.status, seconds)
        facts = {"request_id": response.request_id, "method": method, "route": route, "status": response.status}
        if code is not None:
            self.metrics.errors.labels(code).inc()
            facts["code"] = code
        client = scope["client"][0] if scope["client"] else None
        LOGGER.info("request", extra={"facts": facts | {"ms": round(seconds * 1000, 2), "client": client}})


def _rewritten(scope: Scope) -> Scope:
    """The scope for the routes: HEAD becomes GET (the server drops the body), and /api/v1 becomes /api.

    Paths stay percent-encoded in a normal form, so that an encoded slash is part of an id and separates nothing.
    """
    inner = dict(scope)
    if scope["method"] == "HEAD":
        inner["method"] = "GET"
    path = scope["path"]
    if b"%" in scope["raw_path"]:
        segments = scope["raw_path"].decode("latin-1").split("/")
        path = "/".join(quote(unquote(segment), safe=_UNQUOTED) for segment in segments)
    inner["path"] = "/api/" + path.removeprefix(_VERSIONED) if path.startswith(_VERSIONED) else path
    return inner


class _IdConvertor(Convertor[str]):
    """Path parameters of type `id`: one percent-encoded segment."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


register_url_convertor("id", _IdConvertor())


class _ResponseStart:
    """Adds headers to a response and remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self.request_id, self.status = send, request_id, 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"], headers["X-API-Version"] = self.request_id, API_VERSION
            for name, value in SECURITY.items():
                headers.setdefault(name, value)
        await self._send(message)


def request_id(given: str | None) -> str:
    """The client's request id if it is safe in logs and headers, else a new one."""
    if given is not None and 1 <= len(given) <= 64 and _ID_CHARACTERS.issuperset(given):
        return given
    return secrets.token_hex(8)


class TokenBuckets:
    """A token bucket for each client; beyond `capacity` clients, the least recently seen are dropped.

    Args:
        rate: tokens a second; 0 means no limit.
        capacity: number of clients to remember.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, rate: float, capacity: int = MAX_CLIENTS, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.capacity, self.clock = rate, capacity, clock
        self.burst = max(1.0, rate * _BURST_SECONDS)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        if not self.rate:
            return 0.0
        now = self.clock()
        tokens, last = self._buckets.pop(client, (self.burst, now))
        tokens = min(self.burst, tokens + (now - last) * self.rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self.rate
        self._buckets[client] = (tokens if wait else tokens - 1, now)
        if len(self._buckets) > self.capacity:
            self._buckets.popitem(last=False)
        return wait


def client_of(host: str) -> str:
    """The client for rate limits: an IPv4 address, or the /64 network of an IPv6 address."""
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host


class BodyLimit:
    """Reads request bodies whole before the routes see them, and refuses those that are too large.

    Args:
        app: the routes.
        limit: the largest body, in bytes.
        export_limit: the largest body of an export.
    """

    def __init__(self, app: ASGIApp, limit: int, export_limit: int) -> None:
        self.app, self.limit, self.export_limit = app, limit, export_limit
        self._exports = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        if b"content-length" not in headers and b"transfer-encoding" not in headers:
            await self.app(scope, receive, send)
        elif scope["path"] != EXPORTS:
            await self._handle(scope, receive, send, self.limit)
        elif self._exports < MAX_EXPORTS:
            self._exports += 1
            try:
                await self._handle(scope, receive, send, self.export_limit)
            finally:
                self._exports -= 1
        else:
            error = ServiceError("too_many_requests", "expected fewer exports at a time", headers={"Retry-After": "2"})
            await error.response()(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        body = None if length.isdigit() and int(length) > limit else await self._read(receive, limit)
        if body is None:
            message = f"expected a body of at most {limit:,} bytes, found a larger one"
            await ServiceError("too_large", message).response()(scope, receive, send)
            return
        consumed = False

        async def receive_whole() -> Message:
            nonlocal consumed
            if consumed:
                return await receive()
            consumed = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, receive_whole, send)

    async def _read(self, receive: Receive, limit: int) -> bytes | None:
        """The body, or None if it is too large."""
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise ServiceError("too_slow", "expected the rest of the body, found the connection closed")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                return None
            more = message.get("more_body", False)
        return b"".join(parts)

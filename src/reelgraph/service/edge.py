"""What every request passes on its way in and out: its id, its limits, its headers, its failure."""

import secrets
import string

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reelgraph.service.problems import ServiceError, problem_of

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
_ID_SIGNS = frozenset(string.ascii_letters + string.digits + "-_.")


def request_id(given: str | None) -> str:
    """The id that came with a request, if it can stand in a log and a header; else a new one."""
    if given is not None and 1 <= len(given) <= 64 and _ID_SIGNS.issuperset(given):
        return given
    return secrets.token_hex(8)


class Edge:
    """The outermost layer: request id, version in the path, headers of every answer, and failures nobody handled."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), None)
        inner, own = dict(scope), request_id(given)
        if scope["method"] == "HEAD":  # Answered as GET; the server leaves the body out.
            inner["method"] = "GET"
        if scope["path"].startswith("/api/v1/"):
            inner["path"] = "/api" + scope["path"].removeprefix("/api/v1")
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"], headers["X-API-Version"] = own, API_VERSION
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(inner, receive, sending)
        except Exception as error:
            if started:
                raise
            await problem_of(error).response()(scope, receive, sending)


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
        body = None if not length.isdigit() or int(length) > self.most else await self._read(receive)
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

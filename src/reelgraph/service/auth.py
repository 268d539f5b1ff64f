"""Who may read and write ratings, and who may administer the service."""

import hmac
import re
import secrets
import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from pydantic import SecretStr

from reelgraph.service.errors import ServiceError
from reelgraph.service.settings import is_loopback
from reelgraph.service.state import State, state_of

COOKIE = "reelgraph_visitor"
_SHARE, _MAX_DIGITS = "share", 12
_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="the write key or the admin key")
_BEARER = HTTPBearer(auto_error=False, description="a visitor's token")
_VISITOR_COOKIE = APIKeyCookie(name=COOKIE, auto_error=False, description="a visitor's token")
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


@dataclass(frozen=True)
class Writer:
    """The author of a request about ratings.

    Attributes:
        visitor: the visitor whose token the request has, if any.
        any_user: whether the request may concern every user.
    """

    visitor: str | None
    any_user: bool

    def may_access(self, user: str) -> bool:
        """Whether the request may concern a user."""
        return self.any_user or user == self.visitor

    def acting_for(self, user: str | None) -> str:
        """The user whom the request concerns: `user`, or by default the visitor; a ServiceError if not allowed."""
        user = self.visitor if user is None else user
        if user is None:
            raise ServiceError("invalid", "body.user: expected the id of a user, found none")
        if not self.may_access(user):
            raise ServiceError("forbidden", "expected the visitor of this token, found another user")
        return user


async def writer(
    request: Request,
    _key: Annotated[str | None, Security(_KEY)],
    _bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    _cookie: Annotated[str | None, Security(_VISITOR_COOKIE)],
) -> Writer:
    """The author of a request; the parameters document the credentials for OpenAPI."""
    return await writer_of(request)


async def may_administer(request: Request, key: Annotated[str | None, Security(_KEY)]) -> None:
    """Accept the admin key, and with `--open` this machine."""
    state = state_of(request)
    if key is not None and state.keys.admin is not None:
        _check_key(key, state.keys.admin, "admin")
    elif not _is_local(request, state):
        _check_site(request, state)
        if state.keys.admin is None:
            raise ServiceError("forbidden", "administration is off: expected REELGRAPH_ADMIN_KEY to be set, found none")
        raise _unauthorized("the admin key in X-API-Key", "none")


async def writer_of(request: Request) -> Writer:
    """The author of a request.

    Raises:
        ServiceError: `forbidden` if writing is off or the request comes from another site, `unauthorized` if it has
            no valid key or token.
    """
    state = state_of(request)
    key, authorization = (request.headers.get(name) for name in ("x-api-key", "authorization"))
    if key is not None and state.keys.write is not None:
        _check_key(key, state.keys.write, "write")
        return Writer(None, any_user=True)
    if state.writes == "off":
        raise ServiceError("forbidden", "writing is off: expected REELGRAPH_WRITE_KEY to be set, found none")
    if authorization is not None and authorization.lower().startswith("bearer "):
        visitor = await _visitor_of(state, authorization[7:].strip())
        if visitor is None:
            raise _unauthorized("a visitor's token after Bearer", "another")
        return Writer(visitor, any_user=False)
    _check_site(request, state)
    visitor = await _visitor_of(state, request.cookies.get(COOKIE))
    if _is_local(request, state):
        return Writer(visitor, any_user=True)
    if visitor is None:
        raise _unauthorized("the write key in X-API-Key or a visitor's token", "none")
    return Writer(visitor, any_user=False)


async def author_of(request: Request) -> Writer:
    """The author of a request; one who may access nothing where `writer_of` fails."""
    try:
        return await writer_of(request)
    except ServiceError:
        return Writer(None, any_user=False)


async def visitor_token(request: Request) -> tuple[str, str]:
    """The request's visitor, or a new one, and the visitor's token."""
    try:
        visitor = (await writer_of(request)).visitor
    except ServiceError as error:
        if error.code != "unauthorized":
            raise
        visitor = None
    visitor = visitor or f"visitor-{secrets.token_hex(16)}"
    return visitor, f"{visitor}.{_signature(await state_of(request).ledger.secret(), visitor)}"


async def _visitor_of(state: State, token: str | None) -> str | None:
    """The visitor whom a token names, or None if there is no token or its signature is wrong."""
    if not token:
        return None
    visitor, _, signature = token.rpartition(".")
    expected = _signature(await state.ledger.secret(), visitor)
    return visitor if hmac.compare_digest(signature.encode(errors="replace"), expected.encode()) else None


async def share_token(request: Request, visitor: str, expires: int) -> str:
    """A token that lets its holder use a visitor's taste in lists of groups until a time, in seconds since 1970."""
    signature = _signature(await state_of(request).ledger.secret(), _shared(visitor, expires))
    return f"{_SHARE}.{visitor}.{expires}.{signature}"


async def sharer_of(state: State, token: str) -> str:
    """The visitor of a token of `share_token`; ServiceError `unauthorized` if it is none or has expired."""
    kind, _, rest = token.partition(".")
    named, _, signature = rest.rpartition(".")
    visitor, _, until = named.rpartition(".")
    expires = int(until) if until.isascii() and until.isdigit() and len(until) <= _MAX_DIGITS else 0
    expected = _signature(await state.ledger.secret(), _shared(visitor, expires))
    if kind != _SHARE or not hmac.compare_digest(signature.encode(errors="replace"), expected.encode()):
        raise _unauthorized("a share token", "another")
    if expires < time.time():
        raise _unauthorized("a share token that has not expired", "one that has")
    return visitor


def _shared(visitor: str, expires: int) -> str:
    """What the signature of a share token is of; no visitor's id has line breaks, so it is never that of a visitor."""
    return f"{_SHARE}\n{visitor}\n{expires}"


def _signature(secret: bytes, visitor: str) -> str:
    return hmac.digest(secret, visitor.encode(errors="replace"), "sha256").hex()


def _check_key(given: str, expected: SecretStr, role: str) -> None:
    # Headers are decoded as Latin-1, but clients send other characters in UTF-8.
    if not hmac.compare_digest(given.encode("latin-1"), expected.get_secret_value().encode()):
        raise _unauthorized(f"the {role} key in X-API-Key", "another")


def _unauthorized(expected: str, found: str) -> ServiceError:
    return ServiceError("unauthorized", f"expected {expected}, found {found}", headers={"WWW-Authenticate": "ApiKey"})


def _check_site(request: Request, state: State) -> None:
    """Refuse requests without a valid Host, and requests of pages of other sites, which browsers send with cookies."""
    host, origin = request.headers.getlist("host"), request.headers.get("origin")
    if len(host) != 1 or not _HOST.fullmatch(host[0]):
        raise ServiceError("forbidden", "expected one valid Host, found another or none")
    if origin is None or origin in (f"http://{host[0]}", f"https://{host[0]}") or origin in state.settings.sites:
        return
    raise ServiceError("forbidden", "expected a page of this service, found one of another site; see --origins")


def _is_local(request: Request, state: State) -> bool:
    """Whether `--open` applies: the request comes from this machine, by a name of it, and through no proxy."""
    if not state.settings.open or request.client is None or not is_loopback(request.client.host):
        return False
    if any(name in request.headers for name in _FORWARDED):
        return False
    _check_site(request, state)
    host = _HOST.fullmatch(request.headers["host"])
    return host is not None and is_loopback(host["name"].strip("[]"))

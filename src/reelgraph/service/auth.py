"""Who may write ratings and who may administer the service."""

import hmac
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Request, Security
from fastapi.security import APIKeyHeader
from pydantic import SecretStr

from reelgraph.service.errors import ServiceError
from reelgraph.service.settings import LOOPBACK
from reelgraph.service.state import state_of

_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="needed where the service has such a key")

_Key = Annotated[str | None, Security(_HEADER)]


async def may_write(request: Request, key: _Key) -> None:
    """Accept the write key; without such a key, accept this machine if the service listens to it alone."""
    _check(request, key, state_of(request).keys.write, "write")


async def may_administer(request: Request, key: _Key) -> None:
    """Accept the admin key; without such a key, accept this machine if the service listens to it alone."""
    _check(request, key, state_of(request).keys.admin, "admin")


def _check(request: Request, given: str | None, expected: SecretStr | None, role: str) -> None:
    if expected is None:
        if not state_of(request).settings.local:
            name = f"REELGRAPH_{role.upper()}_KEY"
            raise ServiceError(
                "forbidden", f"expected {name} to be set where the service is open to others, found none"
            )
        _check_local(request)
        return
    if given is None or not hmac.compare_digest(given.encode(), expected.get_secret_value().encode()):
        found = "none" if given is None else "another"
        raise ServiceError(
            "unauthorized",
            f"expected the {role} key in X-API-Key, found {found}",
            headers={"WWW-Authenticate": "ApiKey"},
        )


def _check_local(request: Request) -> None:
    """Refuse requests from other machines through a proxy, and from pages of other sites."""
    host, origin = request.url.hostname, request.headers.get("origin")
    client = request.client.host if request.client else None
    if host not in LOOPBACK or client not in LOOPBACK:
        raise ServiceError("forbidden", "expected a request of this machine, found another: set a key for others")
    if origin is not None and urlsplit(origin).netloc != request.url.netloc:
        raise ServiceError("forbidden", "expected a request of this page, found one of another site's")

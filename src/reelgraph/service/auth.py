"""Who may write and who may administer."""

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
    """Let those with the write key write; without such a key, this machine's own users if it serves them alone.

    Raises:
        ServiceError: `unauthorized` or `forbidden`.
    """
    _let_in(request, key, state_of(request).keys.write, "write")


async def may_administer(request: Request, key: _Key) -> None:
    """The same with the admin key.

    Raises:
        ServiceError: `unauthorized` or `forbidden`.
    """
    _let_in(request, key, state_of(request).keys.admin, "admin")


def _let_in(request: Request, given: str | None, wanted: SecretStr | None, role: str) -> None:
    if wanted is None:
        if not state_of(request).settings.local:
            name = f"REELGRAPH_{role.upper()}_KEY"
            raise ServiceError(
                "forbidden", f"expected {name} to be set where the service is open to others, found none"
            )
        _at_home(request)
        return
    if given is None or not hmac.compare_digest(given.encode(), wanted.get_secret_value().encode()):
        found = "none" if given is None else "another"
        raise ServiceError(
            "unauthorized",
            f"expected the {role} key in X-API-Key, found {found}",
            headers={"WWW-Authenticate": "ApiKey"},
        )


def _at_home(request: Request) -> None:
    """Refuse what comes from elsewhere through this machine: a proxy in front, or a page of another site.

    Raises:
        ServiceError: `forbidden`.
    """
    host, origin = request.url.hostname, request.headers.get("origin")
    client = request.client.host if request.client else None
    if host not in LOOPBACK or client not in LOOPBACK:
        raise ServiceError("forbidden", "expected a request of this machine, found another: set a key for others")
    if origin is not None and urlsplit(origin).netloc != request.url.netloc:
        raise ServiceError("forbidden", "expected a request of this page, found one of another site's")

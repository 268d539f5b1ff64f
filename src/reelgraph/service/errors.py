"""Errors of the service, all answered as {"error": {"code", "message", "detail"}}."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from reelgraph.errors import ReelgraphError, UnknownIdError

STATUS = {
    "invalid": 422,
    "unknown_id": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "too_many_requests": 429,
    "unauthorized": 401,
    "forbidden": 403,
    "too_slow": 408,
    "refused": 409,
    "not_ready": 503,
    "database_unavailable": 503,
    "internal": 500,
}
_CODE_OF_STATUS = {status: code for code, status in STATUS.items() if code != "unknown_id"}
_MESSAGES = {
    "not_found": "expected a path of this service, found another",
    "method_not_allowed": "expected another method for this path; the header Allow names them",
}

CODE = "reelgraph.code"  # key of a request's scope: the code of its error, for log and metrics


class ServiceError(Exception):
    """A request that ends in an error response.

    Args:
        code: one of `STATUS`.
        message: what was expected and what was found.
        detail: the same for programs, as JSON values.
        headers: of the response.
    """

    def __init__(self, code: str, message: str, detail: Any = None, headers: Mapping[str, str] | None = None) -> None:
        self.code, self.message, self.detail, self.headers = code, message, detail, headers
        super().__init__(message)

    def body(self) -> bytes:
        """The error as JSON, in ASCII only, since client input may contain lone surrogates."""
        error = {"code": self.code, "message": self.message, "detail": self.detail}
        return json.dumps({"error": error}).encode("ascii")

    def response(self) -> Response:
        """The error response."""
        headers = {"Cache-Control": "no-store"} | dict(self.headers or {})
        return Response(self.body(), STATUS[self.code], headers, "application/json")


def unknown(what: str, name: str) -> ServiceError:
    """The error for an id that the model does not know."""
    return ServiceError("unknown_id", f"{what}: expected an id that the model knows, found another", {"id": name})


def service_error(error: Exception) -> ServiceError:
    """The response to any exception; internal errors are reported without details."""
    match error:
        case ServiceError():
            return error
        case RequestValidationError():
            return _invalid(error)
        case UnknownIdError():
            return ServiceError("unknown_id", error.problem, error.remedy or None)
        case ReelgraphError():
            return ServiceError("invalid", error.problem, error.remedy or None)
        case HTTPException():
            code = _CODE_OF_STATUS.get(error.status_code, "internal" if error.status_code >= 500 else "invalid")
            return ServiceError(code, _MESSAGES.get(code, str(error.detail)), headers=error.headers)
        case _:
            return ServiceError("internal", "an internal error; the log has the details under this request's id")


def _invalid(error: RequestValidationError) -> ServiceError:
    """Where the request is wrong and what is expected there, without the values that the client sent."""
    faults = [
        {"where": ".".join(str(part) for part in fault["loc"]), "expected": fault["msg"], "type": fault["type"]}
        for fault in error.errors()[:10]
    ]
    return ServiceError("invalid", f"{faults[0]['where']}: {faults[0]['expected']}", faults)


def handle_errors(app: FastAPI, page: Callable[[Request, ServiceError], Response | None]) -> None:
    """Make an application answer all errors in this form, or with a page where `page` makes one."""

    async def respond(request: Request, error: Exception) -> Response:
        problem = service_error(error)
        if problem.code == "method_not_allowed" and (methods := app.openapi()["paths"].get(request.url.path)):
            # Starlette names the methods of the first route alone.
            problem.headers = {"Allow": ", ".join(sorted(map(str.upper, methods)))}
        request.scope[CODE] = problem.code
        return page(request, problem) or problem.response()

    for kind in (ServiceError, RequestValidationError, HTTPException, ReelgraphError):
        app.add_exception_handler(kind, respond)

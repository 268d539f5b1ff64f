"""Every failure has one shape: {"error": {"code", "message", "detail"}}."""

import json
from collections.abc import Mapping
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
    "refused": 409,
    "not_ready": 503,
    "database_unavailable": 503,
    "internal": 500,
}

_CODE_OF_STATUS = {status: code for code, status in STATUS.items() if code != "unknown_id"}

CODE = "reelgraph.code"  # of a request's scope: the code of its failure, for log and measures


class ServiceError(Exception):
    """A request that cannot be answered.

    Args:
        code: one of `STATUS`.
        message: what was expected and what was found, for a person.
        detail: the same for a program; JSON values.
        headers: of the answer.
    """

    def __init__(self, code: str, message: str, detail: Any = None, headers: Mapping[str, str] | None = None) -> None:
        self.code, self.message, self.detail, self.headers = code, message, detail, headers
        super().__init__(message)

    def body(self) -> bytes:
        """The one shape, as JSON. ASCII only: a text that came in may hold what UTF-8 cannot say."""
        error = {"code": self.code, "message": self.message, "detail": self.detail}
        return json.dumps({"error": error}).encode("ascii")

    def response(self) -> Response:
        """The answer."""
        headers = {"Cache-Control": "no-store"} | dict(self.headers or {})
        return Response(self.body(), STATUS[self.code], headers, "application/json")


def unknown(what: str, name: str) -> ServiceError:
    """An id that the model does not know."""
    return ServiceError("unknown_id", f"{what}: expected an id that the model knows, found another", {"id": name})


def problem_of(error: Exception) -> ServiceError:
    """What is answered to an error; what is said of a bug is nothing."""
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
            return ServiceError(code, _said(code, str(error.detail)), headers=error.headers)
        case _:
            return ServiceError("internal", "something went wrong here; the log says more under this request's id")


def _said(code: str, detail: str) -> str:
    return {
        "not_found": "expected a path of this service, found another",
        "method_not_allowed": "expected another method for this path; the header Allow names them",
    }.get(code, detail)


def _invalid(error: RequestValidationError) -> ServiceError:
    """Where a request is wrong and what was expected there. What was found is not repeated: it may be anything."""
    faults = [
        {"where": ".".join(str(part) for part in fault["loc"]), "expected": fault["msg"], "type": fault["type"]}
        for fault in error.errors()[:10]
    ]
    first = faults[0]
    return ServiceError("invalid", f"{first['where']}: {first['expected']}", faults)


def handle_problems(app: FastAPI) -> None:
    """Answer every failure in the one shape."""

    async def answer(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        request.scope[CODE] = problem.code
        return problem.response()

    for kind in (ServiceError, RequestValidationError, HTTPException, ReelgraphError):
        app.add_exception_handler(kind, answer)

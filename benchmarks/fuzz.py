"""Sends malformed requests to a running service: python benchmarks/fuzz.py URL.

Most of them violate the OpenAPI document of the service, some are not JSON or not text. Every response must be one that
the document describes, and every error must have the common form.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
TOO_LARGE = 413  # a refusal that schemathesis does not count as one
ROUND = 40  # requests of a kind to one route before the next route
TRACEBACK = "Traceback (most recent call last)"  # whole, since a response may repeat a word of the request
KEY = "REELGRAPH_WRITE_KEY"  # variable with the service's write and admin key
SLOW = "/api/admin/"  # model changes take long; they get a tenth of the requests
NO_JSON = st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode))


def fuzz(url: str, number: int, start: int = 0, key: str = "") -> dict[str, Any]:
    """Send malformed requests to a service, and about half as many valid ones.

    Args:
        url: of the service.
        number: minimum number of malformed requests.
        start: seed of the requests.
        key: for writing and administration.

    Returns:
        The number of requests, of malformed requests, and of responses by status.

    Raises:
        AssertionError: or an error of schemathesis, if a response is wrong.
    """
    schema = schemathesis.openapi.from_url(f"{url}/api/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    counts: Counter[int] = Counter()
    malformed, turn, head, client = 0, start, {"X-API-Key": key}, httpx.Client(timeout=60)

    def ask(case: Case[Any]) -> None:
        answer = case.call()
        rejection = [] if answer.status_code == TOO_LARGE else [negative_data_rejection]
        case.validate_response(answer, checks=[*CHECKS, *rejection])
        _examine(answer, counts)

    def send(address: str, content: bytes) -> None:
        kind = head | {"Content-Type": "application/json"}
        _examine(client.post(address, content=content, headers=kind), counts)

    share = min(ROUND, number // len(operations))
    while malformed < number:
        for operation in operations:
            times = max(2, share // 10 if operation.path.startswith(SLOW) else share)
            before = counts.total()
            _each(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE, headers=head), times, turn, ask)
            if operation.body:
                _each(NO_JSON, times, turn, partial(send, url + operation.path))
            malformed += counts.total() - before
            _each(operation.as_strategy(generation_mode=GenerationMode.POSITIVE, headers=head), times // 2, turn, ask)
        turn += 1
    return {"requests": counts.total(), "malformed": malformed, "answers": dict(sorted(counts.items()))}


def _each(strategy: st.SearchStrategy[Any], times: int, start: int, act: Callable[[Any], None]) -> None:
    """Act on examples of a strategy."""
    profile = settings(
        max_examples=times, database=None, deadline=None, phases=[Phase.generate], print_blob=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    def example(value: Any) -> None:
        act(value)

    try:
        profile(seed(start)(given(strategy)(example)))()
    except Unsatisfiable:  # A route without parameters has no malformed requests.
        return


def _examine(answer: Response | httpx.Response, counts: Counter[int]) -> None:
    """Count a response; raise if it shows an internal error, or an error in another form."""
    counts[answer.status_code] += 1
    text = answer.content.decode(errors="replace")
    if answer.status_code >= 500 or TRACEBACK in text:
        raise AssertionError(f"{answer.status_code}: {text[:500]}")
    if answer.status_code >= 400 and json.loads(text).keys() != {"error"}:
        raise AssertionError(f"{answer.status_code}: expected an error in the common form, found {text[:500]}")


def main() -> None:
    """Send and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(fuzz(options.url, options.number, options.seed, os.environ[KEY])) + "\n")


if __name__ == "__main__":
    main()

"""Requests that nobody would send: python benchmarks/fuzz.py URL, of a running service.

Of the malformed ones, most break what the service's OpenAPI document says of a route, and some are no JSON or no text.
Every answer must be one that the document tells of, and every failure of the one shape.
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
    negative_data_rejection,
]
ROUND = 40  # requests of a kind to a route before the next route
TRACEBACK = "Traceback (most recent call last)"  # a word alone may be one that was sent, and is told back
KEY = "REELGRAPH_WRITE_KEY"  # of this environment, for both of the service's keys
SLOW = "/api/admin/"  # A change of the model takes longer than all else: a tenth as many.
NO_JSON = st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode))


def fuzz(url: str, number: int, start: int = 0, key: str = "") -> dict[str, Any]:
    """Send a number of malformed requests to a service, and about half as many that are well formed.

    Args:
        url: of the service.
        number: of malformed requests, at least.
        start: seed of what is sent.
        key: that lets write and administer.

    Returns:
        The number of requests, of the malformed ones among them, and of answers by status.

    Raises:
        AssertionError: or what schemathesis raises, if an answer is not what it must be.
    """
    schema = schemathesis.openapi.from_url(f"{url}/api/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    counts: Counter[int] = Counter()
    malformed, turn, head, client = 0, start, {"X-API-Key": key}, httpx.Client(timeout=60)

    def ask(case: Case[Any]) -> None:
        answer = case.call()
        case.validate_response(answer, checks=CHECKS)
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
    """Act on what a strategy makes."""
    chosen = settings(
        max_examples=times, database=None, deadline=None, phases=[Phase.generate], print_blob=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    def one(value: Any) -> None:
        act(value)

    try:
        chosen(seed(start)(given(strategy)(one)))()
    except Unsatisfiable:  # A route that takes nothing cannot be asked wrongly.
        return


def _examine(answer: Response | httpx.Response, counts: Counter[int]) -> None:
    """Count an answer; raise if it tells of a bug, or if it is a failure of another shape than all."""
    counts[answer.status_code] += 1
    text = answer.content.decode(errors="replace")
    if answer.status_code >= 500 or TRACEBACK in text:
        raise AssertionError(f"{answer.status_code}: {text[:500]}")
    if answer.status_code >= 400 and json.loads(text).keys() != {"error"}:
        raise AssertionError(f"{answer.status_code}: expected the one shape of failures, found {text[:500]}")


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

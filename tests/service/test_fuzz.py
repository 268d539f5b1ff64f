"""Random malformed requests get the responses that the OpenAPI document describes."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from reelgraph.service.settings import Keys
from tests.support.worlds import benchmark


@pytest.mark.slow
def test_malformed_requests_cause_no_internal_errors(serve: Callable[..., httpx.Client], model_dir: Path) -> None:
    key = "k" * 20
    client = serve(model_dir, Keys(write=SecretStr(key), admin=SecretStr(key)), rate=0)
    counts = benchmark("fuzz").fuzz(str(client.base_url).rstrip("/"), 150, key=key)
    assert counts["malformed"] >= 150
    assert {200, 404, 422} <= counts["answers"].keys()

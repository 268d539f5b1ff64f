"""Requests that nobody would send: none ends in a bug, and all are answered as the document of routes says."""

from collections.abc import Callable
from pathlib import Path

import httpx
from pydantic import SecretStr

from reelgraph.service.settings import Keys
from tests.support.worlds import benchmark


def test_nothing_that_is_sent_ends_in_a_bug(serve: Callable[..., httpx.Client], model_dir: Path) -> None:
    key = "k" * 20
    client = serve(model_dir, Keys(write=SecretStr(key), admin=SecretStr(key)), rate=0)
    found = benchmark("fuzz").fuzz(str(client.base_url).rstrip("/"), 150, key=key)
    assert found["malformed"] >= 150
    assert {200, 404, 422} <= found["answers"].keys()

"""Metrics, logs, request ids, response headers, settings and keys."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from reelgraph.errors import ConfigError
from reelgraph.recommend.recommender import Recommender
from reelgraph.service.settings import Keys, Settings, keys_of
from reelgraph.service.telemetry import LOGGER, JsonLines
from tests.support.serving import until

Serve = Callable[..., httpx.Client]


def samples(client: httpx.Client) -> dict[str, float]:
    """The metrics by name and labels."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = (line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_metrics(serve: Serve, model_dir: Path, model: Recommender) -> None:
    client, movie = serve(model_dir), model.items.id(0)
    for _ in range(3):
        client.post("/api/recommendations", json={"ratings": {movie: 4.0}})
    client.get("/api/movies/zz")
    client.get("/nowhere")
    client.request("BREW", "/api/catalogue")
    client.post("/api/ratings", json={"user": "u", "movie": movie, "rating": 3})
    metrics = samples(client)
    route = "/api/recommendations"
    assert metrics[f'reelgraph_requests_total{{method="POST",route="{route}",status="200"}}'] == 3
    assert metrics['reelgraph_requests_total{method="GET",route="/api/movies/{movie_id}",status="404"}'] == 1
    assert metrics['reelgraph_requests_total{method="GET",route="none",status="404"}'] == 1
    assert metrics[f'reelgraph_request_seconds_count{{route="{route}"}}'] == 3
    assert 0 < metrics[f'reelgraph_request_seconds_sum{{route="{route}"}}'] < 30
    assert metrics[f'reelgraph_request_seconds_bucket{{le="+Inf",route="{route}"}}'] == 3
    assert metrics['reelgraph_errors_total{code="unknown_id"}'] == 1
    assert metrics['reelgraph_errors_total{code="not_found"}'] == 1
    assert metrics["reelgraph_fold_ins_total"] == 3
    assert metrics['reelgraph_database_seconds_count{what="put"}'] == 1
    assert metrics["reelgraph_database_errors_total"] == 0
    assert metrics["reelgraph_requests_running"] == 1  # this one
    created = model.artifact.manifest["created"]
    assert created
    assert 0 < metrics["reelgraph_artifact_age_seconds"] < 1e6
    assert 0 <= metrics["reelgraph_artifact_serving_seconds"] < metrics["reelgraph_artifact_age_seconds"]
    assert metrics["process_resident_memory_bytes"] > 1e7


def test_services_have_separate_metrics(serve: Serve, model_dir: Path) -> None:
    first, second = serve(model_dir), serve(model_dir)
    first.post("/api/recommendations", json={})
    assert samples(first)["reelgraph_fold_ins_total"] == 1
    assert samples(second)["reelgraph_fold_ins_total"] == 0


def lines_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == LOGGER.name]


def test_every_request_is_logged_as_json(
    serve: Serve, model_dir: Path, model: Recommender, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER.name)
    key, user = "k" * 20, model.users.id(0)
    client = serve(model_dir, Keys(write=SecretStr(key), admin=SecretStr(key)))
    caplog.clear()
    client.get(f"/api/users/{user}/recommendations", params={"genre": "Drama"}, headers={"X-Request-ID": "abc-1"})
    given = {"user": "zz-secret", "movie": "1", "rating": 3}
    client.post("/api/ratings", json=given, headers={"X-API-Key": "wrong" + key})
    client.get("/nowhere/zz-secret")
    until(lambda: len(lines_of(caplog)) == 3)  # A line is written when its answer has left.
    first, second, third = lines_of(caplog)
    assert first["request_id"] == "abc-1"
    assert (first["method"], first["route"], first["status"]) == ("GET", "/api/users/{user_id}/recommendations", 200)
    assert first["ms"] > 0
    assert first["client"] == "127.0.0.1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first["time"])
    assert (second["status"], second["code"]) == (401, "unauthorized")
    assert (third["route"], third["code"]) == ("none", "not_found")
    written = json.dumps(lines_of(caplog))
    assert "zz-secret" not in written
    assert key not in written


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-DEF_1.9", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("a b", False),
        ("a\tb", False),
        ('"', False),
    ],
)
def test_valid_request_ids_are_returned(client: httpx.Client, given: str, kept: bool) -> None:
    returned = client.get("/health/live", headers={"X-Request-ID": given}).headers["x-request-id"]
    assert (returned == given) == kept
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", returned)


def test_generated_request_ids_are_unique(client: httpx.Client) -> None:
    assert len({client.get("/health/live").headers["x-request-id"] for _ in range(20)}) == 20


@pytest.mark.parametrize("path", ["/", "/docs", "/api/catalogue", "/nowhere", "/metrics", "/static/index.html"])
def test_security_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert "http" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "server" not in headers


def test_other_sites_need_to_be_allowed(serve: Serve, model_dir: Path) -> None:
    site = {"Origin": "https://cinema.example"}
    asking = site | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    closed = serve(model_dir)
    assert "access-control-allow-origin" not in closed.get("/api/catalogue", headers=site).headers
    assert closed.options("/api/recommendations", headers=asking).status_code == 405
    opened = serve(model_dir, origins="https://cinema.example, https://other.example")
    assert opened.get("/api/catalogue", headers=site).headers["access-control-allow-origin"] == site["Origin"]
    assert opened.options("/api/recommendations", headers=asking).status_code == 200
    stranger = {"Origin": "https://elsewhere.example"}
    assert "access-control-allow-origin" not in opened.get("/api/catalogue", headers=stranger).headers


def test_the_docs_load_nothing_from_other_hosts(client: httpx.Client) -> None:
    page = client.get("/docs").text
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 5
    for source in sources:
        assert source.startswith("/docs/")
        assert client.get(source).status_code == 200
    assert "<script>" not in page
    assert "style=" not in page


def test_the_openapi_document(client: httpx.Client) -> None:
    document = client.get("/api/openapi.json").json()
    assert document["info"]["version"] == "1"
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, facts in methods.items():
            assert facts.get("summary"), f"{method} {path}"
            assert facts.get("description"), f"{method} {path}"
            assert {"422", "429", "500", "503"} <= facts["responses"].keys()
            own = ("/api/admin", "/api/ratings", "/api/shares")
            keyed = path.startswith(own) or path.endswith("ratings") or method == "delete"
            assert ("security" in facts) == keyed
            assert ("401" in facts["responses"]) == (keyed or path in {"/api/visitors", "/api/recommendations"})


def test_keys_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("f" * 20 + "\n")
    keys = keys_of({"REELGRAPH_WRITE_KEY": "w" * 20, "REELGRAPH_ADMIN_KEY_FILE": str(file)})
    assert keys.write is not None
    assert keys.admin is not None
    assert (keys.write.get_secret_value(), keys.admin.get_secret_value()) == ("w" * 20, "f" * 20)
    assert keys_of({}) == Keys()
    assert "w" * 20 not in repr(keys) + str(keys)
    with pytest.raises(ConfigError, match="16 characters"):
        keys_of({"REELGRAPH_WRITE_KEY": "short"})
    with pytest.raises(ConfigError, match="found both"):
        keys_of({"REELGRAPH_ADMIN_KEY": "w" * 20, "REELGRAPH_ADMIN_KEY_FILE": str(file)})
    with pytest.raises(ConfigError, match="REELGRAPH_WRITE_KEY_FILE: expected a text file"):
        keys_of({"REELGRAPH_WRITE_KEY_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize("given", [{"port": 70000}, {"rate": -1}, {"watch": -1}, {"body_limit": 3}, {"prt": 1}])
def test_settings_are_checked(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        Settings(**given)

"""Errors of all routes have the common form."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from reelgraph.recommend.recommender import Recommender
from reelgraph.service.app import create_app
from reelgraph.service.errors import STATUS
from reelgraph.service.settings import Keys, Settings
from reelgraph.service.state import State
from tests.support.serving import serving

Route = tuple[str, str, Any]
Serve = Callable[..., httpx.Client]
WRITE, ADMIN = "w" * 20, "a" * 20
KEYS = Keys(write=SecretStr(WRITE), admin=SecretStr(ADMIN))

# Every route of the OpenAPI document with a request that it answers with 200: method, path, body. M is a movie that the
# model knows, U a user.
READS: list[Route] = [
    ("GET", "/api/catalogue", None),
    ("GET", "/api/movies", None),
    ("GET", "/api/movies/{movie_id}", None),
    ("GET", "/api/movies/{movie_id}/similar", None),
    ("GET", "/api/users/{user_id}/recommendations", None),
    ("POST", "/api/recommendations", {"ratings": {"M": 3.0}}),
    ("POST", "/api/questions", {"ratings": {"M": 3.0}}),
    ("POST", "/api/explanations", {"movie": "M", "ratings": {}}),
    ("GET", "/api/insights", None),
    ("GET", "/api/insights/compare?user={user_id}", None),
]
EXPORTS: list[Route] = [("POST", "/api/exports", "movieId,rating\nM,3\n")]
TOKENS: list[Route] = [("POST", "/api/visitors", None)]
OWN: list[Route] = [("GET", "/api/visitors", None), ("DELETE", "/api/visitors", None)]  # with a visitor's token
WRITES: list[Route] = [
    ("POST", "/api/ratings", {"user": "U", "movie": "M", "rating": 3.0}),
    ("POST", "/api/ratings/batch", {"user": "U", "ratings": {"M": 3.0}}),
    ("GET", "/api/users/{user_id}/ratings", None),
    ("DELETE", "/api/users/{user_id}/ratings/{movie_id}", None),
    ("DELETE", "/api/users/{user_id}", None),
    ("POST", "/api/shares", {"user": "U"}),
]
ADMINS: list[Route] = [
    ("POST", "/api/admin/reload", {}),
    ("POST", "/api/admin/rollback", None),
    ("GET", "/api/admin/learning", None),
]
PLAIN: list[Route] = [("GET", "/health/live", None), ("GET", "/health/ready", None), ("GET", "/metrics", None)]
ROUTES = READS + EXPORTS + TOKENS + OWN + WRITES + ADMINS + PLAIN
PAGES: list[Route] = [
    ("GET", "/", None),
    ("GET", "/insights", None),
    ("GET", "/static/index.html", None),
    ("GET", "/docs", None),
]


def ask(client: httpx.Client, model: Recommender, route: Route, **more: Any) -> httpx.Response:
    method, path, body = route
    names = {"movie_id": model.items.id(0), "user_id": model.users.id(0)}
    if isinstance(body, str) and "content" not in more:
        more["content"] = body.replace("M", names["movie_id"])
    elif body is not None and "content" not in more:
        text = json.dumps(body).replace('"M"', f'"{names["movie_id"]}"').replace('"U"', f'"{names["user_id"]}"')
        more["json"] = json.loads(text)
    return client.request(method, path.format(**names), **more)


def failed(answer: httpx.Response, code: str) -> dict[str, Any]:
    """The error of a response, which must have this code and the common form."""
    assert answer.status_code == STATUS[code], answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    document = answer.json()
    assert document.keys() == {"error"}
    error: dict[str, Any] = document["error"]
    assert error.keys() == {"code", "message", "detail"}
    assert error["code"] == code
    assert error["message"]
    assert isinstance(error["message"], str)
    assert "Traceback" not in answer.text
    return error


def named(route: Route) -> str:
    return f"{route[0]} {route[1].partition('?')[0]}"


def test_the_tests_cover_all_routes(client: httpx.Client) -> None:
    paths = client.get("/api/openapi.json").json()["paths"]
    documented = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert documented == {named(route) for route in ROUTES}


@pytest.mark.parametrize("route", [*READS, *EXPORTS, *TOKENS, *WRITES, *PLAIN, *PAGES, ADMINS[0]], ids=named)
def test_valid_requests_succeed(client: httpx.Client, model: Recommender, route: Route) -> None:
    assert ask(client, model, route).status_code == 200


@pytest.mark.parametrize("route", ROUTES + PAGES, ids=named)
def test_unknown_methods(client: httpx.Client, model: Recommender, route: Route) -> None:
    answer = ask(client, model, ("PATCH", *route[1:]))
    failed(answer, "method_not_allowed")
    assert route[0] in answer.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/api", "/api/nothing", "/static/../app.py", "/static/x.js", "/docs/x", "/api/v2/movies"]
)
def test_unknown_paths(client: httpx.Client, path: str) -> None:
    failed(client.get(path), "not_found")


@pytest.mark.parametrize("route", [route for route in READS + WRITES if "{" in route[1]], ids=named)
def test_unknown_ids_in_paths(client: httpx.Client, model: Recommender, route: Route) -> None:
    method, path, body = route
    answer = client.request(method, path.format(movie_id="zz", user_id="zz"), json=body)
    if route in WRITES:  # The database need not know anyone.
        assert answer.status_code == 200
    else:
        error = failed(answer, "unknown_id")
        assert error["detail"] == {"id": "zz"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/explanations", {"movie": "zz", "ratings": {}}),
        ("/api/explanations", {"movie": "1e+99999999999999999999", "ratings": {}}),
        ("/api/explanations", {"movie": "10", "user": "zz"}),
        ("/api/recommendations", {"genre": "Dramma"}),
        ("/api/ratings", {"user": "u", "movie": "zz", "rating": 3}),
        ("/api/ratings/batch", {"user": "u", "ratings": {"zz": 3}}),
    ],
)
def test_unknown_ids_in_bodies(client: httpx.Client, path: str, body: Any) -> None:
    failed(client.post(path, json=body), "unknown_id")


LONG = "x" * 101
WRONG: list[tuple[str, str, Any, str]] = [
    ("POST", "/api/recommendations", body, where)
    for body, where in (
        ({"ratings": {"10": 6}}, ""),
        ({"ratings": {"10": "3"}}, "body.ratings.10"),
        ({"ratings": {"10": True}}, "body.ratings.10"),
        ({"ratings": {LONG: 3}}, f"body.ratings.{LONG}.[key]"),
        ({"ratings": {"a\nb": 3}}, "body.ratings.a\nb.[key]"),
        ({"ratings": {str(number): 3 for number in range(2001)}}, "body.ratings"),
        ({"ratings": []}, "body.ratings"),
        ({"k": 0}, "body.k"),
        ({"k": 101}, "body.k"),
        ({"k": 100}, ""),  # more than this catalogue has
        ({"k": "10"}, "body.k"),
        ({"offset": -1}, "body.offset"),
        ({"offset": 1001}, "body.offset"),
        ({"genre": ""}, "body.genre"),
        ({"year": "199"}, ""),
        ({"year": "1999-1990"}, ""),
        ({"order": "worst"}, "body.order"),
        ({"diversity": 1.5}, "body.diversity"),
        ({"exclude": ["x"] * 10_001}, "body.exclude"),
        ({"exclude": "10"}, "body.exclude"),
        ({"only": ["x"] * 10_001}, "body.only"),
        ({"ratngs": {}}, "body.ratngs"),
        ([], "body"),
    )
] + [
    ("POST", "/api/explanations", {"movie": "10"}, ""),
    ("POST", "/api/explanations", {"movie": "10", "user": "1", "ratings": {}}, ""),
    ("POST", "/api/explanations", {"ratings": {}}, "body.movie"),
    ("POST", "/api/explanations", {"movie": "10", "ratings": {"10": 0.0}}, ""),
    ("POST", "/api/explanations", {"movie": "10", "ratings": {}, "neighbours": 1}, "body.neighbours"),
    ("POST", "/api/ratings", {"user": "", "movie": "10", "rating": 3}, "body.user"),
    ("POST", "/api/ratings", {"user": "\x00", "movie": "10", "rating": 3}, "body.user"),
    ("POST", "/api/ratings", {"user": "u", "movie": "10", "rating": 5.5}, ""),
    ("POST", "/api/ratings", {"user": "u", "movie": "10"}, "body.rating"),
    ("POST", "/api/ratings/batch", {"user": "u", "ratings": {}}, "body.ratings"),
    ("POST", "/api/ratings/batch", {"user": "u", "ratings": {"10": 5.5}}, ""),
    ("POST", "/api/admin/reload", {"path": ""}, "body.path"),
    ("GET", f"/api/movies?q={2 * LONG}", None, "query.q"),
    ("GET", "/api/movies?limit=0", None, "query.limit"),
    ("GET", "/api/movies?offset=-1", None, "query.offset"),
    ("GET", "/api/movies?year=x", None, "query.year"),
    ("GET", f"/api/movies/{LONG}", None, "path.movie_id"),
    ("GET", "/api/movies/10/similar?k=0", None, "query.k"),
    ("GET", f"/api/users/{LONG}/recommendations", None, "path.user_id"),
    ("GET", "/api/users/1/recommendations?order=worst", None, "query.order"),
    ("GET", f"/api/users/{LONG}/ratings", None, "path.user_id"),
    ("DELETE", "/api/users/%00", None, "path.user_id"),
    ("DELETE", f"/api/users/1/ratings/{LONG}", None, "path.movie_id"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "where"), WRONG)
def test_values_out_of_bounds(client: httpx.Client, method: str, path: str, body: Any, where: str) -> None:
    error = failed(client.request(method, path, json=body), "invalid")
    if where:
        assert where in [fault["where"] for fault in error["detail"]]
    assert len(error["message"]) < 300


@pytest.mark.parametrize("route", [route for route in ROUTES if route[2] is not None], ids=named)
@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe",
        b'{"ratings": {"10": NaN}}',
        b'{"ratings": {"10": 1e999}}',
        b'{"ratings": {"\\ud800": 3}}',
        b'{"k": ' + b"9" * 5000 + b"}",
        b"[" * 20_000,
        b'"text"',
        b"ratings=3",
    ],
    ids=lambda content: content[:12].decode("latin-1"),
)
def test_malformed_bodies(client: httpx.Client, model: Recommender, route: Route, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    failed(ask(client, model, route, content=content, headers=headers), "invalid")


def test_a_body_of_another_content_type(client: httpx.Client) -> None:
    failed(client.post("/api/recommendations", content=b"{}", headers={"Content-Type": "text/plain"}), "invalid")


@pytest.mark.parametrize("route", [route for route in ROUTES + PAGES if route not in EXPORTS], ids=named)
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_over_the_limit(client: httpx.Client, model: Recommender, route: Route, chunked: bool) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(70):
            yield b" " * 4096

    content: Any = chunks() if chunked else b" " * 270_000
    failed(ask(client, model, route, content=content, headers={"Content-Type": "application/json"}), "too_large")


def test_a_body_of_unknown_length_is_read(client: httpx.Client) -> None:
    answer = client.post(
        "/api/recommendations", content=iter([b'{"k"', b": 3}"]), headers={"Content-Type": "application/json"}
    )
    assert len(answer.json()["movies"]) == 3


@pytest.mark.parametrize("route", WRITES + ADMINS, ids=named)
def test_keys(serve: Serve, model_dir: Path, model: Recommender, route: Route) -> None:
    client = serve(model_dir, KEYS)
    right, other = (ADMIN, WRITE) if route in ADMINS else (WRITE, ADMIN)
    for key in (None, "x", other, right + "x", right[:-1], b"\xe4" * 20):
        answer = ask(client, model, route, headers=None if key is None else {"X-API-Key": key})
        error = failed(answer, "unauthorized")
        assert "www-authenticate" in answer.headers
        assert WRITE not in json.dumps(error)
        assert ADMIN not in json.dumps(error)
    answer = ask(client, model, route, headers={"X-API-Key": right})
    assert answer.status_code == (409 if route[1].endswith("rollback") else 200)
    assert client.get("/api/catalogue").json()["writes"] == "key"


@pytest.mark.parametrize("route", WRITES + ADMINS, ids=named)
def test_other_addresses_need_a_key(serve: Serve, model_dir: Path, model: Recommender, route: Route) -> None:
    client = serve(model_dir, host="0.0.0.0")
    failed(ask(client, model, route), "forbidden")
    assert client.get("/api/catalogue").json()["writes"] == "off"
    assert client.get("/health/ready").json()["database"] == "off"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "cinema.example"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"X-Forwarded-For": "203.0.113.7"},
    ],
    ids=str,
)
def test_foreign_requests_cannot_write_but_read(
    client: httpx.Client, model: Recommender, headers: dict[str, str]
) -> None:
    client.cookies.clear()  # another test may have become a visitor
    for route in WRITES:
        failed(ask(client, model, route, headers=headers), "forbidden" if "Origin" in headers else "unauthorized")
    for route in ADMINS:
        failed(ask(client, model, route, headers=headers), "forbidden")
    for route in READS:
        assert ask(client, model, route, headers=headers).status_code == 200


def test_the_own_page_can_write(client: httpx.Client, model: Recommender) -> None:
    own = str(client.base_url).rstrip("/")
    assert ask(client, model, WRITES[0], headers={"Origin": own}).status_code == 200


def test_requests_over_the_rate(serve: Serve, model_dir: Path, model: Recommender) -> None:
    client = serve(model_dir, rate=0.01)
    assert client.get("/health/live").status_code == 200
    assert client.get("/api/movies").status_code == 200
    for route in [*READS, *WRITES, *ADMINS, *PAGES, PLAIN[2]]:
        answer = ask(client, model, route)
        failed(answer, "too_many_requests")
        assert 90 <= int(answer.headers["retry-after"]) <= 100
    for route in PLAIN[:2]:  # Those who look after the service are never too many.
        assert ask(client, model, route).status_code == 200


def test_requests_before_the_first_model(serve: Serve, model: Recommender, tmp_path: Path) -> None:
    client = serve(tmp_path, wait=True)
    for route in [*READS, *WRITES[:2], PLAIN[1]]:
        answer = ask(client, model, route)
        failed(answer, "not_ready")
        assert answer.headers["retry-after"]
    for route in [*WRITES[2:], *PAGES, PLAIN[0], PLAIN[2]]:
        assert ask(client, model, route).status_code == 200
    failed(ask(client, model, ADMINS[0]), "refused")


def test_requests_without_the_database(model_dir: Path, model: Recommender, tmp_path: Path) -> None:
    settings = Settings(database="postgresql+psycopg://nobody@127.0.0.1:1/none", watch=0, open=True)
    with serving(create_app(model_dir, settings), settings) as client:
        for route in WRITES:
            error = failed(ask(client, model, route), "database_unavailable")
            assert "127.0.0.1" not in json.dumps(error)
        for route in READS:
            assert ask(client, model, route).status_code == 200
        assert client.get("/health/ready").json()["database"] == "unavailable"
        assert re.search(r"reelgraph_database_errors_total [1-9]", client.get("/metrics").text)


def test_internal_errors_reveal_nothing(
    model_dir: Path, model: Recommender, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(database=str(tmp_path / "ratings.sqlite"), watch=0, open=True)
    app = create_app(model_dir, settings)

    def broken(*_: object) -> None:
        raise RuntimeError("a secret of ours")

    parts: State = app.state.service
    for owner, name in ((parts.current, "get"), (parts.current, "load"), (parts.current, "rollback")):
        setattr(owner, name, broken)
    parts.ledger._timed = broken  # type: ignore[assignment]
    parts.metrics.text = broken  # type: ignore[assignment]
    with serving(app, settings) as client:
        for route in [*READS, *WRITES, *ADMINS, *PLAIN[1:]]:
            answer = ask(client, model, route)
            failed(answer, "internal")
            assert "secret" not in answer.text
    assert "a secret of ours" in caplog.text

"""Who may read and write ratings: key, visitor's token, --open, and requests through proxies and from other sites."""

import re
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from reelgraph.errors import ConfigError
from reelgraph.recommend.recommender import Recommender
from reelgraph.service.app import create_app
from reelgraph.service.auth import COOKIE
from reelgraph.service.settings import Keys, Settings, keys_of
from tests.service.test_process import running
from tests.support.commands import CommandLine
from tests.support.serving import PATIENCE

Serve = Callable[..., httpx.Client]
KEY = "k" * 20
KEYS = Keys(write=SecretStr(KEY))
WITH_KEY = {"X-API-Key": KEY}


def rating(movie: str, user: str | None = None, stars: float = 4.0) -> dict[str, Any]:
    body = {"movie": movie, "rating": stars}
    return body if user is None else body | {"user": user}


def new_visitor(client: httpx.Client) -> tuple[str, dict[str, str]]:
    """The id of a new visitor, and the header with the token."""
    answer = client.post("/api/visitors").json()
    client.cookies.clear()
    return answer["user"], {"Authorization": f"Bearer {answer['token']}"}


@pytest.fixture
def movie(model: Recommender) -> str:
    return model.items.id(0)


@pytest.fixture
def client(serve: Serve, model_dir: Path) -> httpx.Client:
    """A service with a write key."""
    return serve(model_dir, KEYS)


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"]) if answer.status_code != 200 else "ok"


def test_a_visitor_reads_changes_and_deletes_own_ratings(client: httpx.Client, movie: str) -> None:
    user, token = new_visitor(client)
    stored = client.post("/api/ratings", json=rating(movie), headers=token)
    assert (stored.json()["user"], stored.json()["rating"]) == (user, 4.0)
    assert client.post("/api/ratings/batch", json={"ratings": {movie: 2}}, headers=token).json() == {"written": 1}
    answer = client.get(f"/api/users/{user}/ratings", headers=token).json()
    assert [entry["rating"] for entry in answer["ratings"]] == [2.0]
    assert client.get(f"/api/users/{user}/recommendations", headers=token).status_code == 200
    assert client.delete(f"/api/users/{user}/ratings/{movie}", headers=token).json() == {"deleted": 1}
    assert client.delete(f"/api/users/{user}", headers=token).json() == {"deleted": 3}


def test_a_visitor_cannot_touch_or_see_anybody_else(client: httpx.Client, movie: str, model: Recommender) -> None:
    other, other_token = new_visitor(client)
    client.post("/api/ratings", json=rating(movie), headers=other_token)
    client.post("/api/ratings", json=rating(movie, "bob"), headers=WITH_KEY)
    _, token = new_visitor(client)
    for user in (other, "bob", model.users.id(0)):
        for answer in (
            client.post("/api/ratings", json=rating(movie, user, 1), headers=token),
            client.post("/api/ratings/batch", json={"user": user, "ratings": {movie: 1}}, headers=token),
            client.get(f"/api/users/{user}/ratings", headers=token),
            client.delete(f"/api/users/{user}/ratings/{movie}", headers=token),
            client.delete(f"/api/users/{user}", headers=token),
        ):
            assert code(answer) == "forbidden"
    for user in (other, "bob"):  # Known by ratings given here only: nobody else learns that they exist.
        for headers in (token, {}):
            assert code(client.get(f"/api/users/{user}/recommendations", headers=headers)) == "unknown_id"
        assert [
            entry["rating"] for entry in client.get(f"/api/users/{user}/ratings", headers=WITH_KEY).json()["ratings"]
        ] == [4.0]
        assert client.get(f"/api/users/{user}/recommendations", headers=WITH_KEY).status_code == 200
    assert client.get(f"/api/users/{model.users.id(0)}/recommendations").status_code == 200


def test_the_cookie_is_the_token(client: httpx.Client, movie: str) -> None:
    answer = client.post("/api/visitors")
    attributes = answer.headers["set-cookie"].lower()
    assert "httponly" in attributes
    assert "samesite=strict" in attributes
    assert "secure" not in attributes, "over plain HTTP browsers would not send it back"
    user = answer.json()["user"]
    assert client.post("/api/visitors").json() == answer.json(), "a visitor stays the same one"
    assert client.post("/api/ratings", json=rating(movie)).json()["user"] == user
    own = str(client.base_url).rstrip("/")
    assert client.post("/api/ratings", json=rating(movie), headers={"Origin": own}).status_code == 200
    for origin in ("https://elsewhere.example", "null", "http://[", f"{own}.example"):
        for path, body in (("/api/ratings", rating(movie)), ("/api/visitors", None)):
            assert code(client.post(path, json=body, headers={"Origin": origin})) == "forbidden"
    client.cookies.clear()
    assert client.post("/api/visitors").json()["user"] != user


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"),
        lambda token: "bob." + token.partition(".")[2],
        lambda token: token.partition(".")[0],
        lambda token: token.partition(".")[0] + ".",
        lambda token: "." + token.partition(".")[2],
        lambda _: "",
        lambda _: "é" * 20,
        lambda _: "." * 60_000,
    ],
)
def test_a_token_that_was_not_given_out(client: httpx.Client, movie: str, spoil: Callable[[str], str]) -> None:
    _, header = new_visitor(client)
    token = spoil(header["Authorization"].removeprefix("Bearer ")).encode()
    for headers in ({b"Authorization": (b"Bearer " + token).strip()}, {b"Cookie": f"{COOKIE}=".encode() + token}):
        assert code(client.post("/api/ratings", json=rating(movie), headers=headers)) == "unauthorized"


def test_tokens_stay_valid_after_a_restart_and_on_other_servers(serve: Serve, model_dir: Path, movie: str) -> None:
    user, token = new_visitor(serve(model_dir, KEYS))
    again = serve(model_dir, Keys(write=SecretStr("another key of it")))
    assert again.post("/api/ratings", json=rating(movie), headers=token).json()["user"] == user


def test_without_a_key_nothing_is_written(serve: Serve, model_dir: Path, movie: str) -> None:
    for client in (serve(model_dir, Keys()), serve(model_dir, host="0.0.0.0")):
        for method, path, body in (
            ("POST", "/api/visitors", None),
            ("POST", "/api/ratings", rating(movie, "bob")),
            ("DELETE", "/api/users/bob", None),
            ("POST", "/api/admin/reload", {}),
        ):
            assert code(client.request(method, path, json=body)) == "forbidden"
        assert client.get("/api/catalogue").json()["writes"] == "off"


def test_the_write_key_does_not_administer(client: httpx.Client, movie: str) -> None:
    assert client.post("/api/ratings", json=rating(movie, "bob"), headers=WITH_KEY).status_code == 200
    assert code(client.post("/api/ratings", json=rating(movie), headers=WITH_KEY)) == "invalid", "it names no user"
    assert code(client.post("/api/admin/reload", headers=WITH_KEY)) == "forbidden", "there is no admin key"


HOSTS = [b"[", b"a b", b"", b"]:80", b"127.0.0.1:x", b"http://127.0.0.1", b"127.0.0.1@evil.example", b"\xff"]


def raw_request(client: httpx.Client, lines: list[bytes], body: bytes) -> bytes:
    """Status line of the answer to a request sent as it is."""
    with closing(socket.create_connection((client.base_url.host, client.base_url.port or 0), PATIENCE)) as connection:
        head = [b"POST /api/ratings HTTP/1.0", b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
        connection.sendall(b"\r\n".join([*head, *lines, b"", body]))
        return connection.makefile("rb").readline()


@pytest.mark.parametrize("host", [None, *HOSTS])
def test_with_open_only_this_machine_writes_whatever_the_host(
    serve: Serve, model_dir: Path, movie: str, host: bytes | None
) -> None:
    client, body = serve(model_dir), f'{{"user": "a", "movie": "{movie}", "rating": 4}}'.encode()
    lines = [] if host is None else [b"Host: " + host]
    assert raw_request(client, lines, body)[9:12] in (b"400", b"403")
    assert raw_request(client, [b"Host: localhost", *lines], body)[9:12] in (b"400", b"403") if lines else True
    assert raw_request(client, [b"Host: localhost"], body)[9:12] == b"200"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "cinema.example"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://127.0.0.1:99999999"},
        {"X-Forwarded-For": "203.0.113.7"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=203.0.113.7"},
        {"Via": "1.1 proxy"},
    ],
    ids=str,
)
def test_with_open_nobody_writes_through_a_proxy_or_another_site(
    serve: Serve, model_dir: Path, movie: str, headers: dict[str, str]
) -> None:
    client = serve(model_dir)
    for method, path, body in (
        ("POST", "/api/ratings", rating(movie, "bob")),
        ("GET", "/api/users/bob/ratings", None),
        ("POST", "/api/admin/reload", {}),
    ):
        assert client.request(method, path, json=body, headers=headers).status_code in (401, 403)


def test_open_is_for_loopback_addresses(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0"):
        create_app(model_dir, Settings(open=True, host="0.0.0.0", database=str(tmp_path / "r.sqlite")))


def test_forwarded_addresses_count_from_named_proxies_only(serve: Serve, model_dir: Path) -> None:
    def answers(client: httpx.Client) -> list[int]:
        return [client.get("/", headers={"X-Forwarded-For": f"203.0.113.{n}"}).status_code for n in range(4)]

    assert answers(serve(model_dir, rate=0.01)) == [200, 429, 429, 429], "one client, whatever it says"
    assert answers(serve(model_dir, rate=0.01, proxies="127.0.0.0/8")) == [200] * 4


def test_an_encoded_slash_is_part_of_an_id(client: httpx.Client, movie: str) -> None:
    for user in ("bob", f"bob/ratings/{movie}", "%2F", "a+b c", "."):
        client.post("/api/ratings", json=rating(movie, user), headers=WITH_KEY)
    assert client.delete(f"/api/users/bob%2Fratings%2F{movie}", headers=WITH_KEY).json() == {"deleted": 2}
    for path in ("bob", "%252F", "a+b%20c", "%2e"):
        answer = client.get(f"/api/users/{path}/ratings", headers=WITH_KEY)
        assert len(answer.json()["ratings"]) == 1, path
    assert client.get("/%61pi/%63atalogue").status_code == 200
    assert code(client.get(f"/api/users/bob/ratings/{movie}", headers=WITH_KEY)) == "method_not_allowed"


@pytest.mark.parametrize("key", ["é" * 20, "key with spaces in it", "k" * 20])
def test_keys_of_any_printable_characters_work(serve: Serve, model_dir: Path, movie: str, key: str) -> None:
    client = serve(model_dir, keys_of({"REELGRAPH_WRITE_KEY": key}))
    for given, status in ((key, 200), (key[:-1] + "x", 401)):
        answer = client.post("/api/ratings", json=rating(movie, "bob"), headers={b"X-API-Key": given.encode()})
        assert answer.status_code == status


@pytest.mark.parametrize("value", ["", " " * 20, "short", "k" * 20 + "\n", "k" * 20 + "\x00", "k" * 20 + "\udcff"])
def test_keys_that_cannot_be_used_are_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="REELGRAPH_WRITE_KEY"):
        keys_of({"REELGRAPH_WRITE_KEY": value})


def test_key_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff" * 20)
    for file in ("/dev/null", "/dev/zero", str(tmp_path), str(tmp_path / "none"), *map(str, tmp_path.iterdir()), ""):
        with pytest.raises(ConfigError, match="REELGRAPH_ADMIN_KEY"):
            keys_of({"REELGRAPH_ADMIN_KEY_FILE": file})


def test_a_local_service_prints_a_key_for_its_run(model_dir: Path, tmp_path: Path, movie: str) -> None:
    with running(model_dir, tmp_path) as (process, address):
        assert process.stdout is not None
        key = process.stdout.readline().rpartition(" ")[2].strip()
        assert len(key) >= 20
        for headers, status in (({}, 401), ({"X-API-Key": key}, 200)):
            for path, body in (("/api/ratings", rating(movie, "bob")), ("/api/admin/reload", {})):
                answer = httpx.post(f"{address}{path}", json=body, headers=headers, timeout=PATIENCE)
                assert answer.status_code == status
    assert key not in (tmp_path / "log").read_text()


def test_serve_refuses_an_empty_key_file(
    command: CommandLine, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REELGRAPH_WRITE_KEY_FILE", "/dev/null")
    done = command("serve", model_dir, "--port", 0)
    assert done.returncode == 2
    assert re.search("REELGRAPH_WRITE_KEY.*empty", done.stderr)

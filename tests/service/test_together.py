"""Lists for several people over HTTP, and share tokens."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from reelgraph.recommend.recommender import Recommender
from reelgraph.service.settings import Keys
from tests.service.test_access import code, new_visitor

KEY = "k" * 20
WITH_KEY = {"X-API-Key": KEY}
Headers = dict[str, str]


@pytest.fixture
def client(serve: Callable[..., httpx.Client], model_dir: Path) -> httpx.Client:
    return serve(model_dir, Keys(write=SecretStr(KEY)))


@pytest.fixture
def ratings(model: Recommender) -> dict[str, float]:
    return {model.items.id(index): stars for index, stars in ((1, 5.0), (5, 1.0), (9, 4.0), (20, 3.0))}


def group(client: httpx.Client, together: list[dict[str, Any]], headers: Headers | None = None, **body: Any) -> Any:
    return client.post("/api/recommendations", json={"together": together} | body, headers=headers or {})


def sharing(client: httpx.Client, ratings: dict[str, float], **body: Any) -> tuple[str, Headers, str]:
    """A visitor with stored ratings: id, header and a share token."""
    user, token = new_visitor(client)
    assert client.post("/api/ratings/batch", json={"ratings": ratings}, headers=token).status_code == 200
    answer = client.post("/api/shares", json=body, headers=token)
    assert answer.status_code == 200
    assert answer.json()["expires"] == pytest.approx(time.time() + 3600 * body.get("hours", 168), abs=60)
    return user, token, answer.json()["share"]


def test_group_lists_match_the_library(client: httpx.Client, model: Recommender, ratings: dict[str, float]) -> None:
    other = {model.items.id(30): 5.0}
    for strategy in ("fair", "average", "least-misery"):
        asked = group(client, [{"ratings": other, "name": "Ann"}], ratings=ratings, strategy=strategy, k=6)
        expected = model.recommend_together({"you": ratings, "Ann": other}, strategy=strategy, k=6)
        movies = asked.json()["movies"]
        assert [movie["movie_id"] for movie in movies] == [line.movie.movie_id for line in expected]
        for movie, line in zip(movies, expected, strict=True):
            assert movie["prediction"] == line.prediction
            assert [member["name"] for member in movie["members"]] == ["you", "Ann"]
            assert [member["prediction"] for member in movie["members"]] == [
                opinion.prediction for opinion in line.opinions
            ]
        assert any(member["because"] for movie in movies for member in movie["members"])
        assert asked.json()["order_reason"]
    pages = [group(client, [{"ratings": other}], ratings=ratings, k=3, offset=at).json()["movies"] for at in (0, 3)]
    whole = group(client, [{"ratings": other}], ratings=ratings, k=6).json()["movies"]
    assert pages[0] + pages[1] == whole


def test_training_users_are_told_of_without_their_ratings(client: httpx.Client, model: Recommender) -> None:
    users = [{"user": model.users.id(index)} for index in (3, 7)]
    for movie in group(client, users).json()["movies"]:
        assert all((member["because"], member["interval"]) == ([], None) for member in movie["members"])
    with_key = group(client, users, WITH_KEY).json()["movies"]
    assert any(member["because"] for movie in with_key for member in movie["members"])
    assert code(group(client, [{"user": "nobody"}])) == "unknown_id"
    new, _ = new_visitor(client)
    client.post("/api/ratings", json={"user": new, "movie": model.items.id(0), "rating": 3}, headers=WITH_KEY)
    assert code(group(client, [{"user": new}])) == "unknown_id", "nobody learns who has rated"


def test_a_token_names_oneself(client: httpx.Client, model: Recommender, ratings: dict[str, float]) -> None:
    _, token, _ = sharing(client, ratings)
    other = {"ratings": {model.items.id(30): 5.0}}
    stored = group(client, [other], token).json()["movies"]
    given = group(client, [other], ratings=ratings).json()["movies"]
    for one, two in zip(stored, given, strict=True):
        assert (one["movie_id"], len(one["members"])) == (two["movie_id"], 2)
        assert one["prediction"] == pytest.approx(two["prediction"], abs=1e-4)
    assert [len(movie["members"]) for movie in group(client, [other]).json()["movies"]] == [1] * 10


def test_a_share_token_lends_taste_and_shows_no_rating(
    client: httpx.Client, model: Recommender, ratings: dict[str, float]
) -> None:
    user, token, share = sharing(client, ratings)
    mine = {model.items.id(30): 5.0}
    movies = group(client, [{"share": share, "name": "Ben"}], ratings=mine, k=80).json()["movies"]
    expected = model.recommend_together([mine, ratings], k=80)
    assert [movie["movie_id"] for movie in movies] == [line.movie.movie_id for line in expected]
    assert not {movie["movie_id"] for movie in movies} & set(ratings)
    for movie, line in zip(movies, expected, strict=True):
        ben = movie["members"][1]
        assert ben == {
            "name": "Ben",
            "prediction": round(line.opinions[1].prediction, 1),
            "interval": None,
            "because": [],
        }
    # The sharer sees their own reasons.
    own = group(client, [{"share": share}], token, ratings=mine).json()["movies"]
    assert any(movie["members"][1]["because"] for movie in own)
    as_token = {"Authorization": f"Bearer {share}"}
    for answer in (
        client.get(f"/api/users/{user}/ratings", headers=as_token),
        client.get(f"/api/users/{user}/recommendations", headers=as_token),
        client.post("/api/ratings", json={"movie": model.items.id(0), "rating": 3}, headers=as_token),
        client.post("/api/shares", json={}, headers=as_token),
        client.delete(f"/api/users/{user}", headers=as_token),
    ):
        assert answer.status_code in {401, 404}
    for probe in ({"only": list(ratings)}, {"include_seen": True}):
        assert code(group(client, [{"share": share}], ratings=mine, **probe)) == "forbidden"


def test_shares_follow_the_ratings_and_end_with_them(
    client: httpx.Client, model: Recommender, ratings: dict[str, float]
) -> None:
    user, token, share = sharing(client, ratings)
    client.delete(f"/api/users/{user}", headers=token)
    movies = group(client, [{"share": share}], k=5).json()["movies"]
    expected = model.recommend_together([{}], k=5)
    assert [movie["movie_id"] for movie in movies] == [line.movie.movie_id for line in expected]


def test_forged_and_expired_shares_are_refused(
    client: httpx.Client, ratings: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    user, token, share = sharing(client, ratings, hours=1)
    kind, visitor, expires, signature = share.split(".")
    bearer = token["Authorization"].removeprefix("Bearer ")
    forged = [
        f"{kind}.{visitor}.{int(expires) + 1}.{signature}", f"{kind}.visitor-0.{expires}.{signature}",
        f"x.{visitor}.{expires}.{signature}", f"{visitor}.{expires}.{signature}", bearer, f"share.{bearer}", "share...",
        f"{kind}.{visitor}.{expires}.", f"{kind}.{visitor}.\u0663.{signature}",
        f"{kind}.{visitor}.{'9' * 40}.{signature}",
    ]  # fmt: skip
    for bad in forged:
        assert code(group(client, [{"share": bad}])) == "unauthorized", bad
    assert code(group(client, [{"share": share}])) == "ok"
    now = time.time()
    monkeypatch.setattr("reelgraph.service.auth.time.time", lambda: now + 3700)
    answer = group(client, [{"share": share}])
    assert code(answer) == "unauthorized"
    assert "expired" in answer.json()["error"]["message"]
    assert user not in answer.text


def test_who_may_share(client: httpx.Client) -> None:
    _, token = new_visitor(client)
    assert code(client.post("/api/shares", json={})) == "unauthorized"
    assert code(client.post("/api/shares", json={"user": "bob"}, headers=token)) == "forbidden"
    assert code(client.post("/api/shares", json={"user": "bob"}, headers=WITH_KEY)) == "ok"
    for hours in (0, 24 * 90 + 1, "1"):
        assert code(client.post("/api/shares", json={"hours": hours}, headers=token)) == "invalid"


def test_groups_out_of_bounds(client: httpx.Client, ratings: dict[str, float]) -> None:
    person = {"ratings": ratings}
    assert code(group(client, [person] * 12)) == "ok"
    bodies: tuple[dict[str, Any], ...] = (
        {"together": []}, {"together": [person] * 13}, {"together": [{}]}, {"together": [person | {"user": "1"}]},
        {"together": [person | {"name": ""}]}, {"together": [person], "strategy": "loudest"},
        {"together": [person], "diversity": 0.5},
    )  # fmt: skip
    for body in bodies:
        assert code(client.post("/api/recommendations", json=body)) == "invalid"

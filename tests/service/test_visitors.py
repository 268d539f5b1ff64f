"""Responses to visitors match the library and come from memory."""

import re
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from reelgraph.recommend.insights import describe
from reelgraph.recommend.lists import Choice
from reelgraph.recommend.recommender import Recommender
from reelgraph.service.settings import Keys
from reelgraph.training.fit import fit
from tests.support.worlds import checkerboard, settings


def as_listed(model: Recommender, *args: Any, **wishes: Any) -> list[dict[str, Any]]:
    lines = [line.to_json(rank) for rank, line in enumerate(model.recommend(*args, **wishes), 1)]
    return [line | {"genres": list(line["genres"])} for line in lines]


def listed(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [{name: value for name, value in movie.items() if name != "interval"} for movie in answer.json()["movies"]]


def ids(answer: httpx.Response) -> list[str]:
    return [movie["movie_id"] for movie in listed(answer)]


@pytest.fixture(scope="module")
def ratings(model: Recommender) -> dict[str, float]:
    return {model.items.id(index): stars for index, stars in ((1, 5.0), (5, 1.0), (9, 4.0), (20, 3.0))}


@pytest.mark.parametrize(
    "wishes",
    [
        {},
        {"k": 7, "order": "stars"},
        {"genre": "Drama", "k": 3},
        {"year": "1990-1999"},
        {"year": 1995, "k": 2},
        {"diversity": 0.4},
        {"order": "rank", "k": 30},
        {"order": "less-known", "k": 5},
        {"order": "surprise"},
        {"calibration": 0.6},
    ],
)
def test_visitor_lists_match_the_library(
    client: httpx.Client, model: Recommender, ratings: dict[str, float], wishes: dict[str, Any]
) -> None:
    answer = client.post("/api/recommendations", json={"ratings": ratings} | wishes)
    assert listed(answer) == as_listed(model, ratings=ratings, **wishes)
    reason = model.lists.order_reason(Choice(**wishes), has_ratings=True)
    assert answer.json()["order_reason"] == reason
    assert answer.json()["unknown"] == []


def test_excluded_and_unknown_movies(client: httpx.Client, model: Recommender, ratings: dict[str, float]) -> None:
    first = model.recommend(ratings=ratings, k=1)[0].movie.movie_id
    asked = {"ratings": ratings | {"zz": 3, "": 1} | {"yy": 2}, "exclude": [first, "xx"]}
    assert client.post("/api/recommendations", json=asked).status_code == 422  # an empty id is none
    asked["ratings"] = ratings | {"zz": 3.0, "yy": 2.0}
    answer = client.post("/api/recommendations", json=asked)
    assert listed(answer) == as_listed(model, ratings=ratings, deny=[first])
    assert answer.json()["unknown"] == ["zz", "yy"]


def test_without_ratings_the_list_is_the_start_list(client: httpx.Client, model: Recommender) -> None:
    assert listed(client.post("/api/recommendations", json={})) == as_listed(model, ratings={})


@pytest.mark.parametrize("wishes", [{}, {"diversity": 0.5}, {"genre": "Comedy"}])
def test_pages_add_up_to_the_list(
    client: httpx.Client, model: Recommender, ratings: dict[str, float], wishes: dict[str, Any]
) -> None:
    whole, pages = model.recommend(ratings=ratings, k=len(model.items), **wishes), list[dict[str, Any]]()
    more = True
    while more:
        asked = {"ratings": ratings, "offset": len(pages), "k": 7} | wishes
        answer = client.post("/api/recommendations", json=asked)
        pages += listed(answer)
        more = answer.json()["more"]
        assert more == (len(pages) < len(whole))
    assert [movie["rank"] for movie in pages] == list(range(1, len(whole) + 1))
    ids_of_pages, expected = [movie["movie_id"] for movie in pages], [line.movie.movie_id for line in whole]
    assert sorted(ids_of_pages) == sorted(expected)
    if "diversity" not in wishes:
        assert ids_of_pages == expected
    offset = client.post("/api/recommendations", json={"ratings": ratings, "offset": 3, "k": 7} | wishes)
    assert ids(offset) == ids_of_pages[3:10]


def test_questions_match_the_library(client: httpx.Client, model: Recommender, ratings: dict[str, float]) -> None:
    first = client.post("/api/questions", json={"k": 4}).json()["movies"]
    assert [movie["movie_id"] for movie in first] == [movie.movie_id for movie in model.ask(k=4)]
    facts = {"movie_id", "title", "year", "genres", "imdb_id", "tmdb_id", "ratings", "mean", "prediction", "interval"}
    assert set(first[0]) == facts
    denied = [movie["movie_id"] for movie in first]
    asked = {"ratings": ratings | {"zz": 3.0}, "exclude": [*denied, "xx"], "k": 5}
    found = client.post("/api/questions", json=asked).json()["movies"]
    assert [movie["movie_id"] for movie in found] == [movie.movie_id for movie in model.ask(ratings, k=5, deny=denied)]
    only = {"ratings": ratings, "only": [movie["movie_id"] for movie in found]}
    listed = {movie["movie_id"]: movie for movie in client.post("/api/recommendations", json=only).json()["movies"]}
    for movie in found:
        assert {name: movie[name] for name in ("prediction", "interval")} == {
            name: listed[movie["movie_id"]][name] for name in ("prediction", "interval")
        }
    assert client.post("/api/questions", json={"ratings": {next(iter(ratings)): 99.0}}).status_code == 422


def test_intervals_match_the_library(client: httpx.Client, model: Recommender, ratings: dict[str, float]) -> None:
    answer = client.post("/api/recommendations", json={"ratings": ratings, "k": 20, "order": "stars"})
    for movie in answer.json()["movies"]:
        item = np.asarray([model.items.index(movie["movie_id"])])
        ends = model.predictor.around(np.asarray([movie["prediction"]], np.float32), item, len(ratings))
        assert ends is not None
        assert movie["interval"] == pytest.approx([float(end[0]) for end in ends], abs=1e-6)
        low, high = movie["interval"]
        assert model.predictor.low <= low <= movie["prediction"] <= high <= model.predictor.high


def test_user_lists_match_the_library(client: httpx.Client, model: Recommender) -> None:
    user = model.users.id(3)
    wishes: dict[str, Any] = {"k": 4, "order": "surprise", "genre": "drama", "calibration": 0.2}
    assert listed(client.get(f"/api/users/{user}/recommendations", params=wishes)) == as_listed(model, user, **wishes)


def test_user_lists_respect_ratings_given_through_the_service(
    serve: Callable[..., httpx.Client], model_dir: Path, model: Recommender, ratings: dict[str, float]
) -> None:
    client, user = serve(model_dir), model.users.id(3)
    first = model.recommend(user, k=1)[0].movie.movie_id
    client.post("/api/ratings", json={"user": user, "movie": first, "rating": 4})
    assert listed(client.get(f"/api/users/{user}/recommendations")) == as_listed(model, user, deny=[first])
    assert client.get("/api/users/newcomer/recommendations").status_code == 404
    assert client.post("/api/ratings/batch", json={"user": "newcomer", "ratings": ratings}).json() == {"written": 4}
    assert listed(client.get("/api/users/newcomer/recommendations")) == as_listed(model, ratings=ratings)


def test_catalogue(client: httpx.Client, model: Recommender, model_dir: Path) -> None:
    facts = client.get("/api/catalogue").json()
    seen = model.predictor.seen_item
    assert (facts["movies"], facts["users"], facts["ratings"]) == (len(model.items), len(model.users), len(seen))
    assert facts["scale"] == {"low": 1.0, "high": 5.0, "step": 1.0}
    members = model.catalogue.genre_members
    assert facts["genres"] == [{"name": name, "movies": int(members[name].sum())} for name in sorted(members)]
    assert facts["years"] == [np.nanmin(model.catalogue.years), np.nanmax(model.catalogue.years)]
    assert facts["writes"] == "open"
    ready = client.get("/health/ready").json()
    assert facts["artifact"] == ready["artifact"]
    assert str(model_dir.parent) not in client.get("/health/ready").text


def test_movies_by_popularity(client: httpx.Client, model: Recommender) -> None:
    answer = client.get("/api/movies", params={"limit": 100}).json()
    assert answer["total"] == len(model.items)
    seen, stars = model.predictor.seen_item, model.predictor.seen_rating
    for movie in answer["movies"]:
        own = stars[seen == model.items.index(movie["movie_id"])]
        assert movie["ratings"] == len(own)
        assert movie["mean"] == pytest.approx(own.mean()) if len(own) else movie["mean"] is None
        assert client.get(f"/api/movies/{movie['movie_id']}").json() == movie
    counts = [movie["ratings"] for movie in answer["movies"]]
    assert counts == sorted(counts, reverse=True)
    part = client.get("/api/movies", params={"limit": 5, "offset": 3}).json()
    assert part["movies"] == answer["movies"][3:8]


def test_movies_by_title_genre_and_year(client: httpx.Client, model: Recommender) -> None:
    wanted = model.catalogue.movie(7)
    assert wanted.title is not None
    assert wanted.year is not None
    matches = client.get("/api/movies", params={"q": wanted.title}).json()
    assert wanted.movie_id in [movie["movie_id"] for movie in matches["movies"]]
    narrowed = client.get("/api/movies", params={"genre": wanted.genres[0].upper(), "year": wanted.year}).json()
    mask = model.catalogue.matching(wanted.genres[0], wanted.year)
    assert sorted(movie["movie_id"] for movie in narrowed["movies"]) == sorted(
        model.items.id(int(item)) for item in np.flatnonzero(mask)
    )
    assert client.get("/api/movies", params={"q": "qqqq"}).json() == {"movies": [], "total": 0}


def test_movies_by_id(client: httpx.Client, model: Recommender) -> None:
    ids = [model.items.id(index) for index in (4, 2)]
    answer = client.get("/api/movies", params={"id": [*ids, "no such movie"]}).json()
    assert {movie["movie_id"] for movie in answer["movies"]} == set(ids)
    assert answer["total"] == 2
    assert client.get("/api/movies", params={"id": ["no such movie"]}).json() == {"movies": [], "total": 0}


def test_similar_movies_match_the_library(client: httpx.Client, model: Recommender) -> None:
    movie = model.items.id(4)
    similar = client.get(f"/api/movies/{movie}/similar", params={"k": 5}).json()["movies"]
    expected = [asdict(other) | {"similarity": value} for other, value in model.similar(movie, 5)]
    assert [row | {"genres": tuple(row["genres"])} for row in similar] == expected


@pytest.mark.parametrize("who", ["visitor", "user"])
def test_explanations_match_the_library_and_add_up(
    client: httpx.Client, model: Recommender, ratings: dict[str, float], who: str
) -> None:
    movie = model.items.id(int(np.argmax(model.predictor.item_counts)))
    asked: dict[str, Any] = {"ratings": ratings} if who == "visitor" else {"user": model.users.id(0)}
    expected = model.explain(asked.get("user"), movie=movie, ratings=asked.get("ratings")).to_json()
    answer = client.post("/api/explanations", json=asked | {"movie": movie}).json()
    assert "user_id" not in str(answer)
    for explanation, whole in ((answer, expected), (answer["ranking"], expected["ranking"])):
        assert explanation["raters"]["number"] == len(whole["neighbours"])
        assert [part["contribution"] for part in explanation["because"]] == [
            part["contribution"] for part in whole["because"]
        ]
        assert explanation["grounds"]["total"] == pytest.approx(whole["grounds"]["total"])
        parts = (
            explanation["movie"]
            + explanation.get("mean", 0.0)
            + explanation.get("user", 0.0)
            + explanation["movie_free"]
        )
        total = explanation["prediction"] if "prediction" in explanation else explanation["score"]
        raters = explanation["raters"]["contribution"]
        assert parts + explanation["movie_side"] + raters == pytest.approx(total, abs=1e-3)


def test_only_the_user_and_the_write_key_read_explanations_of_a_user(
    model_dir: Path, model: Recommender, serve: Callable[..., httpx.Client]
) -> None:
    asked = {"movie": model.items.id(1), "user": model.users.id(0)}
    key = "a key of some length"
    for client, headers, status in (
        (serve(model_dir, Keys(write=SecretStr(key))), {}, 403),
        (serve(model_dir, Keys(write=SecretStr(key))), {"X-API-Key": key}, 200),
        (serve(model_dir, Keys()), {}, 403),
    ):
        assert client.post("/api/explanations", json=asked, headers=headers).status_code == status


def test_explanations_have_the_interval_of_lists(
    client: httpx.Client, model: Recommender, ratings: dict[str, float]
) -> None:
    first = client.post("/api/recommendations", json={"ratings": ratings}).json()["movies"][0]
    answer = client.post("/api/explanations", json={"movie": first["movie_id"], "ratings": ratings}).json()
    assert answer["interval"] == pytest.approx(first["interval"], abs=1e-4)
    user = model.users.id(0)
    listed = client.get(f"/api/users/{user}/recommendations").json()["movies"][0]
    answer = client.post("/api/explanations", json={"movie": listed["movie_id"], "user": user}).json()
    assert answer["interval"] == pytest.approx(listed["interval"], abs=1e-4)


def test_ratings_of_unknown_movies_do_not_contribute(client: httpx.Client, model: Recommender) -> None:
    asked = {"movie": model.items.id(2), "ratings": {"zz": 3.0, model.items.id(1): 2.0}}
    answer = client.post("/api/explanations", json=asked).json()
    assert answer["unknown"] == ["zz"]
    assert [part["movie"]["movie_id"] for part in answer["because"]] == [model.items.id(1)]


CACHED = ["/api/catalogue", "/api/movies?q=a", "/api/movies/{}", "/api/movies/{}/similar", "/", "/docs"]


@pytest.mark.parametrize("path", CACHED)
def test_etags(client: httpx.Client, model: Recommender, path: str) -> None:
    path = path.format(model.items.id(0))
    first = client.get(path)
    assert first.headers["cache-control"] == "no-cache"
    again = client.get(path, headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert client.get(path, headers={"If-None-Match": '"other"'}).content == first.content


def test_etags_change_with_the_model(
    serve: Callable[..., httpx.Client], model_dir: Path, other_dir: Path, model: Recommender
) -> None:
    client, path = serve(model_dir), f"/api/movies/{model.items.id(0)}/similar"
    held = client.get(path).headers["etag"]
    assert client.post("/api/admin/reload", json={"path": str(other_dir)}).status_code == 200
    assert client.get(path, headers={"If-None-Match": held}).status_code == 200


def test_lists_are_not_cached(client: httpx.Client) -> None:
    assert client.post("/api/recommendations", json={}).headers["cache-control"] == "no-store"


def test_responses_are_compressed(client: httpx.Client) -> None:
    packed = client.get("/api/movies", params={"limit": 50})
    assert packed.headers["content-encoding"] == "gzip"
    plain = client.get("/api/movies", params={"limit": 50}, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.json() == packed.json()
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


def test_version_1_of_the_api_is_the_present_one(client: httpx.Client, model: Recommender) -> None:
    for path in ("/catalogue", "/movies?q=a", f"/movies/{model.items.id(0)}"):
        assert client.get(f"/api/v1{path}").json() == client.get(f"/api{path}").json()
    assert client.get("/api/catalogue").headers["x-api-version"] == "1"
    assert not [path for path in client.get("/api/openapi.json").json()["paths"] if "v1" in path]


def test_head_requests(client: httpx.Client) -> None:
    head, get = client.head("/api/catalogue"), client.get("/api/catalogue")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == get.headers["etag"]


watched: list[str] = []
watching = threading.Event()


def note(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook, which cannot be removed: it records what other threads open while `watching` is set."""
    disk = event in {"open", "os.listdir", "os.scandir", "sqlite3.connect", "socket.connect", "import"}
    if disk and watching.is_set() and threading.current_thread() is not threading.main_thread():
        watched.append(f"{event} {arguments[:1]}")


def test_visitor_requests_do_not_touch_the_disk(
    client: httpx.Client, model: Recommender, ratings: dict[str, float], model_dir: Path
) -> None:
    sys.addaudithook(note)

    def visit() -> None:
        client.post("/api/recommendations", json={"ratings": ratings, "genre": "Drama", "diversity": 0.2})
        client.post("/api/recommendations", json={})
        client.post("/api/recommendations", json={"ratings": {"1": "no"}})
        client.post("/api/explanations", json={"ratings": ratings, "movie": model.items.id(2)})
        for path in ("/api/catalogue", "/api/movies?q=a", f"/api/movies/{model.items.id(0)}/similar", "/nowhere"):
            client.get(path)

    visit()  # The first of a kind may import what it needs.
    watching.set()
    try:
        visit()
        seen_by_visits = list(watched)
        client.get("/docs/docs.css")
        client.post("/api/admin/reload", json={"path": str(model_dir)})
    finally:
        watching.clear()
    assert seen_by_visits == []
    assert watched, "the hook sees what a reload opens"


def test_no_list_or_report_holds_a_rated_movie(serve: Callable[..., httpx.Client], tmp_path: Path) -> None:
    data = checkerboard()
    model = fit(data, settings(use_all=True, tune="none", max_steps=5))
    model.save(tmp_path / "model")
    rated = {pair for part in (data.train, data.valid, data.test) for pair in zip(*data.raw_ids(part), strict=True)}
    assert len(data.valid)
    assert len(data.test)
    users, movies = model.users.ids.to_pylist(), model.items.ids.to_pylist()
    client = serve(tmp_path / "model")
    listed_count = dict.fromkeys(movies, 0)
    for user in users:
        answer = ids(client.get(f"/api/users/{user}/recommendations", params={"k": len(movies)}))
        assert sorted(answer) == sorted(movie for movie in movies if (user, movie) not in rated)
        for movie in ids(client.get(f"/api/users/{user}/recommendations", params={"k": 10})):
            listed_count[movie] += 1
    most = describe(model)["lists"]["most"]
    assert {movie["movie_id"]: movie["lists"] for movie in most} == {
        movie["movie_id"]: listed_count[movie["movie_id"]] for movie in most
    }


def test_a_movie_has_a_page_of_its_own(client: httpx.Client, model: Recommender) -> None:
    movie = model.catalogue.movie(1)
    page = client.get(f"/movie/{movie.movie_id}", headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert f"<title>{movie}: reelgraph</title>" in page.text
    links = re.findall(r'(?:href|src)="([^"#]+)"', page.text)
    assert links
    assert all(link.startswith("../") for link in links), "they lead to the service's root, behind a prefix as well"


@pytest.mark.parametrize(("path", "up"), [("/movie/none", "../"), ("/none", ""), ("/a/b/c", "../../")])
def test_a_missing_page_is_a_page_for_browsers(client: httpx.Client, path: str, up: str) -> None:
    page = client.get(path, headers={"Accept": "text/html,*/*"})
    assert page.status_code == 404
    assert f'<a class="button" href="{up}./">' in page.text
    assert client.get(path).json()["error"]["code"] == "not_found"
    assert client.get("/api/none", headers={"Accept": "text/html"}).json()["error"]["code"] == "not_found"


def test_operations_are_named_by_sentences(client: httpx.Client) -> None:
    paths = client.get("/api/openapi.json").json()["paths"]
    summaries = [operation["summary"] for methods in paths.values() for operation in methods.values()]
    assert len(summaries) > 15
    assert all(len(summary.split()) >= 3 for summary in summaries), summaries
    assert len(set(summaries)) == len(summaries)


def test_a_visitor_reads_and_deletes_who_they_are(serve: Callable[..., httpx.Client], model_dir: Path) -> None:
    client = serve(model_dir, Keys(write=SecretStr("a key of some length")))
    assert client.get("/api/visitors").json() == {"user": None}
    assert client.delete("/api/visitors").status_code == 401
    user = client.post("/api/visitors").json()["user"]
    assert client.get("/api/visitors").json() == {"user": user}
    assert client.post("/api/ratings", json={"movie": "10", "rating": 4}).status_code == 200
    assert client.delete("/api/visitors").json() == {"deleted": 2}
    assert client.get("/api/visitors").json() == {"user": None}, "the cookie is gone"


@pytest.mark.parametrize(
    ("keys", "keep", "told"),
    [(None, "ask", "ask"), (None, "server", "server"), (None, "browser", "browser"), (Keys(), "server", "browser")],
)
def test_the_page_is_told_where_to_keep_ratings(
    serve: Callable[..., httpx.Client], model_dir: Path, keys: Keys | None, keep: str, told: str
) -> None:
    assert serve(model_dir, keys, keep=keep).get("/api/catalogue").json()["keep"] == told

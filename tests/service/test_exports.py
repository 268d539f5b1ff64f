"""Exports of other services are matched, and files that are none are refused."""

import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from reelgraph.recommend.recommender import Recommender
from reelgraph.service.middleware import MAX_EXPORTS
from tests.support.serving import until

HEAD = "Date,Name,Year,Letterboxd URI"
RATINGS = f"""{HEAD},Rating
2024-02-03,"Movie, The 1",1970,u,4.5
2024-02-03,"Movie, The 2",1971,u,0.5
2024-02-03,Mowie The 3,1980,u,3
"""
WATCHED = f'{HEAD}\n2024-02-03,"Movie, The 4",1973,u\n2024-02-03,"Movie, The 1",1970,u\n'
WATCHLIST = f'{HEAD}\n2024-02-03,"Movie, The 5",1974,u\n'
IMDB = """Const,Your Rating,Date Rated,Title,Original Title,URL,Title Type,Year
tt1,9,2023-05-01,"Movie, The 1",,u,Movie,1970
tt2,,2023-05-01,"Movie, The 5",,u,Movie,1974
"""
TRAKT = [
    {"rated_at": "2024-02-03T10:00:00Z", "rating": 9, "movie": {"title": "Movie, The 1", "year": 1970, "ids": {}}},
    {"watched_at": "2024-02-03T10:00:00Z", "movie": {"title": "Movie, The 4", "year": 1973}},
    {"listed_at": "2024-02-03T10:00:00Z", "movie": {"title": "Unheard Of \ud800", "year": 1974}},
]


def zipped(files: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


LETTERBOXD = zipped(
    {"ratings.csv": RATINGS, "watched.csv": WATCHED, "watchlist.csv": WATCHLIST, "deleted/ratings.csv": RATINGS}
)


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error.keys() == {"code", "message", "detail"}
    return str(error["message"])


@pytest.mark.parametrize(
    ("name", "content", "ratings", "watched", "watchlist", "unmatched"),
    [
        ("letterboxd.zip", LETTERBOXD, {"10": 4.5, "20": 1.0}, ["10", "20", "40"], ["50"], ["Mowie The 3"]),
        ("ratings.csv", RATINGS, {"10": 4.5, "20": 1.0}, ["10", "20"], [], ["Mowie The 3"]),
        ("watched.csv", WATCHED, {}, ["40", "10"], [], []),
        ("watchlist.csv", WATCHLIST, {}, [], ["50"], []),
        ("imdb.csv", IMDB, {"10": 4.5}, ["10"], ["50"], []),
        ("trakt.json", json.dumps(TRAKT), {"10": 4.5}, ["10", "40"], [], ["Unheard Of ?"]),
        ("mine.csv", "movieId,rating\n10,5\n999,3\n20.0,2\n", {"10": 5.0, "20": 2.0}, ["10", "20"], [], ["999"]),
        ("mine.csv", "movieId;rating\n10;4,5\n", {"10": 4.5}, ["10"], [], []),
        ("ratings.csv", f"{HEAD},Rating\n2024-02-03,Never Heard Of,1901,u,4\n", {}, [], [], ["Never Heard Of"]),
    ],
)
def test_films_of_every_kind_of_export_are_matched(
    client: httpx.Client, name: str, content: str | bytes, ratings: Any, watched: Any, watchlist: Any, unmatched: Any
) -> None:
    answer = client.post("/api/exports", params={"name": name}, content=content).raise_for_status().json()
    assert answer["ratings"] == ratings
    assert (answer["watched"], answer["watchlist"]) == (watched, watchlist)
    assert [film["title"] for film in answer["unmatched"]] == unmatched
    assert [movie["movie_id"] for movie in answer["movies"]] == list(ratings)
    for movie in answer["movies"]:
        assert movie == client.get(f"/api/movies/{movie['movie_id']}").json()


def test_a_film_that_is_not_found_comes_with_similar_movies(client: httpx.Client) -> None:
    answer = client.post("/api/exports", params={"name": "ratings.csv"}, content=RATINGS).json()
    (film,) = answer["unmatched"]
    assert (film["title"], film["year"]) == ("Mowie The 3", 1980)
    assert "30" in [movie["movie_id"] for movie in film["similar"]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x01\x02\xff" * 100,
        b"title,year\nThe Movie 1,1970\n",
        b"movieId,rating\n10,five\n",
        b"movieId,rating\n10,9\n",
        b"movieId,rating\n10,1e999\n",
        f'{HEAD},Rating\n2024-02-03,"{"x" * 200_000}'.encode(),
        f"{HEAD},Rating\n".encode(),
        zipped({"photo.jpg": b"x"}),
        zipped({"ratings.csv": RATINGS}, zipfile.ZIP_BZIP2),
        LETTERBOXD[:-300] + LETTERBOXD[-100:],
        LETTERBOXD[:60] + b"\xff" * 40 + LETTERBOXD[100:],
    ],
    ids=range(12),
)
def test_a_file_that_is_no_export_is_refused(client: httpx.Client, content: bytes) -> None:
    message = refused(client.post("/api/exports", params={"name": "mine"}, content=content), 422)
    assert len(message) < 300


def test_an_export_may_be_larger_than_other_bodies(client: httpx.Client) -> None:
    rows = "".join(f"2024-02-03,Unheard Of {number},1990,https://boxd.it/{number},3\n" for number in range(10_000))
    answer = client.post("/api/exports", content=RATINGS + rows).raise_for_status().json()
    assert answer["ratings"] == {"10": 4.5, "20": 1.0}
    assert len(answer["unmatched"]) == 10_001


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large_an_export_is_refused(serve: Callable[..., httpx.Client], model_dir: Path, chunked: bool) -> None:
    client = serve(model_dir, export_limit=20_000)
    content: Any = iter([b"x" * 10_000] * 4) if chunked else b"x" * 30_000
    refused(client.post("/api/exports", content=content), 413)
    assert client.post("/api/exports", content=RATINGS).status_code == 200


def test_a_zip_that_grows_too_large_is_refused(client: httpx.Client) -> None:
    blank = " " * 99_999 + "\n"
    part = RATINGS + 120 * blank
    bomb = zipped({f"ratings-{number}.csv": part for number in range(3)})
    assert len(bomb) < 200_000
    assert "16 MB" in refused(client.post("/api/exports", content=bomb), 422)
    # The same with a directory that promises small entries.
    false = bytearray(zipped({"ratings.csv": RATINGS + 400 * blank}))
    size = false.rindex(b"PK\x01\x02") + 24
    false[size : size + 4] = (100).to_bytes(4, "little")
    refused(client.post("/api/exports", content=bytes(false)), 422)


def test_few_exports_are_read_at_a_time(client: httpx.Client) -> None:
    finish = threading.Event()

    def slow() -> Iterator[bytes]:
        yield b"movieId,rating\n"
        finish.wait(15)
        yield b"10,5\n"

    def running() -> int:
        lines = client.get("/metrics").text.splitlines()
        return int(float(next(line.split()[1] for line in lines if line.startswith("reelgraph_requests_running "))))

    answers: list[int] = []
    address = str(client.base_url)

    def send() -> None:
        answers.append(httpx.post(f"{address}/api/exports", content=slow(), timeout=30).status_code)

    threads = [threading.Thread(target=send) for _ in range(MAX_EXPORTS)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: running() > MAX_EXPORTS)  # with the request for the metrics itself
        assert client.post("/api/exports", content=RATINGS).status_code == 429
        assert client.post("/api/recommendations", json={}).status_code == 200
    finally:
        finish.set()
        for thread in threads:
            thread.join()
    assert answers == [200] * MAX_EXPORTS
    assert client.post("/api/exports", content=RATINGS).status_code == 200


def test_a_list_of_some_movies_only(client: httpx.Client, model: Recommender) -> None:
    only = [model.items.id(index) for index in (1, 4, 7)]
    ask: dict[str, Any] = {"ratings": {only[0]: 5.0}, "only": [*only, "unknown"]}
    listed = client.post("/api/recommendations", json=ask).json()["movies"]
    assert {movie["movie_id"] for movie in listed} == set(only[1:])
    assert client.post("/api/recommendations", json={"only": []}).json()["movies"] == []

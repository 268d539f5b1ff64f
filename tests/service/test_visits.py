"""What visitors are answered is what the library says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from reelgraph.recommender import Recommender, open_model
from reelgraph.service.app import create_app


@pytest.fixture(scope="module")
def client(model_dir: Path) -> Iterator[TestClient]:
    with TestClient(create_app(model_dir)) as client:
        yield client


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Recommender:
    return open_model(model_dir)


def as_listed(model: Recommender, *args: Any, **wishes: Any) -> list[dict[str, Any]]:
    lines = [line.to_json(rank) for rank, line in enumerate(model.recommend(*args, **wishes), 1)]
    return [line | {"genres": list(line["genres"])} for line in lines]


def without_interval(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: value for name, value in movie.items() if name != "interval"} for movie in answer["movies"]]


def test_a_visitors_list_is_the_librarys(client: TestClient, model: Recommender) -> None:
    ratings = {model.items.id(index): 4.0 for index in (1, 5, 9)}
    answer = client.post("/api/recommendations", json={"ratings": ratings, "k": 7, "exclude": [model.items.id(3)]})
    assert answer.status_code == 200
    assert without_interval(answer.json()) == as_listed(model, ratings=ratings, k=7, deny=[model.items.id(3)])
    assert answer.json()["more"] is True


def test_a_users_list_is_the_librarys(client: TestClient, model: Recommender) -> None:
    user = model.users.id(0)
    answer = client.get(f"/api/users/{user}/recommendations", params={"k": 4, "order": "stars"})
    assert without_interval(answer.json()) == as_listed(model, user, k=4, order="stars")

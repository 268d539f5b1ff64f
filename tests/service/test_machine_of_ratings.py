"""The service and its database, in any order of requests and restarts, behave like a dictionary of ratings."""

import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pydantic import SecretStr
from starlette.testclient import TestClient

from reelgraph.recommend.recommender import Recommender
from reelgraph.service.app import create_app
from reelgraph.service.settings import Keys, Settings

KEY = "the write key of the test"
USERS = st.sampled_from(["ann", "bob/1", "%2F", "李雷"])
STARS = st.sampled_from([1.0, 3.0, 5.0])
PLACE = st.integers(0, 5)
QUICK = settings(
    max_examples=int(os.environ.get("REELGRAPH_EXAMPLES", "2")),
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class RatingMachine(RuleBasedStateMachine):
    """Beside the service: `given`, ratings by user and movie, and `changes`, the history by user."""

    directory: Path
    model: Recommender

    @initialize()
    def start(self) -> None:
        self.movies = self.model.items.ids.to_pylist()[:6]
        self.folder = tempfile.TemporaryDirectory(prefix="machine-")
        self.given: dict[str, dict[str, float]] = {}
        self.changes: dict[str, list[tuple[str, float | None]]] = {}
        self.tokens: dict[str, str] = {}
        self.client = self.begin()

    def begin(self) -> TestClient:
        chosen = Settings(database=str(Path(self.folder.name) / "ratings.sqlite"), watch=0.0, rate=0.0)
        app = create_app(self.directory, chosen, Keys(write=SecretStr(KEY)))
        client = TestClient(app, base_url="http://127.0.0.1")
        client.__enter__()
        return client

    def teardown(self) -> None:
        self.client.__exit__(None, None, None)
        self.folder.cleanup()

    def ask(self, method: str, path: str, token: str | None = None, **body: Any) -> Any:
        self.client.cookies.clear()
        headers = {"X-API-Key": KEY} if token is None else {"Authorization": f"Bearer {token}"}
        return self.client.request(method, path, headers=headers, **body)

    def change(self, user: str, movie: str, rating: float | None) -> None:
        """Note a change, unless it is the rating that is there."""
        ratings = self.given.setdefault(user, {})
        if ratings.get(movie) == rating:
            return
        self.changes.setdefault(user, []).append((movie, rating))
        if rating is None:
            del ratings[movie]
        else:
            ratings[movie] = rating

    def forget(self, user: str) -> int:
        return len(self.given.pop(user, {})) + len(self.changes.pop(user, []))

    @rule(user=USERS, place=PLACE, rating=STARS)
    def rate(self, user: str, place: int, rating: float) -> None:
        movie = self.movies[place]
        answer = self.ask("POST", "/api/ratings", json={"user": user, "movie": movie, "rating": rating})
        assert answer.status_code == 200, answer.text
        assert answer.json()["replaced"] == self.given.get(user, {}).get(movie)
        self.change(user, movie, rating)

    @rule(user=USERS, ratings=st.dictionaries(PLACE, STARS, min_size=1))
    def rate_several(self, user: str, ratings: dict[int, float]) -> None:
        batch = {self.movies[place]: rating for place, rating in ratings.items()}
        answer = self.ask("POST", "/api/ratings/batch", json={"user": user, "ratings": batch})
        assert answer.json() == {"written": len(batch)}
        for movie, rating in batch.items():
            self.change(user, movie, rating)

    @rule(user=USERS, place=PLACE, wrong=st.sampled_from([("no such movie", 3.0, 404), (None, 9.0, 422)]))
    def a_batch_with_a_fault_changes_nothing(self, user: str, place: int, wrong: tuple[str | None, float, int]) -> None:
        movie, rating, status = wrong
        batch = {self.movies[place]: 4.0, movie or self.movies[place - 1]: rating}
        assert self.ask("POST", "/api/ratings/batch", json={"user": user, "ratings": batch}).status_code == status

    @rule(user=USERS, place=PLACE)
    def delete_a_rating(self, user: str, place: int) -> None:
        movie = self.movies[place]
        answer = self.ask("DELETE", f"/api/users/{quote(user, safe='')}/ratings/{quote(movie, safe='')}")
        there = movie in self.given.get(user, {})
        assert answer.json() == {"deleted": int(there)}
        if there:
            self.change(user, movie, None)

    @rule(user=USERS)
    def delete_a_user(self, user: str) -> None:
        assert self.ask("DELETE", f"/api/users/{quote(user, safe='')}").json() == {"deleted": self.forget(user)}

    @rule()
    def become_a_visitor(self) -> None:
        self.client.cookies.clear()
        answer = self.client.post("/api/visitors").json()
        assert answer["user"] not in self.tokens
        self.tokens[answer["user"]] = answer["token"]

    @precondition(lambda self: self.tokens)
    @rule(place=PLACE, rating=STARS, data=st.data())
    def rate_as_a_visitor(self, place: int, rating: float, data: st.DataObject) -> None:
        user = data.draw(st.sampled_from(list(self.tokens)))
        movie = self.movies[place]
        answer = self.ask("POST", "/api/ratings", self.tokens[user], json={"movie": movie, "rating": rating})
        assert (answer.status_code, answer.json()["user"]) == (200, user)
        self.change(user, movie, rating)

    @precondition(lambda self: self.tokens)
    @rule(user=USERS)
    def a_visitor_cannot_touch_others(self, user: str) -> None:
        token = min(self.tokens.values())
        for method in ("GET", "DELETE"):
            path = f"/api/users/{quote(user, safe='')}" + ("/ratings" if method == "GET" else "")
            assert self.ask(method, path, token).status_code == 403

    @rule(user=USERS, k=st.integers(1, 20))
    def recommend(self, user: str, k: int) -> None:
        answer = self.ask("GET", f"/api/users/{quote(user, safe='')}/recommendations", params={"k": k})
        rated = self.given.get(user, {})
        if not rated:
            assert answer.status_code == 404
            return
        listed = [entry["movie_id"] for entry in answer.json()["movies"]]
        expected = self.model.recommend(ratings=rated, k=k)
        assert listed == [line.movie.movie_id for line in expected]
        assert not rated.keys() & set(listed)

    @rule()
    def restart(self) -> None:
        self.client.__exit__(None, None, None)
        self.client = self.begin()

    @invariant()
    def the_database_holds_these_ratings(self) -> None:
        for user in {*self.given, *self.changes}:
            content = self.ask("GET", f"/api/users/{quote(user, safe='')}/ratings", params={"history": True}).json()
            stored = {row["movie"]: row["rating"] for row in content["ratings"]}
            assert stored == self.given.get(user, {})
            assert [(row["movie"], row["rating"]) for row in content["history"]] == self.changes.get(user, [])


def test_any_order_of_requests(model_dir: Path, model: Recommender) -> None:
    machine = type("Machine", (RatingMachine,), {"directory": model_dir, "model": model})
    run_state_machine_as_test(machine, settings=QUICK)

"""A model changed by any order of calls behaves like a dictionary of ratings."""

import os
import tempfile
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import reelgraph as rg
from reelgraph.errors import DataError, UnknownIdError
from reelgraph.training.update import forget

USERS, MOVIES = [f"u{number}" for number in range(8)], [f"m{number}" for number in range(12)]
QUICK = settings(
    max_examples=int(os.environ.get("REELGRAPH_EXAMPLES", "3")),
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
ANY_USER, ANY_MOVIE = st.sampled_from([*USERS, "new user", "übrige/1"]), st.sampled_from([*MOVIES, "new movie", "0012"])
STARS = st.sampled_from([1.0, 2.5, 5.0])
PAIRS = [(user, movie) for user in USERS for movie in [*MOVIES, "new movie"]]


def first_ratings() -> dict[tuple[str, str], float]:
    rng = np.random.default_rng(0)
    return {
        (user, movie): float(rng.integers(1, 6))
        for user in USERS
        for movie in MOVIES
        if rng.random() < 0.5 or movie == MOVIES[int(user[1:])]
    }


@cache
def first_model() -> rg.Recommender:
    rows = [(user, movie, rating) for (user, movie), rating in first_ratings().items()]
    data = rg.load(rows, scale=(1.0, 5.0))
    return rg.fit(data, max_steps=4, eval_every=2, dim=3, tune="none", rank_dim=3, rank_max_steps=4)


class ModelMachine(RuleBasedStateMachine):
    """Beside the model: `known`, the ratings it has, `own`, those of a visitor, and `disk`, what was saved by name."""

    @initialize()
    def start(self) -> None:
        self.model = first_model()
        self.known = first_ratings()
        self.users, self.movies = set(USERS), set(MOVIES)
        self.disk: dict[str, tuple[dict[tuple[str, str], float], set[str], set[str], bytes]] = {}
        self.folder = tempfile.TemporaryDirectory(prefix="machine-")
        self.visit()

    def visit(self) -> None:
        self.visitor, self.own = self.model.visitor(), dict[str, float]()

    def teardown(self) -> None:
        self.folder.cleanup()

    def rated(self, user: str) -> set[str]:
        return {movie for rater, movie in self.known if rater == user}

    @invariant()
    def the_model_knows_these_ratings(self) -> None:
        seen, model = self.model.artifact.ratings, self.model
        names = zip(model.users.names(seen.user_index), model.items.names(seen.item_index), strict=True)
        assert dict(zip(names, seen.rating.tolist(), strict=True)) == self.known
        assert set(model.users.ids.to_pylist()) == self.users
        assert set(model.items.ids.to_pylist()) == self.movies

    @rule(user=ANY_USER, k=st.integers(1, 15))
    def recommend(self, user: str, k: int) -> None:
        if user not in self.users:
            with pytest.raises(UnknownIdError):
                self.model.recommend(user)
            return
        k = min(k, len(self.movies))
        listed = [line.movie.movie_id for line in self.model.recommend(user, k=k)]
        assert len(set(listed)) == len(listed) == min(k, len(self.movies - self.rated(user)))
        assert set(listed) <= self.movies - self.rated(user)
        whole = self.model.recommend(user, k=len(self.movies))
        assert [line.movie.movie_id for line in whole][:k] == listed

    @rule(user=ANY_USER, movie=ANY_MOVIE)
    def predict(self, user: str, movie: str) -> None:
        pairs = [(user, movie), (USERS[0], MOVIES[0]), ("nobody", "nothing")]
        together = self.model.predict(pairs)
        alone = [self.model.predict([pair])[0] for pair in pairs]
        assert np.isfinite(together).all()
        assert ((together >= 1) & (together <= 5)).all()
        np.testing.assert_allclose(together, alone, atol=1e-5)

    @rule(movie=ANY_MOVIE, rating=STARS)
    def rate(self, movie: str, rating: float) -> None:
        if movie not in self.movies:
            with pytest.raises(UnknownIdError):
                self.visitor.rate(movie, rating)
            return
        self.visitor.rate(movie, rating)
        self.own[movie] = rating

    @rule(movie=st.sampled_from(MOVIES), rating=st.sampled_from([0.0, 5.5, float("nan"), float("inf")]))
    def rate_outside_the_scale(self, movie: str, rating: float) -> None:
        with pytest.raises(DataError):
            self.visitor.rate(movie, rating)

    @rule(movie=st.sampled_from(MOVIES))
    def unrate(self, movie: str) -> None:
        self.visitor.remove(movie)
        self.own.pop(movie, None)

    @rule()
    def a_visitor_equals_a_new_one_with_the_same_ratings(self) -> None:
        assume(self.own)
        lists = [self.visitor.recommend(k=5), self.model.recommend(ratings=self.own, k=5)]
        shown, expected = ([line.movie.movie_id for line in suggestions] for suggestions in lists)
        assert shown == expected
        assert not set(shown) & self.own.keys()
        stars = [[line.prediction for line in suggestions] for suggestions in lists]
        np.testing.assert_allclose(np.asarray(stars[0]), np.asarray(stars[1]), atol=1e-4)

    @rule(
        rows=st.dictionaries(st.tuples(ANY_USER, ANY_MOVIE), STARS, min_size=1, max_size=4),
        steps=st.sampled_from([0, 1]),
    )
    def update(self, rows: dict[tuple[str, str], float], steps: int) -> None:
        given = [(user, movie, rating) for (user, movie), rating in rows.items()]
        if not any(user in self.users or movie in self.movies for user, movie in rows):
            with pytest.raises(DataError):
                rg.update(self.model, given, steps=steps)
            return
        before = self.model
        self.model = rg.update(before, given, steps=steps)
        assert before.artifact.seen.num_rows == len(self.known)  # the older model stays as it was
        self.known = self.known | rows
        self.users |= {user for user, _ in rows}
        self.movies |= {movie for _, movie in rows}
        self.visit()

    @rule(user=ANY_USER, movie=st.sampled_from(MOVIES))
    def update_outside_the_scale(self, user: str, movie: str) -> None:
        with pytest.raises(DataError):
            rg.update(self.model, [(USERS[0], MOVIES[0], 3.0), (user, movie, 6.0)])

    @rule(user=ANY_USER)
    def forget(self, user: str) -> None:
        if user not in self.users:
            with pytest.raises(UnknownIdError):
                forget(self.model.artifact, user)
            return
        assume(len({rater for rater, _ in self.known}) > 2)
        self.model = rg.Recommender(forget(self.model.artifact, user))
        self.known = {pair: rating for pair, rating in self.known.items() if pair[0] != user}
        self.users.discard(user)
        self.visit()

    @rule(name=st.sampled_from(["a", "b"]))
    def save(self, name: str) -> None:
        self.model.save(Path(self.folder.name) / name)
        stars = self.model.predict(PAIRS).tobytes()
        self.disk[name] = self.known.copy(), self.users.copy(), self.movies.copy(), stars

    @precondition(lambda self: self.disk)
    @rule(choice=st.randoms(use_true_random=False))
    def open(self, choice: Random) -> None:
        name = choice.choice(sorted(self.disk))
        known, users, movies, stars = self.disk[name]
        self.known, self.users, self.movies = known.copy(), users.copy(), movies.copy()
        self.model = rg.open(Path(self.folder.name) / name)
        assert self.model.predict(PAIRS).tobytes() == stars
        self.visit()


def test_any_order_of_calls() -> None:
    run_state_machine_as_test(ModelMachine, settings=QUICK)

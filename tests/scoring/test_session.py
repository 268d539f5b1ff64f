"""The session effect against a naive loop and on users with changing moods."""

from dataclasses import asdict, astuple, replace
from typing import Any

import numpy as np
import pytest

from reelgraph.scoring import session
from reelgraph.scoring.session import DAMPINGS, SECONDS, Queries, Residuals, SessionEffect, choose, read_effect

DAY = 86_400


def world(sessions: int = 6, mood: float = 1.0, seed: int = 0) -> tuple[Residuals, Queries, Any]:
    """40 users with daily sessions of six ratings, a mood per session; a third of the ratings is to be predicted."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[float, ...]] = []
    for user in range(40):
        for day in range(sessions):
            feeling = rng.normal(0, mood)
            for _ in range(6):
                at = day * DAY + int(rng.integers(0, 300))
                rows.append((user, int(rng.integers(1000)), at, feeling + rng.normal(0, 0.5), rng.random() < 1 / 3))
    columns: Any = [np.asarray(column) for column in zip(*rows, strict=True)]
    users, items, time, error, asked = columns
    asked = asked.astype(bool)
    history = Residuals.of(users[~asked], items[~asked], time[~asked], error[~asked], 40)
    return history, Queries(users[asked], items[asked], time[asked], np.ones(asked.sum(), bool)), error[asked]


def naive(queries: Queries, history: Residuals, effect: SessionEffect) -> list[float]:
    effects = []
    for user, item, at, known in zip(
        queries.user_index, queries.item_index, queries.timestamp, queries.known, strict=True
    ):
        total = weight = 0.0
        for row in range(history.start[user], history.start[user + 1]):
            apart = int(at) - int(history.timestamp[row])
            if known and history.item_index[row] != item and not (effect.causal and apart < 0):
                share = float(np.exp(-abs(apart) / effect.seconds))
                total, weight = total + share * float(history.residual[row]), weight + share
        effects.append(effect.gain * total / (effect.damping + weight))
    return effects


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("seconds", [60.0, 3600.0])
def test_the_effect_equals_a_naive_loop(causal: bool, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "BLOCK", 5)
    history, queries, _ = world()
    queries = Queries(queries.user_index, queries.item_index, queries.timestamp, np.arange(len(queries.known)) % 3 > 0)
    effect = SessionEffect(seconds, 2.0, 0.8, causal)
    assert effect.predict(queries, history) == pytest.approx(naive(queries, history, effect), abs=1e-4)


def test_a_rating_does_not_affect_its_own_prediction() -> None:
    history = Residuals.of(np.array([0, 0]), np.array([7, 8]), np.array([100, 100]), np.array([5.0, 1.0]), 1)
    asked = Queries(np.array([0]), np.array([7]), np.array([100]), np.array([True]))
    assert SessionEffect(60, 1.0, 1.0, False).predict(asked, history) == pytest.approx([1.0 / 2])


def test_a_causal_effect_ignores_later_ratings() -> None:
    history = Residuals.of(np.array([0, 0]), np.array([1, 2]), np.array([90, 110]), np.array([-1.0, 1.0]), 1)
    asked = Queries(np.array([0]), np.array([7]), np.array([100]), np.array([True]))
    assert SessionEffect(600, 1.0, 1.0, True).predict(asked, history)[0] < -0.3
    assert SessionEffect(600, 1.0, 1.0, False).predict(asked, history)[0] == pytest.approx(0)


def test_session_moods_lower_the_error() -> None:
    history, queries, error = world()
    effect = choose(queries, error, history, causal=False)
    assert effect is not None
    assert effect.seconds < DAY, "a mood that lasts a session is not that of the day before"
    left = error - effect.predict(queries, history)
    assert np.mean(left**2) < 0.6 * np.mean(error**2)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [0.25, 4.0])
def test_the_chosen_effect_has_the_least_squared_error(causal: bool, scale: float) -> None:
    history, queries, error = world(sessions=3)
    history = replace(history, residual=history.residual * scale)
    least, best = float(np.mean(error**2)), None
    for seconds in SECONDS:
        for damping in DAMPINGS:
            mean = np.asarray(naive(queries, history, SessionEffect(seconds, damping, 1.0, causal)))
            gain = float(np.linalg.lstsq(mean[:, None], error, rcond=None)[0][0])
            left = float(np.mean((error - gain * mean) ** 2))
            if left < least:
                least, best = left, (seconds, damping, pytest.approx(gain, rel=1e-3), causal)
    chosen = choose(queries, error, history, causal)
    assert chosen is not None
    assert astuple(chosen) == best


@pytest.mark.parametrize(("positive", "significant"), [(59, False), (60, True)])
def test_an_effect_must_gain_more_than_a_standard_error(positive: int, significant: bool) -> None:
    """Errors e of 1 and -1 with mean m, all predicted by m: 2 e m - m^2 is gained, which must average more than its
    standard error, so m > 2 sqrt((1 - m^2) / n)."""
    users = np.arange(100)
    history = Residuals.of(users, np.zeros(100, int), np.full(100, 50), np.ones(100), 100)
    queries = Queries(users, np.ones(100, int), np.full(100, 50), np.ones(100, bool))
    chosen = choose(queries, np.where(users < positive, 1.0, -1.0), history, causal=False)
    assert (chosen is not None) == significant
    if chosen is not None:
        assert chosen.predict(queries, history) == pytest.approx(np.full(100, 0.2))


def test_nothing_is_chosen_without_pairs_or_ratings_near_them() -> None:
    history, queries, error = world()
    assert choose(queries.take(np.zeros(len(error), bool)), error[:0], history, causal=False) is None
    apart = replace(queries, timestamp=queries.timestamp + 10_000 * DAY)
    assert choose(apart, error, history, causal=False) is None


def test_an_effect_of_the_opposite_sign_is_not_chosen() -> None:
    history, queries, error = world()
    assert choose(queries, -error, history, causal=False) is None


def test_without_moods_no_effect_is_chosen() -> None:
    chosen = [choose(*reordered(world(mood=0.0, seed=seed)), causal=False) for seed in range(10)]
    assert sum(effect is not None for effect in chosen) <= 5, "noise alone is rarely significant"
    history, queries, _ = world()
    assert choose(queries, np.zeros(len(queries.known)), history, causal=False) is None


def reordered(made: tuple[Residuals, Queries, Any]) -> tuple[Queries, Any, Residuals]:
    history, queries, error = made
    return queries, error, history


def test_many_pairs_are_sampled_by_user(monkeypatch: pytest.MonkeyPatch) -> None:
    history, queries, error = world(sessions=20)
    asked: list[Queries] = []
    whole, sums = choose(queries, error, history, causal=False), session._sums

    def spy(some: Queries, *rest: Any) -> Any:
        asked.append(some)
        return sums(some, *rest)

    monkeypatch.setattr(session, "MAX_PAIRS", len(error) // 4)
    monkeypatch.setattr(session, "_sums", spy)
    part = choose(queries, error, history, causal=False)
    assert part is not None
    assert whole is not None
    assert part.seconds == whole.seconds
    assert part.gain == pytest.approx(whole.gain, rel=0.3)
    users = np.unique(asked[0].user_index)
    assert 2 <= len(users) <= 20, "about a quarter of 40"
    assert len(asked[0].user_index) == np.isin(queries.user_index, users).sum(), "whole users"


def test_manifest_entries() -> None:
    effect = SessionEffect(600.0, 3.0, 0.9, True)
    assert read_effect(asdict(effect)) == effect
    assert read_effect(None) is None

"""Synthetic ratings: what they look like, and that their noise floor is one."""

import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelgraph.data.dataset import Interactions
from reelgraph.metrics.baselines import baselines
from tests.support.worlds import benchmark

synthetic = benchmark("synthetic")
RATINGS = 100_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred thousand ratings as the command makes them; not to be changed."""
    out: Path = tmp_path_factory.mktemp("synthetic") / "made"
    command = [sys.executable, synthetic.__file__, "--ratings", "1e5", "--rows-a-part", "30000", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def rows(made: Path) -> dict[str, Any]:
    return {name: column.to_numpy() for name, column in zip(synthetic.SCHEMA.names, read(made).columns, strict=True)}


@pytest.fixture(scope="module")
def truth(made: Path) -> Any:
    return synthetic.Truth.read(made / "truth.npz")


def read(made: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(part) for part in sorted((made / "ratings").iterdir()))


@pytest.mark.parametrize(
    ("ratings", "users", "movies"),
    [(1e5, 690, 1909), (1e6, 6897, 6037), (1e7, 68966, 19092), (2e7, 137931, 27000), (1e8, 689655, 60374)],
)
def test_sizes_follow_the_documented_rule(ratings: float, users: int, movies: int) -> None:
    assert synthetic.sizes(int(ratings)) == (users, movies)


def test_parts_hold_exactly_what_was_asked_for(made: Path, rows: dict[str, Any], truth: Any) -> None:
    lengths = [pq.read_metadata(part).num_rows for part in sorted((made / "ratings").iterdir())]
    assert lengths == [30_000, 30_000, 30_000, 10_000]
    schema = pq.read_schema(made / "ratings" / "part-00000.parquet")
    assert [str(kind) for kind in schema.types] == ["int64", "int64", "float", "int64"]
    manifest = json.loads((made / "manifest.json").read_text())
    assert (manifest["ratings"], manifest["users"], manifest["movies"]) == (RATINGS, *synthetic.sizes(RATINGS))
    assert manifest["mean"] == pytest.approx(rows["rating"].mean(), abs=1e-6)
    assert manifest["std"] == pytest.approx(rows["rating"].std(), abs=1e-6)
    np.testing.assert_array_equal(np.bincount(rows["userId"])[1:], truth.activity)
    assert rows["movieId"].min() >= 1
    assert rows["movieId"].max() <= manifest["movies"]
    assert len(set(zip(rows["userId"].tolist(), rows["movieId"].tolist(), strict=True))) == RATINGS


def test_users_and_movies_are_as_unequal_as_real_ones(rows: dict[str, Any], truth: Any) -> None:
    assert truth.activity.min() >= 20
    beyond = np.log(truth.activity - truth.activity.min() + 1)
    assert beyond.std() == pytest.approx(synthetic.ACTIVITY, rel=0.1)  # log-normal: the logarithm is normal ...
    assert abs(np.mean(((beyond - beyond.mean()) / beyond.std()) ** 3)) < 0.3  # ... and so is not skewed
    counts = np.sort(np.bincount(rows["movieId"], minlength=len(truth.popularity) + 1)[1:])[::-1]
    assert counts[: len(counts) // 10].sum() > 0.3 * RATINGS
    assert counts[0] < 0.7 * len(truth.activity)
    ranks = np.argsort(np.argsort(-truth.popularity))
    rare = np.bincount(rows["movieId"], minlength=len(ranks) + 1)[1:][(ranks > 300) & (ranks < 1500)].sum()
    law = (np.arange(len(ranks)) + 1 + synthetic.ZIPF_SHIFT) ** -synthetic.ZIPF_POWER
    np.testing.assert_allclose(np.sort(truth.popularity)[::-1], law / law.sum())
    assert rare / RATINGS > law[301:1500].sum() / law.sum()  # nobody sees a hit twice, so others are seen more


def test_ratings_are_half_stars_of_the_expected_spread(rows: dict[str, Any], truth: Any) -> None:
    assert set(rows["rating"].tolist()) == {0.5 * half for half in range(1, 11)}
    assert rows["rating"].std() == pytest.approx(1.05, abs=0.05)
    taste = truth.taste(rows["userId"] - 1, rows["movieId"] - 1)
    assert taste.mean() > 0.1  # people rate what is to their taste


def test_times_rise_within_a_user_in_sessions(rows: dict[str, Any]) -> None:
    gaps = np.diff(rows["timestamp"])[np.diff(rows["userId"]) == 0]
    assert gaps.min() >= 1
    assert np.mean(gaps > 3600) == pytest.approx(1 / synthetic.SESSION, rel=0.1)
    begins = rows["timestamp"][np.flatnonzero(np.diff(rows["userId"], prepend=0))]
    assert begins.min() >= synthetic.FIRST_YEARS[0]
    assert begins.max() < synthetic.FIRST_YEARS[1]


def test_rows_depend_on_the_seed_alone(made: Path, tmp_path: Path, truth: Any) -> None:
    again = synthetic.Truth.drawn(RATINGS, *synthetic.sizes(RATINGS), truth.seed)
    synthetic.write(again, tmp_path / "again", 7_777)
    assert read(tmp_path / "again").equals(read(made))
    other = synthetic.Truth.drawn(RATINGS, *synthetic.sizes(RATINGS), truth.seed + 1)
    assert not np.array_equal(other.user_bias, truth.user_bias)
    movie = next(synthetic.blocks(other))[1]
    assert not np.array_equal(movie[:100], read(made)["movieId"].to_numpy()[:100] - 1)


@pytest.mark.parametrize("way", ["drawn", "raced"])
def test_movies_are_chosen_one_after_the_other(way: str) -> None:
    """Both ways against the sum over all orders of three of five movies, one of them disliked."""
    weights, people = np.array([0.4, 0.3, 0.15, 0.1, 0.05]), 20_000
    disliked = np.zeros((5, 1), np.float32)
    disliked[1] = -1
    # One dimension in which everybody is alike; the disliked movie is taken half as often as it would be.
    strength = np.float32(-np.log(3) * synthetic.TASTE / synthetic.CHOOSES)
    world = synthetic.Truth(
        0, 3.0, 0.8, np.zeros(people), np.zeros(5), np.full((people, 1), -strength), disliked, weights,
        np.full(people, 3),
    )  # fmt: skip
    rng = np.random.default_rng(1)
    if way == "drawn":
        user, movie = synthetic.drawn(rng, world, 0, world.activity)
    else:
        parts = [synthetic.raced(rng, world, person, 3) for person in range(people)]
        user, movie = (np.concatenate(part) for part in zip(*parts, strict=True))
    np.testing.assert_array_equal(user, np.repeat(np.arange(people), 3))
    found = Counter(map(tuple, movie.reshape(-1, 3).tolist()))
    taken = weights * np.where(disliked[:, 0] < 0, 0.25, 0.5)
    for order in itertools.permutations(range(5), 3):
        left, chance = taken.sum(), 1.0
        for one in order:
            chance, left = chance * taken[one] / left, left - taken[one]
        assert found[order] / people == pytest.approx(chance, abs=5 * np.sqrt(chance / people))


def test_the_floor_is_that_of_the_true_expectation(made: Path, rows: dict[str, Any], truth: Any) -> None:
    """Against an integral over the noise, of each likely t, of the rounded and clipped rating."""
    noise = np.linspace(-8, 8, 20_001) * truth.noise
    density = np.exp(-0.5 * (noise / truth.noise) ** 2)
    grid = np.linspace(0, 7, 141)
    outcome = np.clip(np.round(2 * (grid[:, None] + noise)) / 2, 0.5, 5)
    expected = outcome @ density / density.sum()
    np.testing.assert_allclose(truth.rated(grid), expected, atol=1e-3)

    user, movie = rows["userId"] - 1, rows["movieId"] - 1
    liking = truth.mean + truth.user_bias[user] + truth.movie_bias[movie]
    liking = liking + (truth.user_taste[user] * truth.movie_taste[movie]).sum(1)
    prediction = np.interp(liking, grid, expected)
    wrong = prediction - rows["rating"]
    floor = {"rmse": float(np.sqrt((wrong**2).mean())), "mae": float(np.abs(wrong).mean())}
    assert truth.floor(rows["userId"], rows["movieId"], rows["rating"]) == pytest.approx(floor, abs=1e-4)
    assert json.loads((made / "manifest.json").read_text())["floor"] == pytest.approx(floor, abs=1e-4)
    assert abs(wrong.mean()) < 5 * wrong.std() / np.sqrt(RATINGS)
    for worse in (liking, prediction + 0.03, 0.97 * prediction + 0.03 * prediction.mean()):
        assert np.sqrt(((worse - rows["rating"]) ** 2).mean()) > floor["rmse"]


def test_the_truth_predicts_better_than_biases(rows: dict[str, Any], truth: Any) -> None:
    order = np.lexsort((rows["movieId"], rows["userId"]))
    columns = rows["userId"][order] - 1, rows["movieId"][order] - 1, rows["rating"][order]
    both = Interactions(columns[0].astype(np.int32), columns[1].astype(np.int32), columns[2], None)
    held_out = np.random.default_rng(0).random(RATINGS) < 0.1
    test = both.take(held_out)
    floor = truth.floor(rows["userId"][order][held_out], rows["movieId"][order][held_out], test.rating)["rmse"]
    users, movies = synthetic.sizes(RATINGS)
    errors = {
        line.name: float(np.sqrt(((line.predict(test) - test.rating) ** 2).mean()))
        for line in baselines(both.take(~held_out), users, movies)
    }
    assert floor == pytest.approx(0.785, abs=0.015)
    assert errors["bias"] > 1.08 * floor
    assert errors["mean"] > 1.3 * floor


def test_impossible_sizes_are_refused(tmp_path: Path) -> None:
    command = [sys.executable, synthetic.__file__, "--ratings", "1e5", "--users", "10", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected between 10 and 9,540 ratings, found 100,000" in done.stderr
    assert not (tmp_path / "out").exists()

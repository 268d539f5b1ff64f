"""Time and memory of lists for all users at the size of MovieLens 20M: python benchmarks/lists.py.

The states of the model are random, which does not change the cost. Each run is the command in its own process; its
memory includes child processes. Writes results/lists.json.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import describe, measure_command

from reelgraph.arrays import USER_DAMPING
from reelgraph.artifact import Artifact, write_artifact

HERE = Path(__file__).resolve().parent
USERS, MOVIES, RATINGS, DIM, RANK_DIM, K = 138_000, 27_000, 20_000_000, 32, 128, 10
GENRES = ("Action", "Comedy", "Crime", "Documentary", "Drama", "Horror", "Romance", "Sci-Fi", "Thriller", "War")
ENGINES = ("duckdb", "local[2]")


def artifact(ranking: bool, users: int, movies: int, ratings: int, seed: int = 0) -> Artifact:
    """A model with random states and the arrays and columns of a trained one."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Any:
        return 0.3 * rng.standard_normal(shape, np.float32)

    weights: dict[str, Any] = {"mean": np.zeros((), np.float32), "gain": np.ones((), np.float32)}
    for side, count in (("user", users), ("item", movies)):
        weights |= {f"{side}.{name}": normal(count) for name in ("bias", "offset")}
        for name in ("state", "free", "side", "implicit", "residual"):
            weights[f"{side}.{name}"] = normal(count, DIM)
        if ranking:
            weights[f"rank.{side}.baseline"] = normal(count)
            for name in ("state", "implicit", "residual", "own", "channel"):
                weights[f"rank.{side}.{name}"] = normal(count, RANK_DIM)
    if ranking:
        weights |= {"rank.mean": np.zeros((), np.float32), "rank.item.bias": normal(movies)}
        weights |= {f"rank.item.{name}": normal(movies, RANK_DIM) for name in ("free", "side")}
    manifest = {
        "config": {"model": "residual"},
        "steps": 1,
        "data": {"source": {"files": [], "id_types": {"user": "int64", "item": "int64"}}},
        "scale": {"low": 0.5, "high": 5.0, "step": 0.5},
        "standardise": {"mean": 3.5, "std": 1.05},
        "session": {"seconds": 600.0, "damping": 3.0, "gain": 0.5, "causal": False},
        "ranking": {"steps": 1, "blend": 0.4} if ranking else None,
    }
    numbers = np.arange(1, movies + 1)
    items = pa.table({
        "movieId": [str(number) for number in numbers],
        "title": [f"Movie {number} ({1920 + number % 100})" for number in numbers],
        "year": (1920 + numbers % 100).astype(np.int32),
        "genres": [f"{GENRES[number % 10]}|{GENRES[number % 7]}" for number in numbers],
    })  # fmt: skip
    people = pa.table({"userId": [str(number) for number in range(1, users + 1)]})
    table = seen(rng, users, movies, ratings)
    user, item, rating = (table[name].to_numpy() for name in ("user_index", "item_index", "rating"))
    left = (rating - 3.5) / 1.05 - weights["item.bias"][item]  # as in training; see `artifact`
    weights["user.bias"] = (
        np.bincount(user, left, users) / (np.bincount(user, minlength=users) + USER_DAMPING)
    ).astype(np.float32)
    return Artifact(manifest, weights, people, items, table)


def seen(rng: np.random.Generator, users: int, movies: int, ratings: int) -> pa.Table:
    """Ratings with log-normal user activity and Zipf-distributed movies; slightly fewer than `ratings`."""
    counts = 1 + rng.lognormal(0, 1.2, users)
    counts = np.clip(counts * (1.3 * ratings / counts.sum()), 1, movies // 3).astype(np.int64)
    shares = np.cumsum(1 / np.arange(1, movies + 1) ** 0.9)
    user = np.repeat(np.arange(users, dtype=np.int64), counts)
    movie = np.minimum(np.searchsorted(shares / shares[-1], rng.random(len(user))), movies - 1)
    cell = np.unique(user * movies + movie)
    cell = np.sort(rng.choice(cell, min(ratings, len(cell)), replace=False))
    return pa.table({
        "user_index": (cell // movies).astype(np.int32),
        "item_index": (cell % movies).astype(np.int32),
        "rating": rng.integers(1, 11, len(cell)).astype(np.float32) / 2,
        "timestamp": rng.integers(789_652_009, 1_427_784_002, len(cell)),
        "residual": np.clip(rng.standard_normal(len(cell), np.float32), -4, 4),
    })  # fmt: skip


def main() -> None:
    """Measure every engine, compare their lists, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("users", USERS), ("movies", MOVIES), ("ratings", RATINGS)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "lists.json")
    given = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory(prefix="reelgraph-lists-") as folder:
        for ranking in (True, False):
            model = Path(folder) / f"model-{ranking}"
            write_artifact(artifact(ranking, given.users, given.movies, given.ratings), model)
            for engine in ENGINES:
                options = ("--all", "-k", K, "--engine", engine, "--out", Path(folder) / f"{engine}-{ranking}")
                cost = measure_command("recommend", model, *options)
                runs.append({"engine": engine, "ranking_head": ranking} | cost)
            first, second = (pq.read_table(Path(folder) / f"{engine}-{ranking}") for engine in ENGINES)
            if not first.equals(second):
                sys.exit("the engines' lists differ")
    result = describe(" ".join(["python benchmarks/lists.py", *sys.argv[1:]])) | {
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "users": given.users,
        "movies": given.movies,
        "ratings": given.ratings,
        "k": K,
        "runs": runs,
        "lists_of_both_engines_equal": True,
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

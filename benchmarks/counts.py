"""Compare lists from counts with lists from the same pairs counted once, on validation pairs.

    python benchmarks/counts.py > benchmarks/results/counts.json

The counts are real: how many movies of one set of genres and one decade each user of the bundled sample has rated. Such
a group of movies stands for an artist, and the ratings of its movies for plays.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

import reelgraph as rg
from reelgraph.arrays import Float32s, Float64s, Floats
from reelgraph.config import TrainConfig
from reelgraph.data.dataset import Dataset
from reelgraph.data.load import silent
from reelgraph.training.fit_ranking import search_head
from reelgraph.training.runner import Runner
from reelgraph.training.runs import RankingRuns

SEEDS, YEARS = 3, 10
FORMS: dict[str, Callable[[Float32s], Floats]] = {
    "binary": np.ones_like, "log2(1 + count)": lambda count: np.log2(1 + count),
}  # fmt: skip


def plays() -> list[tuple[str, str, int]]:
    """User, group of movies, and number of the user's ratings of its movies."""
    data = rg.load(valid_share=0.0, test_share=0.0)
    rows = data.item_table.select(["movieId", "genres", "year"]).to_pylist()
    groups = {row["movieId"]: f"{row['genres']} {(row['year'] or 0) // YEARS}" for row in rows}
    users, movies = data.raw_ids(data.train)
    counts = Counter((user, groups[movie]) for user, movie in zip(users, movies, strict=True))
    return [(user, group, count) for (user, group), count in counts.items()]


def ndcg(data: Dataset, seed: int) -> Float64s:
    """Validation nDCG at 10 of each user, after a fit with the default settings."""
    runner = Runner(RankingRuns(data), silent)
    tuned = search_head(runner, TrainConfig(tune="none", seed=seed))
    assert tuned is not None
    assert runner.runs.valid is not None
    return 1 - runner.runs.valid.errors(tuned.run.model)


def main() -> None:
    """Print the mean nDCG of each form, and the gain over binary with its standard error over users."""
    torch.set_num_threads(1)
    rows = plays()
    found: dict[str, list[Float64s]] = {name: [] for name in FORMS}
    for seed in range(SEEDS):
        data = rg.load(rows, split_seed=seed, scale=(0, 1000))
        for name, form in FORMS.items():
            train, valid = (
                replace(part, rating=form(part.rating).astype(np.float32)) for part in (data.train, data.valid)
            )
            found[name].append(ndcg(replace(data, scale=(0.0, 1.0), train=train, valid=valid), seed))
    result = {}
    for name, by_user in found.items():
        values, gain = np.concatenate(by_user), np.concatenate(by_user) - np.concatenate(found["binary"])
        error = float(gain.std() / np.sqrt(len(gain)))
        seeds = [float(part.mean()) for part in by_user]
        result[name] = {
            "ndcg": float(values.mean()),
            "by_seed": seeds,
            "gain": float(gain.mean()),
            "standard_error": error,
        }
    json.dump({"pairs": len(rows), "seeds": SEEDS, "valid": result}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()

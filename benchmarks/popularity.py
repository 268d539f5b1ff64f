"""How much a movie's popularity should weigh in a list: nDCG@10 on validation ratings; writes results/popularity.json.

    python benchmarks/popularity.py

Relevant is a validation rating of at least 4; the candidates are all movies without a training rating of the user. The
model is fitted on the training split alone, so that the test ratings play no part.
"""

import json
import math
import os
import time
from pathlib import Path

import numpy as np

import reelgraph as rg
from reelgraph.config import TrainConfig

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("REELGRAPH_DATA", HERE.parents[1] / "shared" / "data"))
WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
K = 10


def ndcg(model: rg.Recommender, relevant: dict[str, set[str]]) -> float:
    """Mean over users with a relevant movie; the denominator is the best list that user could have."""
    discount = 1 / np.log2(np.arange(2, K + 2))
    gains = []
    for user, movies in relevant.items():
        hits = [line.movie.movie_id in movies for line in model.recommend(user, k=K)]
        gains.append(discount[: len(hits)][hits].sum() / discount[: min(K, len(movies))].sum())
    return float(np.mean(gains))


def main() -> None:
    """Measure on three data sets."""
    found: dict[str, dict[str, float]] = {}
    for name, path in {"ml-100k": "ml-100k/u1.base", "ml-latest-small": None, "ml-1m": "ml-1m/ratings.csv"}.items():
        data = rg.load(None if path is None else DATA / path)
        model = rg.fit(data, TrainConfig(refit=False, max_steps=300))
        relevant: dict[str, set[str]] = {}
        for user, item, rating in zip(data.valid.user_index, data.valid.item_index, data.valid.rating, strict=True):
            if rating >= 4:
                relevant.setdefault(data.users.id(int(user)), set()).add(data.items.id(int(item)))
        found[name] = {}
        for weight in WEIGHTS:
            model.popularity_weight = weight
            found[name][f"{weight:g}"] = value = ndcg(model, relevant)
            assert math.isfinite(value)
            print(f"{name}: weight {weight:g}, nDCG@{K} {value:.4f}", flush=True)
    out = HERE / "results" / "popularity.json"
    out.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "ndcg@10": found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

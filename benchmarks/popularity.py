"""How much a movie's popularity should weigh in a list: nDCG@10 on validation ratings; writes results/popularity.json.

    python benchmarks/popularity.py

The model is fitted on the training split alone, and the test ratings play no part.
"""

import json
import os
import time
from pathlib import Path

import reelgraph as rg
from reelgraph.config import TrainConfig
from reelgraph.ranking import evaluate_ranking

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("REELGRAPH_DATA", HERE.parents[1] / "shared" / "data"))
WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0)


def main() -> None:
    """Measure on three data sets."""
    found: dict[str, dict[str, float]] = {}
    for name, path in {"ml-100k": "ml-100k/u1.base", "ml-latest-small": None, "ml-1m": "ml-1m/ratings.csv"}.items():
        data = rg.load(None if path is None else DATA / path)
        model = rg.fit(data, TrainConfig(refit=False, tune="none", max_steps=300))
        found[name] = {}
        for weight in WEIGHTS:
            model.popularity_weight = weight
            report = evaluate_ranking(model.scores, data.train, data.valid, len(data.items), data.scale[1])
            found[name][f"{weight:g}"] = report.ndcg
            print(f"{name}: weight {weight:g}, nDCG@10 {report.ndcg:.4f}", flush=True)
    out = HERE / "results" / "popularity.json"
    text = {"date": time.strftime("%Y-%m-%d"), "command": "python benchmarks/popularity.py", "ndcg@10": found}
    out.write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

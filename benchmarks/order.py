"""What each order of lists costs and covers: python benchmarks/order.py MODEL PREPARED [MODEL PREPARED ...].

Each MODEL is trained with `--no-use-all` on PREPARED, so that its lists may hold the test movies. The damping is chosen
on validation ratings in the training; the test ratings are used here alone. Writes results/order.json.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measuring import describe

import reelgraph as rg
from reelgraph.arrays import NO_ITEM, Indices
from reelgraph.data.dataset import load_prepared
from reelgraph.metrics.ranking import evaluate_lists
from reelgraph.recommend.lists import ORDERS, ListOptions
from reelgraph.recommend.recommender import Recommender

HERE = Path(__file__).resolve().parent
TOP = 0.01  # share of the movies, the most rated ones
OPTIONS: dict[str, ListOptions] = {
    **{str(order): {"order": order} for order in ORDERS},
    "calibration 0.2": {"calibration": 0.2}, "calibration 0.5": {"calibration": 0.5},
}  # fmt: skip


def measure(model: Recommender, prepared: Path) -> dict[str, dict[str, float]]:
    """NDCG@10 on the test ratings, and coverage and shares of places over the lists of 10 of all users."""
    data, everyone = load_prepared(prepared), np.arange(len(model.users), dtype=np.int32)
    counts, rows = model.predictor.item_counts, {}
    top = np.argsort(-counts, kind="stable")[: int(np.ceil(TOP * len(counts)))]
    for name, options in OPTIONS.items():

        def lists(users: Indices, options: ListOptions = options) -> Indices:
            return model.list_indices(users, **(options | {"k": 20}))

        report = evaluate_lists(lists, model.artifact.ratings, data.test, len(model.items), model.predictor.high)
        listed = model.list_indices(everyone, **(options | {"k": 10}))
        places = np.bincount(listed[listed != NO_ITEM], minlength=len(counts))
        rows[name] = {
            "ndcg": report.ndcg,
            "coverage": float((places > 0).mean()),
            "places_of_most_rated": float(places[top].sum() / places.sum()),
            "places_of_most_listed": float(np.sort(places)[::-1][: len(top)].sum() / places.sum()),
            "median_ratings": float(np.median(counts[listed[listed != NO_ITEM]])),
        }
    return {name: {what: round(value, 4) for what, value in row.items()} for name, row in rows.items()}


def main() -> None:
    """Measure each model and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", type=Path, nargs="+", metavar="MODEL PREPARED")
    paths = parser.parse_args().paths
    measured: dict[str, Any] = {}
    for path, prepared in zip(paths[::2], paths[1::2], strict=True):
        model = rg.open(path)
        damping = (model.artifact.manifest["ranking"] or {}).get("damping")
        measured[prepared.name] = {"damping": damping, "orders": measure(model, prepared)}
    result = describe("python benchmarks/order.py MODEL PREPARED ...") | {"data": measured}
    (HERE / "results" / "order.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()

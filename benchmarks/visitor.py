"""Latency of requests of new users: python benchmarks/visitor.py MODEL; writes results/visitor.json."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measuring import describe

import reelgraph as rg
from reelgraph.recommend.recommender import Recommender
from reelgraph.recommend.visitor import Visitor

HERE = Path(__file__).resolve().parent
VISITORS, RATINGS = 500, 20


def visitors(model: Recommender, seed: int = 0) -> list[dict[str, float]]:
    """New users with ratings taken from users of the model."""
    rng, people = np.random.default_rng(seed), []
    active = np.flatnonzero(model.predictor.user_counts >= RATINGS + 1)
    for user in rng.choice(active, VISITORS):
        items, stars = model.predictor.seen(int(user))
        chosen = rng.choice(len(items), RATINGS, replace=False)
        people.append({model.items.id(int(items[place])): float(stars[place]) for place in chosen})
    return people


def milliseconds(run: Callable[[int], object]) -> dict[str, float]:
    """Median and 99th percentile over the visitors, after a warm-up."""
    taken = []
    for number in range(-20, VISITORS):
        started = time.perf_counter()
        run(max(number, 0))
        if number >= 0:
            taken.append(1000 * (time.perf_counter() - started))
    return {"p50": round(float(np.quantile(taken, 0.5)), 3), "p99": round(float(np.quantile(taken, 0.99)), 3)}


def main() -> None:
    """Measure each request and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    path = parser.parse_args().model
    model = rg.open(path)
    people = visitors(model)
    known = [model.visitor(ratings) for ratings in people]
    extra = model.items.id(int(model.predictor.item_counts.argmax()))

    def one_more(number: int) -> object:
        visitor: Visitor = known[number]
        visitor.rate(extra, 5)
        suggestions = visitor.recommend(k=10)
        visitor.remove(extra)
        return suggestions

    first = [visitor.recommend(k=1)[0].movie.movie_id for visitor in known]
    measured = {
        f"{RATINGS} ratings, list of 10": milliseconds(lambda n: model.recommend(ratings=people[n], k=10)),
        "no rating, start list of 10": milliseconds(lambda _: model.recommend(ratings={}, k=10)),
        "one rating more, list of 10": milliseconds(one_more),
        "list of 10, diversity 0.3": milliseconds(lambda n: known[n].recommend(k=10, diversity=0.3)),
        "predictions of all movies": milliseconds(lambda n: known[n].predict()),
        "explanation of the first of the list": milliseconds(lambda n: known[n].explain(first[n])),
        "explanation of the most rated movie": milliseconds(lambda n: known[n].explain(extra)),
    }
    result = describe(f"python benchmarks/visitor.py {path.name}") | {
        "movies": len(model.items),
        "users": len(model.users),
        "ratings": len(model.predictor.seen_rating),
        "milliseconds": measured,
    }
    (HERE / "results" / "visitor.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""How fast a visitor is known by the movies they are asked about: python benchmarks/asking.py ML-100K [--work DIR].

For each seed a fifth of the users is held out entirely, and a model is trained on the others. Half of a held-out user's
ratings are what they can answer with; the others are the test. They are shown movies, `ROW` at a time, and rate those
that they can, until they have given a number of answers. Lists are of the whole catalogue without what they could have
answered with, so that all ways of asking are judged on the same movies. Writes results/asking.json.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measuring import describe

import reelgraph as rg
from reelgraph.data.dataset import LIKED
from reelgraph.recommend.recommender import Recommender

HERE = Path(__file__).resolve().parent
SEEDS, ROW, HELD_OUT = 5, 10, 0.2
ANSWERS = (0, 3, 5, 8, 10)
Ratings = dict[str, float]


class HeldOut(NamedTuple):
    """The ratings of a user whom the model does not know."""

    answers: Ratings
    test: Ratings


Asking = Callable[[Recommender, HeldOut], Iterator[list[str]]]


def popular(model: Recommender, _: HeldOut) -> Iterator[list[str]]:
    """The most rated movies first."""
    order = np.argsort(-model.predictor.item_counts, kind="stable")
    for start in range(0, len(order), ROW):
        yield [model.items.id(item) for item in order[start : start + ROW].tolist()]


def useful(model: Recommender, person: HeldOut) -> Iterator[list[str]]:
    """Those of `Recommender.ask`, in view of the answers to all rows before."""
    shown: list[str] = []
    while True:
        given = {movie: person.answers[movie] for movie in shown if movie in person.answers}
        row = [movie.movie_id for movie in model.ask(given, k=ROW, deny=shown)]
        if not row:
            return
        yield row
        shown += row


def answers_of(asking: Asking, model: Recommender, person: HeldOut) -> tuple[list[str], list[int]]:
    """The first movies that the user could rate, and how many were shown up to each."""
    given, shown, number = list[str](), list[int](), 0
    for row in asking(model, person):
        for movie in row:
            number += 1
            if movie in person.answers and len(given) < max(ANSWERS):
                given.append(movie)
                shown.append(number)
        if len(given) == max(ANSWERS):
            break
    return given, shown


def judge(model: Recommender, people: list[HeldOut], given: list[list[str]]) -> dict[str, float]:
    """RMSE over all test ratings and mean nDCG@10 of the users with a liked one."""
    errors, ndcgs = [np.empty(0)], []
    discounts = 1 / np.log2(np.arange(2, 12))
    for person, movies in zip(people, given, strict=True):
        visitor = model.visitor({movie: person.answers[movie] for movie in movies})
        index = model.items.indices(list(person.test))[0]
        stars = np.fromiter(person.test.values(), np.float64)
        errors.append((visitor.predict()[index] - stars) ** 2)
        liked = {movie for movie, rating in person.test.items() if rating >= LIKED * model.predictor.high}
        if liked:
            lines = visitor.recommend(k=10, deny=list(person.answers))
            hits = np.asarray([line.movie.movie_id in liked for line in lines])
            ndcgs.append((hits * discounts[: len(hits)]).sum() / discounts[: min(len(liked), 10)].sum())
    return {"rmse": float(np.sqrt(np.concatenate(errors).mean())), "ndcg": float(np.mean(ndcgs))}


def split_users(data: Path, seed: int, work: Path) -> tuple[Recommender, list[HeldOut]]:
    """A model of four fifths of the users, and the others."""
    with (data / "u.data").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    rng = np.random.default_rng(seed)
    users = sorted({row[0] for row in rows}, key=int)
    held = set(rng.choice(users, int(HELD_OUT * len(users)), replace=False).tolist())
    path = work / f"asking-{seed}"
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", suffix=".csv", dir=work, newline="", encoding="utf-8") as table:
            csv.writer(table).writerows(
                [["userId", "movieId", "rating", "timestamp"], *(row for row in rows if row[0] not in held)]
            )
            table.flush()
            rg.fit(rg.load(table.name, items=data / "u.item"), tune="none", seed=seed).save(path)
    model, people = rg.open(path), []
    for user in sorted(held, key=int):
        own = [row for row in rows if row[0] == user and row[1] in model.items]
        order = rng.permutation(len(own)).tolist()
        parts = [{own[place][1]: float(own[place][2]) for place in half} for half in (order[::2], order[1::2])]
        if len(parts[0]) >= max(ANSWERS):
            people.append(HeldOut(*parts))
    return model, people


def measure(data: Path, work: Path, seed: int) -> dict[str, Any]:
    """Measures after each number of answers, by way of asking."""
    model, people = split_users(data, seed, work)
    result: dict[str, Any] = {"people": len(people)}
    for name, asking in {"popular": popular, "useful": useful}.items():
        given = [answers_of(asking, model, person) for person in people]
        result[name] = {}
        for count in ANSWERS:
            measures = judge(model, people, [movies[:count] for movies, _ in given])
            shown = [numbers[count - 1] for _, numbers in given if count]
            result[name][str(count)] = measures | {"shown": float(np.median(shown)) if shown else 0.0}
    return result


def main() -> None:
    """Measure all seeds and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the folder ml-100k")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()), help="keeps the models")
    given = parser.parse_args()
    seeds = [measure(given.data, given.work, seed) for seed in range(SEEDS)]
    means = {
        name: {
            str(count): {
                what: round(float(np.mean([seed[name][str(count)][what] for seed in seeds])), 4)
                for what in ("rmse", "ndcg", "shown")
            }
            for count in ANSWERS
        }
        for name in ("popular", "useful")
    }
    result = describe("python benchmarks/asking.py ml-100k") | {"means": means, "seeds": seeds}
    (HERE / "results" / "asking.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(means, indent=1) + "\n")


if __name__ == "__main__":
    main()

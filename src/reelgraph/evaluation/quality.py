"""Quality of a model's lists, explanations and similar movies on test ratings."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from reelgraph.arrays import Floats, Indices, Ints
from reelgraph.data.dataset import LIKED, Interactions
from reelgraph.machine import processors
from reelgraph.metrics.ranking import evaluate_lists, lists_by_score, same_for_all
from reelgraph.recommend.lists import ORDERS, ListOptions
from reelgraph.recommend.recommender import Recommender

# List options that are compared with the default list.
OPTIONS: dict[str, ListOptions] = {
    "diversity 0.1": {"diversity": 0.1}, "diversity 0.3": {"diversity": 0.3}, "diversity 0.5": {"diversity": 0.5},
    "popularity penalty 0.1": {"popularity_penalty": 0.1}, "popularity penalty 0.3": {"popularity_penalty": 0.3},
    "at least 20 ratings": {"min_ratings": 20}, "calibration 0.5": {"calibration": 0.5},
}  # fmt: skip

MAX_USERS = 1000  # users whose lists are evaluated
MAX_PAIRS, DELETED, DRAWS = 200, 3, 5  # deletion test: explanations, ratings deleted from each, random deletions
MAX_MOVIES, MIN_RATINGS, NEIGHBOURS = 300, 20, 10  # similarity test: movies, their training ratings, similar movies


def measure_quality(model: Recommender, test: Interactions, seed: int = 0) -> dict[str, Any]:
    """Results of all measurements of this module as JSON values."""
    lists, deletion = measure_lists(model, test, seed), deletion_test(model, test, seed)
    return {"lists": lists, "deletion": deletion, "similar": similarity_test(model, seed)}


def measure_lists(model: Recommender, test: Interactions, seed: int = 0) -> dict[str, dict[str, float | int | None]]:
    """Ranking metrics of each order and of each of `OPTIONS`, on the same users; `test` is sorted by user."""
    users = np.unique(test.user_index[test.rating >= LIKED * model.predictor.high])
    if len(users) > MAX_USERS:
        sample = np.random.default_rng(seed).choice(users, MAX_USERS, replace=False)
        test = test.take(np.isin(test.user_index, sample))
    stars = model.predictor.has_stars
    refused = {"stars": not stars, "rank": model.ranker is None}
    orders: dict[str, ListOptions] = {f"order {order}": {"order": order} for order in ORDERS if not refused.get(order)}
    seen, length, genres = model.artifact.ratings, min(20, len(model.items)), model.catalogue.genre_members

    def measures(options: ListOptions) -> dict[str, float | int | None]:
        def lists(users: Indices) -> Indices:
            return model.list_indices(users, **(options | {"k": length}))

        states = model.lists.ordering.unit_states
        return evaluate_lists(lists, seen, test, len(model.items), model.predictor.high, states=states).to_json()

    possible = {name: options for name, options in OPTIONS.items() if genres or not options.get("calibration")}
    with ThreadPoolExecutor(processors()) as pool:
        results = dict(zip(orders | possible, pool.map(measures, (orders | possible).values()), strict=True))
    by_order = {name: results.pop(name) for name in orders}
    counts = model.predictor.item_counts.astype(np.float64)
    by_order["popularity"] = evaluate_lists(
        lists_by_score(same_for_all(counts), seen), seen, test, len(model.items), model.predictor.high,
        states=model.lists.ordering.unit_states,
    ).to_json()  # fmt: skip
    return by_order | {"default": by_order["order best"]} | results


def deletion_test(model: Recommender, test: Interactions, seed: int = 0) -> dict[str, dict[str, float]] | None:
    """How much predictions and ranking scores change without the ratings that explanations name first.

    For random test pairs, the user is a visitor with all training ratings, then without the `DELETED` ratings of the
    largest absolute contribution, then without as many random ones. Biases and norms are recomputed each time (after
    Samek et al., Evaluating the Visualization of What a Deep Neural Network Has Learned, 2017). `top` and `random` are
    the mean absolute changes; None if no user has enough ratings or the model's predictions are not sums.
    """
    candidates = np.flatnonzero(model.predictor.user_counts[test.user_index] > 2 * DELETED)
    rates = model.predictor.has_stars
    if (rates and model.scorer.fold_in is None) or not len(candidates):
        return None
    rng = np.random.default_rng(seed)
    changes: dict[str, list[tuple[float, float]]] = {"prediction": [], "ranking": []}
    heads = [("prediction", _stars, _star_parts)] * rates + [("ranking", _score, _score_parts)] * (
        model.ranker is not None
    )
    for row in rng.choice(candidates, min(MAX_PAIRS, len(candidates)), replace=False):
        items, stars = model.predictor.seen(int(test.user_index[row]))
        movie = int(test.item_index[row])
        for name, number, parts in heads:
            whole = number(model, items, stars, movie)
            largest = np.argsort(-np.abs(parts(model, items, stars, movie)), kind="stable")[:DELETED]
            deletions: list[Ints] = [largest, *(rng.choice(len(items), DELETED, replace=False) for _ in range(DRAWS))]
            kept = [np.setdiff1d(np.arange(len(items)), deleted) for deleted in deletions]
            top, *chance = (abs(whole - number(model, items[rows], stars[rows], movie)) for rows in kept)
            changes[name].append((top, float(np.mean(chance))))
    return {
        name: {"pairs": len(rows), "top": float(np.mean(rows, 0)[0]), "random": float(np.mean(rows, 0)[1])}
        for name, rows in changes.items()
        if rows
    }


def _stars(model: Recommender, items: Indices, stars: Floats, movie: int) -> float:
    state = model.scorer.visitor(items, model.predictor.standardise(np.asarray(stars, np.float32)))
    return float(model.scorer.score(state, np.asarray([movie]))[0]) * model.predictor.std


def _star_parts(model: Recommender, items: Indices, stars: Floats, movie: int) -> Floats:
    standardised = model.predictor.standardise(np.asarray(stars, np.float32))
    no_raters = np.empty(0, np.int32), np.empty(0, np.float32)
    state = model.scorer.visitor(items, standardised)
    return model.scorer.parts(None, movie, state, (items, standardised), no_raters).because * model.predictor.std


def _score(model: Recommender, items: Indices, stars: Floats, movie: int) -> float:
    return float(_score_parts(model, items, stars, movie).sum())


def _score_parts(model: Recommender, items: Indices, stars: Floats, movie: int) -> Floats:
    assert model.ranker is not None
    _, messages = model.ranker.fold_in.messages(items, model.predictor.standardise(np.asarray(stars, np.float32)))
    parts: Floats = messages @ model.ranker.item_states[movie]
    return parts


def similarity_test(model: Recommender, seed: int = 0) -> dict[str, dict[str, float | None]] | None:
    """Whether similar movies share genres and raters more often than random and popular ones.

    Compares random movies with at least `MIN_RATINGS` training ratings with the `NEIGHBOURS` nearest by state. `genre`
    is the share of pairs with a common genre; `lift` is the users who rated both movies times all users, divided by the
    product of the users who rated each, mean over pairs of movies with ratings. None if no movie has enough ratings.
    """
    predictor, rng = model.predictor, np.random.default_rng(seed)
    candidates = np.flatnonzero(predictor.item_counts >= MIN_RATINGS)
    count = min(NEIGHBOURS, len(model.items) - 1)
    if not len(candidates) or not count:
        return None
    movies = np.sort(rng.choice(candidates, min(MAX_MOVIES, len(candidates)), replace=False))
    states, popular = model.lists.ordering.unit_states, np.argsort(-predictor.item_counts, kind="stable")
    compared: dict[str, list[tuple[int, Indices]]] = {"similar": [], "random": [], "popular": []}
    for movie in movies.tolist():
        nearest = np.argsort(-(states @ states[movie]), kind="stable")
        compared["similar"].append((movie, nearest[nearest != movie][:count]))
        others = np.delete(np.arange(len(model.items)), movie)
        compared["random"].append((movie, rng.choice(others, count, replace=False)))
        compared["popular"].append((movie, popular[popular != movie][:count]))
    return {name: _genre_and_lift(model, pairs) for name, pairs in compared.items()}


def _genre_and_lift(model: Recommender, pairs: list[tuple[int, Indices]]) -> dict[str, float | None]:
    predictor, genre_members = model.predictor, list(model.catalogue.genre_members.values())
    genres_of = np.stack(genre_members, 1) if genre_members else None
    rated = np.zeros(len(model.users), bool)
    lifts, genres = [], []
    for movie, others in pairs:
        known = others[predictor.item_counts[others] > 0]
        rated[:] = False
        rated[predictor.raters(movie)[0]] = True
        both = np.array([rated[predictor.raters(other)[0]].sum() for other in known.tolist()])
        lifts += (both * len(model.users) / (predictor.item_counts[known] * predictor.item_counts[movie])).tolist()
        if genres_of is not None:
            genres += (genres_of[others] & genres_of[movie]).any(1).tolist()
    return {"genre": float(np.mean(genres)) if genres else None, "lift": float(np.mean(lifts)) if lifts else None}

"""How good a model's lists, reasons and similar movies are, on test ratings it has not seen. Numpy only."""

from collections.abc import Callable
from typing import Any

import numpy as np

from reelgraph.arrays import Floats, Indices, Ints
from reelgraph.config import LIKED
from reelgraph.data.dataset import Interactions
from reelgraph.metrics.ranking import evaluate_lists
from reelgraph.recommend.lists import ORDERS, ListOptions
from reelgraph.recommend.recommender import Recommender

# ListOptions whose cost the report states, beside the default list.
WISHES: dict[str, ListOptions] = {
    "diversity 0.1": {"diversity": 0.1},
    "diversity 0.3": {"diversity": 0.3},
    "diversity 0.5": {"diversity": 0.5},
    "popularity penalty 0.1": {"popularity_penalty": 0.1},
    "popularity penalty 0.3": {"popularity_penalty": 0.3},
    "at least 20 ratings": {"min_ratings": 20},
}

MOST_USERS = 1000  # users whose lists are judged for each order and wish

MOST_PAIRS, DELETED, DRAWS = 200, 3, 5  # explanations tested, ratings taken away from each, random ones compared with

MOST_MOVIES, FEWEST_RATINGS, NEAR = 300, 20, 10  # movies whose similar ones are judged


Numbers = Callable[[Recommender, Indices, Floats, int], tuple[float, Floats]]


def judge_lists(model: Recommender, test: Interactions, seed: int = 0) -> dict[str, dict[str, float | int | None]]:
    """The measures of `ranking.RankingReport` by order and by wish, on the same users.

    Args:
        model: the model; its training ratings are what users have seen.
        test: test ratings by the model's indices, sorted by user.
        seed: of which users are judged where there are more than `MOST_USERS`.
    """
    liked = np.unique(test.user_index[test.rating >= LIKED * model.predictor.high])
    if len(liked) > MOST_USERS:
        some = np.random.default_rng(seed).choice(liked, MOST_USERS, replace=False)
        rows = np.isin(test.user_index, some)
        test = test.take(rows)
    wishes: dict[str, ListOptions] = {f"order {order}": {"order": order} for order in ORDERS}  # type: ignore[typeddict-item]
    if model.ranker is None:
        del wishes["order rank"]
    seen, length = model.artifact.ratings, min(20, len(model.items))
    states = model.lists.ordering.unit_states

    def judged(asked: ListOptions) -> dict[str, float | int | None]:
        report = evaluate_lists(
            lambda users: model.list_indices(users, **(asked | {"k": length})),
            seen,
            test,
            len(model.items),
            model.predictor.high,
            states=states,
        )
        return report.to_json()

    found = {name: judged(asked) for name, asked in wishes.items()}
    found["default"] = found["order blend"]  # what a list is ordered by where nobody wishes anything
    return found | {name: judged(asked) for name, asked in WISHES.items()}


def deletion_test(model: Recommender, test: Interactions, seed: int = 0) -> dict[str, dict[str, float]] | None:
    """Whether reasons are reasons: how far a prediction and a ranking score move without the top contributions.

    Of test pairs drawn at random, the user is taken as a visitor with all ratings, then without the `DELETED` ratings
    of the largest absolute contribution, then without as many at random; everything is computed anew each time, so that
    biases and norms change as well (after Samek et al., Evaluating the Visualization of What a Deep Neural Network Has
    Learned, 2017).

    Returns:
        For "prediction", in the data's scale, and "ranking": the number of `pairs`, and the mean absolute changes `top`
        and `random`; None where nobody has enough ratings or the model's predictions are no sums.
    """
    enough = np.flatnonzero(model.predictor.user_counts[test.user_index] > 2 * DELETED)
    if model.scorer.fold_in is None or not len(enough):
        return None
    rng = np.random.default_rng(seed)
    moved: dict[str, list[tuple[float, float]]] = {"prediction": [], "ranking": []}
    for row in rng.choice(enough, min(MOST_PAIRS, len(enough)), replace=False):
        items, stars = model.predictor.seen(int(test.user_index[row]))
        movie = int(test.item_index[row])
        asked = [("prediction", _stars_and_parts)] + ([("ranking", _score_and_parts)] if model.ranker else [])
        for name, numbers in asked:
            whole, parts = numbers(model, items, stars, movie)

            def change(gone: Ints, numbers: Numbers = numbers, whole: float = whole) -> float:
                left = np.setdiff1d(np.arange(len(items)), gone)  # noqa: B023 (called at once)
                return abs(whole - numbers(model, items[left], stars[left], movie)[0])  # noqa: B023

            top = change(np.argsort(-np.abs(parts), kind="stable")[:DELETED])
            chance = [change(rng.choice(len(items), DELETED, replace=False)) for _ in range(DRAWS)]
            moved[name].append((top, float(np.mean(chance))))
    return {
        name: {"pairs": len(rows), "top": float(np.mean(rows, 0)[0]), "random": float(np.mean(rows, 0)[1])}
        for name, rows in moved.items()
        if rows
    }


def _stars_and_parts(model: Recommender, items: Indices, stars: Floats, movie: int) -> tuple[float, Floats]:
    own = model.predictor.standardise(np.asarray(stars, np.float32))
    state = model.scorer.visitor(items, own)
    nobody = np.empty(0, np.int32), np.empty(0, np.float32)
    parts = model.scorer.parts(None, movie, items, own, state, *nobody)
    std = model.predictor.std
    return float(model.scorer.score(state, np.asarray([movie]))[0]) * std, parts.because * std


def _score_and_parts(model: Recommender, items: Indices, stars: Floats, movie: int) -> tuple[float, Floats]:
    assert model.ranker is not None
    _, messages = model.ranker.fold_in.messages(items, model.predictor.standardise(np.asarray(stars, np.float32)))
    parts = messages @ model.ranker.item_states[movie]
    return float(parts.sum()), parts


def similar_test(model: Recommender, seed: int = 0) -> dict[str, dict[str, float | None]] | None:
    """Whether similar movies are: against movies at random and the most popular ones.

    Of movies with at least `FEWEST_RATINGS` training ratings, drawn at random, the `NEAR` nearest by state are compared
    with the movie itself.

    Returns:
        For "similar", "random" and "popular": `genre`, the share of pairs with a genre in common, None without genres;
        and `lift`, users who rated both, times all users, divided by the product of who rated either, mean over pairs
        of movies that both have ratings. None where no movie has enough ratings.
    """
    predictor, rng = model.predictor, np.random.default_rng(seed)
    often = np.flatnonzero(predictor.item_counts >= FEWEST_RATINGS)
    near = min(NEAR, len(model.items) - 1)
    if not len(often) or not near:
        return None
    chosen = np.sort(rng.choice(often, min(MOST_MOVIES, len(often)), replace=False))
    rated = np.zeros(len(model.users), bool)
    members = (
        np.stack(list(predictor.catalogue.genre_members.values()), 1) if predictor.catalogue.genre_members else None
    )
    states, popular = model.lists.ordering.unit_states, np.argsort(-predictor.item_counts, kind="stable")
    others: dict[str, list[tuple[int, Indices]]] = {"similar": [], "random": [], "popular": []}
    for movie in chosen.tolist():
        order = np.argsort(-(states @ states[movie]), kind="stable")
        others["similar"].append((movie, order[order != movie][:near]))
        anything = np.delete(np.arange(len(model.items)), movie)
        others["random"].append((movie, rng.choice(anything, near, replace=False)))
        others["popular"].append((movie, popular[popular != movie][:near]))

    def judged(pairs: list[tuple[int, Indices]]) -> dict[str, float | None]:
        lifts, genres = [], []
        for movie, near_it in pairs:
            known = near_it[predictor.item_counts[near_it] > 0]
            rated[:] = False
            rated[predictor.raters(movie)[0]] = True
            both = np.array([rated[predictor.raters(other)[0]].sum() for other in known.tolist()])
            either = predictor.item_counts[known] * predictor.item_counts[movie]
            lifts += (both * len(model.users) / either).tolist()
            if members is not None:
                genres += (members[near_it] & members[movie]).any(1).tolist()
        return {"genre": float(np.mean(genres)) if genres else None, "lift": float(np.mean(lifts)) if lifts else None}

    return {name: judged(pairs) for name, pairs in others.items()}


def judge(model: Recommender, test: Interactions, seed: int = 0) -> dict[str, Any]:
    """All of it, as JSON values."""
    return {
        "lists": judge_lists(model, test, seed),
        "deletion": deletion_test(model, test, seed),
        "similar": similar_test(model, seed),
    }


def known_pairs(model: Recommender, users: list[str], movies: list[str], rating: Floats) -> Interactions:
    """Test ratings by the model's indices, sorted, without those of users or movies that it does not know.

    Args:
        model: the model.
        users: raw ids of users as text, `(num_ratings,)`.
        movies: raw ids of movies, likewise.
        rating: in the data's scale, `(num_ratings,)`.
    """
    (user, user_known), (item, item_known) = model.users.indices(users), model.items.indices(movies)
    kept = np.flatnonzero(user_known & item_known)
    kept = kept[np.lexsort((item[kept], user[kept]))]
    return Interactions(user[kept], item[kept], np.asarray(rating, np.float32)[kept], None)

"""Cold start: errors and lists for users known by few ratings and for movies known by side features alone.

A fifth of the users is held out. A model fitted to the others is shown 0, 1, 3, 5, 10 and 20 ratings of each held-out
user, in random order, and evaluated on the ratings after the first 20, the same ones however many are revealed.
Likewise, a tenth of the movies is held out and predicted from side features. No evaluated rating is part of a fit or of
the choice of a setting.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from reelgraph.arrays import USER_DAMPING, Floats, Indices, Int64s
from reelgraph.config import TrainConfig
from reelgraph.data.dataset import Dataset, Interactions, merge
from reelgraph.metrics.baselines import Baseline, baselines
from reelgraph.metrics.ranking import evaluate_ranking
from reelgraph.metrics.ratings import rmse
from reelgraph.recommend.recommender import Recommender
from reelgraph.recommend.visitor import Visitor

REVEALED = (0, 1, 3, 5, 10, 20)
HELD_USERS, HELD_ITEMS, VALID = 0.2, 0.1, 0.1  # shares
Fit = Callable[[Dataset, TrainConfig], Recommender]


@dataclass(frozen=True)
class ColdPoint:
    """Results with a given number of revealed ratings per held-out user."""

    revealed: int
    rmse: float  # on the ratings after the first 20, in the data's scale
    bias_rmse: float  # of damped biases that use the same revealed ratings
    ndcg: float  # nDCG@10 of lists in the default order, over the whole catalogue without each user's first 20


@dataclass(frozen=True)
class ColdReport:
    """Results of `evaluate_cold`.

    `movies` holds the number of held-out `movies` and of their `ratings`, `rmse`, `bias_rmse` of the users' biases,
    `ndcg` of lists of these movies, and `random_ndcg` of such lists in random order.
    """

    users: int  # held-out users with more than 20 ratings
    ratings: int  # their ratings after the first 20
    curve: tuple[ColdPoint, ...]
    movies: dict[str, float] | None  # None without side features

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Held:
    """All ratings, sorted into those to reveal and those to evaluate."""

    every: Interactions
    order: Int64s  # rows of `every` by user, in the order in which they are revealed
    place: Int64s  # how many ratings of the same user come before each rating
    users: Indices  # held-out users with ratings in `test`
    test: Interactions
    first: Interactions  # the first 20 ratings of each held-out user


def evaluate_cold(data: Dataset, fit: Fit, config: TrainConfig | None = None, seed: int = 0) -> ColdReport | None:
    """Fit without some users, fit without some movies, and evaluate on both.

    The splits of `data` are joined and split anew, and nothing is tuned. Returns None if no held-out user has more than
    20 ratings.
    """
    config = (config or TrainConfig()).model_copy(
        update={"tune": "none", "session": False, "use_all": False, "seed": seed}
    )
    every, rng = merge(merge(data.train, data.valid), data.test), np.random.default_rng(seed)
    held = rng.permutation(len(data.users))[: int(np.ceil(HELD_USERS * len(data.users)))]
    cold = np.isin(every.user_index, held)
    order = np.lexsort((rng.random(len(every)), every.user_index))
    place = _place_within_user(every, order)
    tested = cold & (place >= REVEALED[-1])
    if not tested.any():
        return None
    model = _fit(data, fit, every.take(~cold), config, rng)
    test, first = every.take(tested), every.take(cold & (place < REVEALED[-1]))
    ratings = _Held(every, order, place, np.unique(test.user_index), test, first)
    biases = baselines(model.artifact.ratings, len(model.users), len(model.items))[-1]
    curve = tuple(_point(model, biases, ratings, number) for number in REVEALED)
    return ColdReport(len(ratings.users), len(test), curve, _cold_movies(data, fit, every, config, rng))


def _point(model: Recommender, biases: Baseline, held: _Held, number: int) -> ColdPoint:
    predictor, lists, every, test = model.predictor, model.lists, held.every, held.test
    visitors, user_bias = {}, np.zeros(len(model.users))
    prediction = np.empty(len(test))
    revealed = held.order[held.place[held.order] < number]
    for user in held.users.tolist():
        mine = revealed[every.user_index[revealed] == user]
        visitors[user] = Visitor(lists)
        visitors[user].rate_indices(every.item_index[mine], every.rating[mine])
        residual = every.rating[mine] - biases.mean - biases.item[every.item_index[mine]]
        user_bias[user] = residual.sum() / (len(mine) + USER_DAMPING)
        rows = test.user_index == user
        prediction[rows] = visitors[user].predict()[test.item_index[rows]]
    baseline = replace(biases, user=user_bias).predict(test)

    def scores(users: Indices) -> Floats:
        return np.stack([lists.score_of(visitors[user].person) for user in users.tolist()])

    ranking = evaluate_ranking(scores, held.first, test, len(model.items), predictor.high)
    bias_rmse = rmse(np.clip(baseline, predictor.low, predictor.high), test.rating)
    return ColdPoint(number, rmse(prediction, test.rating), bias_rmse, ranking.ndcg)


def _cold_movies(
    data: Dataset, fit: Fit, every: Interactions, config: TrainConfig, rng: np.random.Generator
) -> dict[str, float] | None:
    held = rng.permutation(len(data.items))[: int(np.ceil(HELD_ITEMS * len(data.items)))]
    cold = np.isin(every.item_index, held)
    if not cold.any() or cold.all():
        return None
    model = _fit(data, fit, every.take(~cold), config, rng)
    if not np.abs(model.artifact.weights.get("item.side", np.zeros(1))).any():
        return None
    test = every.take(cold)
    predictor, seen = model.predictor, model.artifact.ratings
    biases = baselines(seen, len(data.users), len(data.items))[-1]
    others = np.setdiff1d(np.arange(len(data.items)), held)

    def ndcg(scores: Callable[[Indices], Floats]) -> float:
        def held_scores(users: Indices) -> Floats:
            result = scores(users)
            result[:, others] = -np.inf
            return result

        return evaluate_ranking(held_scores, seen, test, len(data.items), predictor.high).ndcg

    return {
        "movies": len(np.unique(test.item_index)),
        "ratings": len(test),
        "rmse": rmse(predictor.predict(*data.raw_ids(test)), test.rating),
        "bias_rmse": rmse(np.clip(biases.predict(test), predictor.low, predictor.high), test.rating),
        "ndcg": ndcg(model.scores),
        "random_ndcg": ndcg(lambda users: np.random.default_rng(0).random((len(users), len(data.items)))),
    }


def _fit(data: Dataset, fit: Fit, train: Interactions, config: TrainConfig, rng: np.random.Generator) -> Recommender:
    valid = rng.random(len(train)) < VALID
    empty = train.take(slice(0))
    return fit(replace(data, train=train.take(~valid), valid=train.take(valid), test=empty), config)


def _place_within_user(every: Interactions, order: Int64s) -> Int64s:
    """How many ratings of the same user come before each rating."""
    user = every.user_index[order]
    start = np.searchsorted(user, user)
    place = np.empty(len(every), np.int64)
    place[order] = np.arange(len(every)) - start
    return place

"""How good a model is for those it has never seen: users by what they reveal, movies by their side features alone.

A fifth of the users is held out entirely; the model is fitted to the others, and then shown 0, 1, 3, 5, 10 and 20
ratings of each, in an order of chance, so that the curve says what a number of ratings is worth and not what time does.
It is judged on the ratings after the first 20, the same ones however much is revealed. Likewise a tenth of the movies
is held out, and predicted from side features alone. Nothing that is judged is part of any fit or choice.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from reelgraph.arrays import USER_DAMPING, Float32s, Float64s, Indices, Int64s
from reelgraph.config import TrainConfig
from reelgraph.data.dataset import Dataset, Interactions, merge
from reelgraph.metrics.baselines import Baseline, baselines
from reelgraph.metrics.ranking import evaluate_ranking
from reelgraph.metrics.ratings import rmse
from reelgraph.recommend.recommender import Recommender
from reelgraph.recommend.visitor import Visitor

REVEALED = (0, 1, 3, 5, 10, 20)

HELD_USERS, HELD_ITEMS, VALID = 0.2, 0.1, 0.1


Fit = Callable[[Dataset, TrainConfig], Recommender]


@dataclass(frozen=True)
class ColdPoint:
    """What is predicted of users of whom a number of ratings is known.

    Attributes:
        revealed: how many.
        rmse: of the ratings after the first 20, in the data's scale.
        bias_rmse: that of damped biases which see the same ratings.
        ndcg: nDCG at 10 of lists by the default order, of the whole catalogue minus each user's first 20.
    """

    revealed: int
    rmse: float
    bias_rmse: float
    ndcg: float


@dataclass(frozen=True)
class ColdReport:
    """The evaluation.

    Attributes:
        users: users held out who have more than 20 ratings.
        ratings: their ratings after the first 20.
        curve: one point a number of revealed ratings.
        movies: what is predicted of movies without ratings: `movies`, `ratings`, `rmse`, `bias_rmse` by the users'
            biases alone, `ndcg` of lists of these movies alone, `random_ndcg` of such lists in an order of chance; None
            without side features.
    """

    users: int
    ratings: int
    curve: tuple[ColdPoint, ...]
    movies: dict[str, float] | None

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def evaluate_cold(data: Dataset, fit: Fit, config: TrainConfig | None = None, seed: int = 0) -> ColdReport | None:
    """Hold users and movies out, fit twice and judge.

    Args:
        data: ratings; its splits are put together and split anew.
        fit: makes a model of a data set, such as `training.fit.fit`.
        config: settings of the fits; nothing is searched.
        seed: of who is held out and of the fits.

    Returns:
        The report; None where no user held out has more than 20 ratings.
    """
    config = (config or TrainConfig()).model_copy(update={"tune": "none", "session": False, "seed": seed})
    every, rng = merge(merge(data.train, data.valid), data.test), np.random.default_rng(seed)
    held = rng.permutation(len(data.users))[: int(np.ceil(HELD_USERS * len(data.users)))]
    cold = np.isin(every.user_index, held)
    order = np.lexsort((rng.random(len(every)), every.user_index))
    place = _place_within_user(every, order)
    judged = cold & (place >= REVEALED[-1])
    if not judged.any():
        return None
    model = _fit(data, fit, every.take(~cold), config, rng)
    users = np.unique(every.user_index[judged])
    test, hidden = every.take(judged), every.take(cold & (place < REVEALED[-1]))
    line = baselines(model.artifact.ratings, len(model.users), len(model.items))[-1]
    curve = tuple(_point(model, line, every, order, place, users, test, hidden, number) for number in REVEALED)
    return ColdReport(len(users), len(test), curve, _cold_movies(data, fit, every, config, rng))


def _point(
    model: Recommender,
    line: Baseline,
    every: Interactions,
    order: Int64s,
    place: Int64s,
    users: Indices,
    test: Interactions,
    hidden: Interactions,
    number: int,
) -> ColdPoint:
    predictor, lists = model.predictor, model.lists
    visitors, offset = {}, {}
    shown = order[place[order] < number]
    for user in users.tolist():
        mine = shown[every.user_index[shown] == user]
        visitors[user] = visitor = Visitor(lists)
        visitor.rate_indices(every.item_index[mine], every.rating[mine])
        left = every.rating[mine] - line.mean - line.item[every.item_index[mine]]
        offset[user] = float(left.sum() / (len(mine) + USER_DAMPING))
    prediction = np.empty(len(test))
    for user in users.tolist():
        rows = test.user_index == user
        prediction[rows] = visitors[user].predict()[test.item_index[rows]]
    baseline = line.mean + line.item[test.item_index] + np.asarray([offset[user] for user in test.user_index.tolist()])
    ranking = evaluate_ranking(
        lambda some: np.stack([lists.score_of(visitors[user].person) for user in some.tolist()]),
        hidden,
        test,
        len(model.items),
        predictor.high,
    )
    return ColdPoint(
        number,
        rmse(prediction, test.rating),
        rmse(np.clip(baseline, predictor.low, predictor.high), test.rating),
        ranking.ndcg,
    )


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
    line = baselines(seen, len(data.users), len(data.items))[-1]
    others = np.ones(len(data.items), bool)
    others[held] = False

    def score(users: Indices) -> Float32s:
        found = model.scores(users)
        found[:, others] = -np.inf
        return found

    def chance(users: Indices) -> Float64s:
        found = np.random.default_rng(0).random((len(users), len(data.items)))
        found[:, others] = -np.inf
        return found

    def ndcg(made: Any) -> float:
        return evaluate_ranking(made, seen, test, len(data.items), predictor.high).ndcg

    return {
        "movies": len(np.unique(test.item_index)),
        "ratings": len(test),
        "rmse": rmse(predictor.predict(*data.raw_ids(test)), test.rating),
        "bias_rmse": rmse(np.clip(line.predict(test), predictor.low, predictor.high), test.rating),
        "ndcg": ndcg(score),
        "random_ndcg": ndcg(chance),
    }


def _fit(data: Dataset, fit: Fit, train: Interactions, config: TrainConfig, rng: np.random.Generator) -> Recommender:
    valid = rng.random(len(train)) < VALID
    nothing = train.take(slice(0))
    return fit(replace(data, train=train.take(~valid), valid=train.take(valid), test=nothing), config)


def _place_within_user(every: Interactions, order: Int64s) -> Int64s:
    """How many ratings of the same user come before each rating, in its own position."""
    user = every.user_index[order]
    start = np.searchsorted(user, user)
    place = np.empty(len(every), np.int64)
    place[order] = np.arange(len(every)) - start
    return place

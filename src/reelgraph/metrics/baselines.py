"""Baseline predictors: mean, popularity and damped biases."""

from dataclasses import dataclass

import numpy as np

from reelgraph.arrays import BIAS_SWEEPS, ITEM_DAMPING, USER_DAMPING, Float64s, Indices, Int64s
from reelgraph.data.dataset import Interactions


@dataclass(frozen=True)
class Baseline:
    """Predicts mean + user bias + movie bias, in the data's scale."""

    name: str  # a key of `labels.PREDICTORS`
    mean: float
    user: Float64s  # (num_users,), 0 without training ratings
    item: Float64s  # (num_items,)

    def predict(self, pairs: Interactions) -> Float64s:
        """Predicted ratings in the data's scale, not clipped, float64 of shape `(num_pairs,)`."""
        return self.mean + self.user[pairs.user_index] + self.item[pairs.item_index]


def baselines(train: Interactions, num_users: int, num_items: int) -> list[Baseline]:
    """The baselines `mean`, `popularity` and `bias`, fitted to training ratings.

    `popularity` is the least-squares line from log(1 + number of ratings) of a movie to its ratings; `bias` consists of
    the damped biases that the residual model starts from (`models.graph`).
    """
    user, item, rating = train.user_index, train.item_index, train.rating.astype(np.float64)
    mean = float(rating.mean())
    no_user, no_item = np.zeros(num_users), np.zeros(num_items)
    item_count = np.bincount(item, minlength=num_items)
    popularity = np.log1p(item_count)
    centred = popularity - popularity[item].mean()
    spread = float((centred[item] ** 2).sum())
    slope = float((centred[item] * (rating - mean)).sum()) / spread if spread else 0.0
    return [
        Baseline("mean", mean, no_user, no_item),
        Baseline("popularity", mean, no_user, slope * centred),
        Baseline("bias", mean, *damped_biases(user, item, rating - mean, num_users, item_count)),
    ]


def damped_biases(
    user: Indices,
    item: Indices,
    deviation: Float64s,  # ratings minus their mean
    num_users: int,
    item_count: Int64s,
    damping: tuple[float, float] = (USER_DAMPING, ITEM_DAMPING),  # in ratings
) -> tuple[Float64s, Float64s]:
    """Biases of users and movies: alternating damped means of the residuals of the other side."""
    num_items = len(item_count)
    user_count = np.bincount(user, minlength=num_users)
    user_bias = np.zeros(num_users)
    for _ in range(BIAS_SWEEPS):
        item_bias = np.bincount(item, deviation - user_bias[user], num_items) / (item_count + damping[1])
        user_bias = np.bincount(user, deviation - item_bias[item], num_users) / (user_count + damping[0])
    return user_bias, item_bias

"""Session effect: corrects a prediction by the user's other ratings of the same minutes.

Ratings given within minutes of one another have correlated errors (after Koren, Collaborative Filtering with Temporal
Dynamics, 2009, section 3.1, day-specific user biases; here with a kernel). A prediction for time t is corrected by

    s_u(t) = gain * sum_j w_j e_uj / (damping + sum_j w_j),   w_j = exp(-|t - t_j| / seconds)

in the data's scale, over the user's training ratings j of other movies. e_uj is rating j minus its prediction with that
rating hidden. With a time split, ratings later than t have weight 0, as in production. Without a time, s is 0.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from reelgraph.arrays import Float64s, Floats, Int64s, Ints, Mask

SECONDS = (60.0, 180.0, 600.0, 3600.0, 86400.0)  # kernel widths to choose from
DAMPINGS = (1.0, 3.0, 10.0)
BLOCK = 1024  # queries of one user per block, to bound memory
MAX_PAIRS = 200_000  # settings are chosen on at most about so many pairs, those of a random sample of users
REACH = 12.0  # in kernel widths; weights beyond it, below 1e-5, are dropped


@dataclass(frozen=True)
class Residuals:
    """Training residuals, sorted by user and then by time, `(num_edges,)`."""

    start: Ints  # first row of each user, (num_users + 1,)
    item_index: Ints
    timestamp: Int64s  # seconds since 1970
    residual: Float64s  # rating minus its prediction with that rating hidden

    @classmethod
    def of(cls, user_index: Ints, item_index: Ints, timestamp: Int64s, residual: Floats, users: int) -> "Residuals":
        """From columns in any order."""
        order = np.lexsort((timestamp, user_index))
        start = np.searchsorted(user_index[order], np.arange(users + 1))
        return cls(start, item_index[order], timestamp[order], residual[order].astype(np.float64))


@dataclass(frozen=True)
class Queries:
    """Pairs and times to predict, all of shape `(num_pairs,)`; `known` is false where there is no time."""

    user_index: Ints
    item_index: Ints
    timestamp: Int64s
    known: Mask

    def take(self, rows: Mask) -> "Queries":
        """The pairs that a mask, `(num_pairs,)`, selects."""
        return Queries(self.user_index[rows], self.item_index[rows], self.timestamp[rows], self.known[rows])


@dataclass(frozen=True)
class SessionEffect:
    """The settings of the effect."""

    seconds: float  # kernel width
    damping: float  # strength of the shrinkage towards 0, in ratings
    gain: float  # factor on the damped mean
    causal: bool  # ignore ratings later than the queried time

    def predict(self, queries: Queries, history: Residuals) -> Float64s:
        """The effect in the data's scale, float64 of shape `(num_pairs,)`."""
        total, weight = _sums(queries, history, self.seconds, self.causal)
        return self.gain * total / (self.damping + weight)


def read_effect(settings: Any) -> SessionEffect | None:
    """The effect of a manifest entry; None for None."""
    if settings is None:
        return None
    return SessionEffect(**{field.name: settings[field.name] for field in fields(SessionEffect)})


def choose(queries: Queries, error: Floats, history: Residuals, causal: bool) -> SessionEffect | None:
    """The effect that predicts `error`, rating minus prediction, best; None if it gains less than a standard error."""
    if len(error) > MAX_PAIRS:
        sampled = np.random.default_rng(0).random(len(history.start)) < MAX_PAIRS / len(error)
        rows = sampled[queries.user_index]
        queries, error = queries.take(rows), error[rows]
    error = error.astype(np.float64)
    best, most = None, 0.0
    for seconds in SECONDS:
        total, weight = _sums(queries, history, seconds, causal)
        for damping in DAMPINGS:
            mean = total / (damping + weight)
            shared = float((mean * error).sum())
            if shared <= 0:  # also without pairs, or without ratings near them
                continue
            gain = shared / float((mean**2).sum())
            gained = error**2 - (error - gain * mean) ** 2
            if gained.mean() > max(most, gained.std() / np.sqrt(len(error))):
                best, most = SessionEffect(seconds, damping, gain, causal), float(gained.mean())
    return best


def _sums(queries: Queries, history: Residuals, seconds: float, causal: bool) -> tuple[Floats, Floats]:
    """Weighted sum of residuals and sum of weights for every pair, one user after another."""
    total, weight = np.zeros(len(queries.user_index)), np.zeros(len(queries.user_index))
    timed = np.flatnonzero(queries.known)
    timed = timed[np.lexsort((queries.timestamp[timed], queries.user_index[timed]))]
    users = queries.user_index[timed]
    first, last = np.flatnonzero(np.diff(users, prepend=-1)), np.flatnonzero(np.diff(users, append=-1))
    for begin, end in zip(first, last + 1, strict=True):
        for start in range(begin, end, BLOCK):
            rows = timed[start : min(start + BLOCK, end)]
            user = queries.user_index[rows[0]]
            low, high = history.start[user], history.start[user + 1]
            time, asked = history.timestamp[low:high], queries.timestamp[rows]
            near = slice(*np.searchsorted(time, (asked[0] - REACH * seconds, asked[-1] + REACH * seconds)))
            apart = asked[:, None] - time[near]
            kernel = np.exp(-np.minimum(np.abs(apart) / seconds, REACH)) * (np.abs(apart) <= REACH * seconds)
            kernel *= queries.item_index[rows, None] != history.item_index[low:high][near]
            if causal:
                kernel *= apart >= 0
            total[rows], weight[rows] = kernel @ history.residual[low:high][near], kernel.sum(1)
    return total, weight

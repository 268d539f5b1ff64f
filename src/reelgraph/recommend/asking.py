"""Which movies to ask a visitor about next: those whose answers say most, that they may know, and that differ.

    value_i = usefulness_i * sqrt( known_i ) * ( 1 - known_i ) * ( 1 - VARIETY * near_i )

The usefulness of a movie is measured: training users are taken for visitors who have answered for this movie alone, and
it is the mean decrease of the squared error of their other ratings. So it is the expected error left (Rubens, Elahi,
Sugiyama and Kaplan, Active Learning in Recommender Systems, 2015) with the model's own formula for visitors, not an
approximation of it. `known` is the share of the users who rated the movie, the chance that a visitor can answer; the
root and the second factor keep movies that everybody knows, and whose answers therefore say little, from taking all
places (as Rashid et al., Getting to Know You, 2002, balance popularity and entropy). `near` is the cosine with the most
similar movie rated or asked about before. docs/experiments.md compares other powers.
"""

import numpy as np

from reelgraph.arrays import USER_DAMPING, Float32s, Float64s, Indices
from reelgraph.recommend.predictor import Predictor

VARIETY = 0.7
MAX_USERS, MAX_RATINGS = 500, 500  # training users taken for visitors, and most ratings of each
SHRINKAGE = 30.0  # users with the mean usefulness 0 that are added to those who rated a movie


def usefulness_of(predictor: Predictor) -> Float64s:
    """Usefulness of each movie, float64 `(num_items,)`, 0 or more; ones if visitors' states are no sums of ratings."""
    fold_in, scorer = predictor.scorer.fold_in, predictor.scorer
    if fold_in is None or scorer.item_offset is None:
        return np.ones(len(predictor.items))
    gain, count = np.zeros((2, len(predictor.items)))
    raters = np.flatnonzero(predictor.user_counts > 1)
    ends = np.insert(scorer.item_states, 0, 1, axis=1)
    for user in raters[np.unique(np.linspace(0, len(raters) - 1, MAX_USERS).astype(np.int64))].tolist():
        items, stars = predictor.seen(user)
        step = -(-len(items) // MAX_RATINGS)
        items, rating = items[::step], predictor.standardise(stars[::step])
        deviation = rating - fold_in.mean - fold_in.baseline[items]
        bias = (deviation / (1 + USER_DAMPING))[:, None]  # after one answer each, as in `FoldIn`
        states = fold_in.implicit[items] + (deviation[:, None] - bias) * fold_in.residual[items]
        # An answer changes the prediction of each rating by c, so its squared error e^2 falls by 2 e c - c^2. All c are
        # products of the first two below; their sums need no matrix of answers by ratings.
        answer, other = np.hstack([bias, states]), ends[items]
        error = rating - fold_in.mean - scorer.item_offset[items]
        change = (answer * other).sum(1)  # of the answered rating itself, which does not count
        total = 2 * (answer @ (error @ other)) - (answer @ (other.T @ other) * answer).sum(1)
        gain[items] += (total - (2 * error - change) * change) / (len(items) - 1)
        count[items] += 1
    return np.maximum(gain / (count + SHRINKAGE), 0)


def choose_questions(
    usefulness: Float64s, known: Float64s, states: Float32s, rated: Indices, left: Indices, k: int
) -> list[int]:
    """The movies to ask about, in this order.

    Args:
        usefulness: of all movies, `(num_items,)`.
        known: share of the users who rated each movie, `(num_items,)`.
        states: of length 1, `(num_items, dim)`.
        rated: movies rated before.
        left: movies that may be asked about; the result is shorter than `k` if they are fewer.
    """
    value, unit = (usefulness * np.sqrt(known) * (1 - known))[left], states[left]
    near = (unit @ states[rated].T).max(1, initial=0) if len(rated) else np.zeros(len(left), np.float32)
    chosen: list[int] = []
    open_ = np.ones(len(left), bool)
    for _ in range(min(k, len(left))):
        best = int(np.where(open_, value * (1 - VARIETY * near), -1).argmax())
        chosen.append(int(left[best]))
        open_[best] = False
        near = np.maximum(near, unit @ unit[best])
    return chosen

"""How good lists are: rankings of the whole catalogue minus what a user has seen. Numpy only.

A test rating of at least `LIKED` of the scale's highest, 4 of 5 stars, makes a movie relevant. Users without a relevant
test movie are left out, and their number is not part of any denominator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reelgraph.data.dataset import Interactions

LIKED = 0.8
_BLOCK_FLOATS = 1 << 23  # scores held at a time, 32 MB as float32

Floats = npt.NDArray[np.floating[Any]]
Score = Callable[[npt.NDArray[np.int32]], Floats]


@dataclass(frozen=True)
class RankingReport:
    """Means over the users with at least one relevant test movie.

    Attributes:
        users: how many they are.
        ndcg: nDCG at 10: the sum of 1 / log2(rank + 1) over the relevant movies of the list, divided by the sum of the
            best possible list of 10 (min(10, relevant) relevant movies first).
        recall: Recall at 20: relevant movies in a list of 20, divided by all of the user's relevant test movies.
        coverage: movies in at least one of these users' lists of 10, divided by the number of movies.
    """

    users: int
    ndcg: float
    recall: float
    coverage: float


def evaluate_ranking(
    score: Score,
    seen: Interactions,
    test: Interactions,
    num_items: int,
    high: float,
    *,
    k: int = 10,
    recall_k: int = 20,
) -> RankingReport:
    """Judge the lists that scores make, some users at a time, so that memory does not grow with users times movies.

    Args:
        score: scores of all movies, `(num_users_of_the_block, num_items)`, for user indices, int32; higher is better,
            and ties go to the lower index.
        seen: training ratings; their movies are not in the lists.
        test: test ratings.
        num_items: size of the movie vocabulary.
        high: highest rating of the scale.
        k: length of the lists for nDCG and coverage.
        recall_k: length of the lists for Recall.
    """
    liked = test.rating >= LIKED * high
    liked_user, liked_item = test.user_index[liked], test.item_index[liked]
    users, relevant_count = np.unique(liked_user, return_counts=True)
    if not len(users):
        return RankingReport(0, float("nan"), float("nan"), float("nan"))
    gains = 1 / np.log2(np.arange(2, k + 2))
    ndcg, recall, listed = 0.0, 0.0, np.zeros(num_items, bool)
    block = max(1, _BLOCK_FLOATS // num_items)
    for start in range(0, len(users), block):
        some, counts = users[start : start + block].astype(np.int32), relevant_count[start : start + block]
        scores = np.array(score(some), np.float64)
        scores[_cells(some, seen.user_index, seen.item_index)] = -np.inf
        relevant = np.zeros(scores.shape, bool)
        relevant[_cells(some, liked_user, liked_item)] = True
        top = np.argsort(-scores, axis=1, kind="stable")[:, : max(k, recall_k)]
        hits = np.take_along_axis(relevant, top, axis=1) & np.isfinite(np.take_along_axis(scores, top, axis=1))
        best = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(counts, k)]
        ndcg += float((hits[:, :k] @ gains[: hits[:, :k].shape[1]] / best).sum())
        recall += float((hits[:, :recall_k].sum(1) / counts).sum())
        shown = top[:, :k]
        listed[shown[np.isfinite(np.take_along_axis(scores, shown, axis=1))]] = True
    return RankingReport(len(users), ndcg / len(users), recall / len(users), float(listed.mean()))


def _cells(
    users: npt.NDArray[np.int32], user_index: npt.NDArray[np.int32], item_index: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int32]]:
    """Rows and columns of a block's matrix where its users have ratings, which are sorted by user."""
    low, high = np.searchsorted(user_index, (users[0], users[-1] + 1))
    mine = user_index[low:high]
    row = np.searchsorted(users, mine)
    inside = users[row] == mine
    return row[inside], item_index[low:high][inside]

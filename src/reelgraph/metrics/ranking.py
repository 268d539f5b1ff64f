"""Ranking metrics of lists over the whole catalogue without the movies a user has seen.

A movie is relevant to a user if their test rating of it is at least `LIKED` times the highest of the scale, 4 of 5
stars. Users without a relevant test movie are left out of every mean and denominator.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reelgraph.arrays import NO_ITEM, Float64s, Floats, Indices, Int64s, Ints, Mask, top_k, unit_states
from reelgraph.data.dataset import LIKED, Interactions
from reelgraph.tabular import Tabular

_BLOCK_FLOATS = 1 << 23  # scores held at a time, 32 MB as float32
_BY_USER = ("ndcg", "recall", "precision", "average_precision", "reciprocal_rank", "hit_rate")
RECALL_LENGTH = 20  # of the lists for recall
_REPORT = pa.schema([("measure", pa.string()), ("value", pa.float64())])
Score = Callable[[Indices], Floats]  # user indices to scores of all movies, (num_users, num_items)
Lists = Callable[[Indices], Indices]  # user indices to lists, best first, then `NO_ITEM`, (num_users, length)


@dataclass(frozen=True, repr=False)
class RankingReport(Tabular):
    """Means over the users with at least one relevant test movie, of lists of k movies, k = 10 unless stated.

    Novelty is the mean of -log2(ratings of the movie / users with ratings), in bits, over the listed movies; a movie
    without ratings counts as having one. Diversity is the mean of 1 - cosine of the states over all pairs of a list's
    movies, averaged over the lists of at least two.
    """

    users: int
    ndcg: float  # sum of 1 / log2(rank + 1) over the list's relevant movies, divided by that of the best list of k
    recall: float  # relevant movies in a list of 20, divided by all of the user's relevant test movies
    precision: float  # relevant movies in the list, divided by k, however short the list
    average_precision: float  # MAP: precisions at the ranks of relevant movies, summed, divided by min(k, relevant)
    reciprocal_rank: float  # MRR: 1 / rank of the first relevant movie, 0 if there is none
    hit_rate: float  # share of the users with a relevant movie in their list
    coverage: float  # share of the movies in at least one of these users' lists
    novelty: float
    diversity: float | None  # None without states
    popularity: float  # mean number of training ratings of the listed movies

    def to_arrow(self) -> pa.Table:
        """A row for each measure: `measure` and `value`."""
        return pa.Table.from_pylist(
            [{"measure": name, "value": value} for name, value in asdict(self).items()], _REPORT
        )

    def to_json(self) -> dict[str, float | int | None]:
        """The report as JSON values; NaN becomes None."""
        return {name: None if value != value else value for name, value in asdict(self).items()}  # noqa: PLR0124


def evaluate_lists(
    lists: Lists,
    seen: Interactions,
    test: Interactions,
    num_items: int,
    high: float,
    *,
    k: int = 10,
    recall_k: int = RECALL_LENGTH,
    states: Floats | None = None,
) -> RankingReport:
    """Evaluate lists without the movies in `seen`, made for blocks of users to bound memory.

    `high` is the highest rating of the scale, `recall_k` the length of the lists for Recall and `k` that for all other
    measures; the diversity is that of `states`, `(num_items, dim)`.
    """
    return _evaluate_by_user(lists, seen, test, num_items, high, k, recall_k, states)[0]


def _evaluate_by_user(
    lists: Lists, seen: Interactions, test: Interactions, num_items: int, high: float, k: int = 10,
    recall_k: int = RECALL_LENGTH, states: Floats | None = None,
) -> tuple[RankingReport, dict[str, Float64s]]:  # fmt: skip
    result = _evaluate(lists, test, num_items, high, k, recall_k, states)
    if result is None:
        nan = float("nan")
        return RankingReport(0, nan, nan, nan, nan, nan, nan, nan, nan, None, nan), dict.fromkeys(_BY_USER, np.empty(0))
    by_user, listed, distances = result
    ratings = np.bincount(seen.item_index, minlength=num_items)
    surprise = -np.log2(np.maximum(ratings, 1) / max(len(np.unique(seen.user_index)), 1))
    total = max(int(listed.sum()), 1)
    report = RankingReport(
        users=by_user.shape[1],
        coverage=float((listed > 0).mean()),
        novelty=float((listed * surprise).sum() / total),
        diversity=float(distances.mean()) if states is not None and len(distances) else None,
        popularity=float((listed * ratings).sum() / total),
        **dict(zip(_BY_USER, by_user.mean(1).tolist(), strict=True)),
    )
    return report, dict(zip(_BY_USER, by_user, strict=True))


def evaluate_ranking(
    score: Score, seen: Interactions, test: Interactions, num_items: int, high: float
) -> RankingReport:
    """Evaluate the lists that result from sorting scores; see `lists_by_score` and `evaluate_lists`."""
    return evaluate_lists(lists_by_score(score, seen), seen, test, num_items, high)


def evaluate_ranking_by_user(
    score: Score, seen: Interactions, test: Interactions, num_items: int, high: float
) -> tuple[RankingReport, dict[str, Float64s]]:
    """`evaluate_ranking`, and its measures by name of each user with a relevant test movie, as `user_ndcg`."""
    return _evaluate_by_user(lists_by_score(score, seen), seen, test, num_items, high)


def user_ndcg(
    score: Score, seen: Interactions, test: Interactions, num_items: int, high: float, k: int = 10
) -> Float64s:
    """NDCG at k of each user with a relevant test movie, in the order of their indices; see `evaluate_ranking`."""
    result = _evaluate(lists_by_score(score, seen, k), test, num_items, high, k, k, None)
    return np.empty(0) if result is None else result[0][0]


def same_for_all(scores: Floats) -> Score:
    """The score that gives every user these scores of all movies, `(num_items,)`, such as popularity."""
    return lambda users: np.tile(scores, (len(users), 1))


def lists_by_score(score: Score, seen: Interactions, length: int = RECALL_LENGTH) -> Lists:
    """Lists of the movies with the highest scores but those in `seen`, sorted by user; ties go to the lower index."""

    def lists(users: Indices) -> Indices:
        scores = np.array(score(users), np.float64)
        scores[_cells(users, seen.user_index, seen.item_index)] = -np.inf
        return top_k(scores, length)

    return lists


def _evaluate(
    lists: Lists, test: Interactions, num_items: int, high: float, k: int, recall_k: int, states: Floats | None
) -> tuple[Float64s, Int64s, Float64s] | None:
    """The measures `_BY_USER`, `(6, num_users)`, how often each movie is listed, and the lists' diversities."""
    liked = test.rating >= LIKED * high
    order = np.lexsort((test.item_index[liked], test.user_index[liked]))
    liked_user, liked_item = test.user_index[liked][order], test.item_index[liked][order]
    users, relevant_count = np.unique(liked_user, return_counts=True)
    if not len(users):
        return None
    measures, distances, listed = [], [np.empty(0)], np.zeros(num_items, np.int64)
    unit = None if states is None else unit_states(states)
    block = max(1, _BLOCK_FLOATS // num_items)
    for start in range(0, len(users), block):
        block_users, counts = users[start : start + block].astype(np.int32), relevant_count[start : start + block]
        top = lists(block_users)[:, : max(k, recall_k)]
        relevant = np.zeros((len(block_users), num_items), bool)
        relevant[_cells(block_users, liked_user, liked_item)] = True
        hits = np.take_along_axis(relevant, np.maximum(top, 0), axis=1) & (top != NO_ITEM)
        measures.append(_measures(hits, counts, k, recall_k))
        shown = top[:, :k]
        listed += np.bincount(shown[shown != NO_ITEM], minlength=num_items)
        if unit is not None:
            distances.append(_distances(shown, unit))
    return np.concatenate(measures, axis=1), listed, np.concatenate(distances)


def _measures(hits: Mask, relevant: Ints, k: int, recall_k: int) -> Float64s:
    """The measures `_BY_USER`, `(6, num_users)`, from relevant places of lists and numbers of relevant movies."""
    first = hits[:, :k]
    rank = np.arange(1, first.shape[1] + 1)
    ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))  # of 1, 2, ... relevant movies
    best = np.minimum(relevant, k)
    any_hit = first.any(1)
    return np.stack([
        (first / np.log2(rank + 1)).sum(1) / ideal[best - 1],
        hits[:, :recall_k].sum(1) / relevant,
        first.sum(1) / k,
        (np.cumsum(first, axis=1) / rank * first).sum(1) / best,
        any_hit / (first.argmax(1) + 1),
        any_hit,
    ])  # fmt: skip


def _distances(shown: Indices, unit: Floats) -> Float64s:
    """Mean of 1 - cosine over the pairs of each list of at least two movies, from states of length 1."""
    listed = shown != NO_ITEM
    states = unit[np.maximum(shown, 0)] * listed[:, :, None]
    length = listed.sum(1)
    # The sum over ordered pairs of different movies is the sum over all pairs minus each movie with itself.
    cosines = (states.sum(1) ** 2).sum(1) - (states**2).sum((1, 2))
    several = length > 1
    return np.asarray(1 - cosines[several] / (length * (length - 1))[several], np.float64)


def _cells(users: Indices, user_index: Indices, item_index: Indices) -> tuple[npt.NDArray[np.intp], Indices]:
    """Rows and columns of the users' ratings, which are sorted by user, in a matrix of these users and all movies."""
    low, high = np.searchsorted(user_index, (users[0], users[-1] + 1))
    mine = user_index[low:high]
    row = np.searchsorted(users, mine)
    inside = users[row] == mine
    return row[inside], item_index[low:high][inside]

"""Metrics of predictions and lists that are given as DataFrames, whichever library has made them."""

import numpy as np

from reelgraph.arrays import NO_ITEM, Float64s, Indices
from reelgraph.data.dataset import LIKED, Interactions
from reelgraph.data.frames import TableLike, as_arrow
from reelgraph.data.pair_files import rows_of
from reelgraph.data.sources import NEEDED, PAIR
from reelgraph.errors import DataError
from reelgraph.metrics import ratings as of_arrays
from reelgraph.metrics.ranking import RankingReport, evaluate_lists

_NOTHING = np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)


def rmse(predictions: TableLike, ratings: TableLike) -> float:
    """Root of the mean squared error over all rows of `ratings`.

    Args:
        predictions: columns `userId`, `movieId`, `prediction`, one row for each pair.
        ratings: columns `userId`, `movieId`, `rating`.

    Raises:
        DataError: if a rated pair has no prediction.
    """
    return of_arrays.rmse(*_pairs(predictions, ratings))


def mae(predictions: TableLike, ratings: TableLike) -> float:
    """Mean absolute error over all rows of `ratings`; see `rmse`."""
    return of_arrays.mae(*_pairs(predictions, ratings))


def ndcg(lists: TableLike, ratings: TableLike, *, k: int = 10, liked: float | None = None) -> float:
    """NDCG at k: the mean of each user's discounted gain, divided by that of the best list; see `list_report`."""
    return list_report(lists, ratings, k=k, liked=liked).ndcg


def recall(lists: TableLike, ratings: TableLike, *, k: int = 10, liked: float | None = None) -> float:
    """Recall at k: the mean share of each user's relevant movies that the list holds; see `list_report`."""
    return list_report(lists, ratings, k=k, liked=liked).recall


def precision(lists: TableLike, ratings: TableLike, *, k: int = 10, liked: float | None = None) -> float:
    """Precision at k: the mean of the relevant movies in each list, divided by k; see `list_report`."""
    return list_report(lists, ratings, k=k, liked=liked).precision


def average_precision(lists: TableLike, ratings: TableLike, *, k: int = 10, liked: float | None = None) -> float:
    """MAP at k: the mean of the precisions at the ranks of relevant movies; see `list_report`."""
    return list_report(lists, ratings, k=k, liked=liked).average_precision


def reciprocal_rank(lists: TableLike, ratings: TableLike, *, k: int = 10, liked: float | None = None) -> float:
    """MRR at k: the mean of 1 / rank of the first relevant movie, 0 without one; see `list_report`."""
    return list_report(lists, ratings, k=k, liked=liked).reciprocal_rank


def hit_rate(lists: TableLike, ratings: TableLike, *, k: int = 10, liked: float | None = None) -> float:
    """The share of users with a relevant movie among the first k of their list; see `list_report`."""
    return list_report(lists, ratings, k=k, liked=liked).hit_rate


def list_report(lists: TableLike, ratings: TableLike, *, k: int = 10, liked: float | None = None) -> RankingReport:
    """All measures of lists at once, each of the first `k` movies; see `RankingReport`.

    Means are over the users with a rating of at least `liked`; one without a list counts as having an empty one. The
    popularity of movies is not known here, so `novelty` and `popularity` are of no use; the catalogue of `coverage` is
    the movies of `lists` and `ratings`.

    Args:
        lists: columns `userId`, `movieId` and `rank`, or, without `rank`, each user's rows in order.
        ratings: columns `userId`, `movieId`, `rating`.
        k: number of movies of each list.
        liked: the lowest rating that makes a movie relevant; default: 0.8 times the highest one.
    """
    shown, held = _lists_of(lists), rows_of(ratings, NEEDED, "ratings")
    users = {name: place for place, name in enumerate(dict.fromkeys(held.user_ids))}
    movies = {name: place for place, name in enumerate(dict.fromkeys([*held.movie_ids, *(row[1] for row in shown)]))}
    table = np.full((max(len(users), 1), k), NO_ITEM, np.int32)
    filled = np.zeros(len(table), np.int64)
    for user, movie in shown:
        row = users.get(user)
        if row is not None and filled[row] < k:
            table[row, filled[row]] = movies[movie]
            filled[row] += 1
    user_index = np.asarray([users[name] for name in held.user_ids], np.int32)
    item_index = np.asarray([movies[name] for name in held.movie_ids], np.int32)
    test = Interactions(user_index, item_index, held.rating.astype(np.float32), None)
    least = LIKED * float(held.rating.max(initial=0.0)) if liked is None else liked

    def of_users(index: Indices) -> Indices:
        return table[index]

    nothing = Interactions(*_NOTHING, None)
    return evaluate_lists(of_users, nothing, test, max(len(movies), 1), least / LIKED, k=k, recall_k=k)


def _lists_of(lists: TableLike) -> list[tuple[str, str]]:
    """Pairs of user and movie, the best movies of each user first."""
    rows = rows_of(lists, PAIR, "lists", (*PAIR,))
    pairs = list(zip(rows.user_ids, rows.movie_ids, strict=True))
    if "rank" not in rows.table.column_names:
        return pairs
    order = np.argsort(np.asarray(rows.table["rank"].to_pylist(), np.float64), kind="stable")
    return [pairs[place] for place in order.tolist()]


def _pairs(predictions: TableLike, ratings: TableLike) -> tuple[Float64s, Float64s]:
    table = as_arrow(predictions, ("userId", "movieId", "prediction"), "predictions")
    if "prediction" in table.column_names:  # beside it, a table of test ratings may hold these
        table = table.drop_columns([name for name in table.column_names if name == "rating"])
        table = table.rename_columns(["rating" if name == "prediction" else name for name in table.column_names])
    made, held = rows_of(table, NEEDED, "predictions"), rows_of(ratings, NEEDED, "ratings")
    found = dict(zip(zip(made.user_ids, made.movie_ids, strict=True), made.rating.tolist(), strict=True))
    pairs = list(zip(held.user_ids, held.movie_ids, strict=True))
    missing = [pair for pair in pairs if pair not in found]
    if missing:
        user, movie = missing[0]
        raise DataError(
            f"predictions: expected one for each of {len(pairs):,} ratings, found none for {len(missing):,}, such as "
            f"user {user}, movie {movie}", "predict these too",
        )  # fmt: skip
    return np.asarray([found[pair] for pair in pairs], np.float64), held.rating

"""Checks that validation and test ratings do not leak into a model's input."""

import copy
from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from reelgraph.arrays import Float64s, Int64s
from reelgraph.data.dataset import SPLITS, Dataset, Interactions
from reelgraph.data.side_features import numbers
from reelgraph.errors import LeakError
from reelgraph.models.base import HidesRatings, Model
from reelgraph.models.graph import BipartiteGraph, build_graph

LEAST_NODES = 20  # least number of nodes with test ratings to compare a side column with statistics of the ratings
SAME = 0.999  # correlation from which on a side column counts as such a statistic
ROUNDING = 1e-9  # of correlations
PROBE_EDGES = 200_000  # number of ratings whose messages are checked
TOLERANCE = 1e-3  # standard deviations; rounding in float32 is far smaller


def check_data(data: Dataset, side_features: bool = True) -> None:
    """Check the splits and, with `side_features`, the tables.

    Splits must share no (user, movie) pair. In a time split no rating may be later than one of a later split. No
    numeric side column may be a statistic (number, mean, sum) of all ratings including test ratings.
    """
    _check_disjoint(data)
    if data.manifest["split"]["kind"] == "time":
        _check_order(data)
    if side_features and len(data.test):
        _check_table(data, data.user_table, "user_index", "userId")
        _check_table(data, data.item_table, "item_index", "movieId")


def _check_disjoint(data: Dataset) -> None:
    pairs = {name: getattr(data, name) for name in SPLITS}
    parts: dict[str, Int64s] = {
        name: part.user_index.astype(np.int64) << 32 | part.item_index for name, part in pairs.items()
    }
    for first, second in combinations(SPLITS, 2):
        shared = np.intersect1d(parts[first], parts[second], assume_unique=True)
        if len(shared):
            user, item = data.users.ids[int(shared[0] >> 32)], data.items.ids[int(shared[0] & 0xFFFFFFFF)]
            raise LeakError(
                f"leak check: expected no (user, movie) pair both in {first} and in {second}, found {len(shared):,}, "
                f"such as user {user}, movie {item}",
                "prepare the ratings again",
            )


def _check_order(data: Dataset) -> None:
    for early, late in combinations(SPLITS, 2):
        before, after = getattr(data, early).timestamp, getattr(data, late).timestamp
        if before is None or after is None or not len(before) or not len(after):
            continue
        if before.max() > after.min():
            raise LeakError(
                f"leak check: expected no {early} rating later than a {late} rating (time split), "
                f"found {int((before > after.min()).sum()):,}",
                "prepare the ratings again with --split time",
            )


def _check_table(data: Dataset, table: pa.Table, side: str, key: str) -> None:
    tested = np.unique(getattr(data.test, side))
    columns = {name: numbers(table[name]) for name in table.column_names if name != key}
    compared = {
        name: (column, here)
        for name, column in columns.items()
        if column is not None and len(here := tested[np.isfinite(column[tested])]) >= LEAST_NODES
    }
    if not compared:
        return
    with_test, without = (_statistics(data, names, side, table.num_rows) for names in (SPLITS, ("train", "valid")))
    for name, (column, here) in compared.items():
        for label, whole in with_test.items():
            close = _correlation(column[here], whole[here])
            if close >= SAME and close > _correlation(column[here], without[label][here]) + ROUNDING:
                raise LeakError(
                    f"leak check: expected side columns without test ratings, found {name!r}, "
                    f"which is the {label} of all ratings of a {key.removesuffix('Id')}, test ratings included",
                    f"leave the column {name!r} out, or compute it from training ratings alone",
                )


def _statistics(data: Dataset, splits: Iterable[str], side: str, rows: int) -> dict[str, Float64s]:
    """Number, mean and sum of each node's ratings, float64 `(rows,)`."""
    number, total = np.zeros((2, rows))
    for part in (getattr(data, name) for name in splits):
        number += np.bincount(getattr(part, side), minlength=rows)
        total += np.bincount(getattr(part, side), part.rating, rows)
    return {"number": number, "mean": total / np.maximum(number, 1), "sum": total}


def _correlation(first: Float64s, second: Float64s) -> float:
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def check_model(model: Model, train: Interactions) -> None:
    """Check that a model's graph holds `train` alone, and that hidden ratings do not reach their own predictions.

    For the second check, predictions of hidden ratings must equal those from a graph without these ratings: without
    their edges, and without their share in biases, residuals, degrees and means. It applies to models that hide
    ratings; `gcn` by definition passes all training ratings as messages.
    """
    graph = model.graph
    mean, train = train.rating.mean(dtype=np.float64), graph.shard.local(train)
    user, item = graph.pairs(train.user_index, train.item_index)
    own = torch.equal(graph.user, user) and torch.equal(graph.item, item)
    rating = torch.as_tensor((train.rating - np.float32(graph.mean)) / np.float32(graph.std))
    if not own or not torch.allclose(graph.rating, rating, atol=1e-5):
        raise LeakError(
            f"leak check: expected a graph of the {len(train):,} training ratings, found other ratings in it",
            "please report this as a bug",
        )
    if not np.isclose(graph.mean, mean, atol=1e-6):
        raise LeakError("leak check: expected the mean of the training ratings, found another", "report it as a bug")
    if isinstance(model, HidesRatings):
        _check_messages(model)


@torch.no_grad()
def _check_messages(model: HidesRatings) -> None:
    graph = _part(model.graph, torch.arange(model.graph.num_edges) < PROBE_EDGES)
    hidden = torch.zeros(graph.num_edges, dtype=torch.bool)
    hidden[:: max(2, min(5, graph.num_edges // 2))] = True
    if hidden.all():
        return
    probe, without_hidden = (
        copy.deepcopy(model, {id(model.graph): part, id(model.graph.shard): part.shard})
        for part in (graph, _part(graph, ~hidden))
    )
    probe.eval()
    masked, _ = probe.hidden_pairs(hidden)
    without = without_hidden.predict(graph.user[hidden], graph.item[hidden])
    apart = float((masked - without).abs().max())
    if not apart <= TOLERANCE:
        raise LeakError(
            "leak check: expected predictions of hidden ratings as if they did not exist, "
            f"found some that differ by {apart:.2g} standard deviations",
            "the model lets hidden ratings into its messages or statistics: correct its hidden_pairs",
        )


def _part(graph: BipartiteGraph, kept: Tensor) -> BipartiteGraph:
    """The graph of some of its ratings, with the whole graph's nodes and standardisation."""
    rating, item = graph.rating[kept], graph.item[kept] - graph.num_users
    rows = Interactions(graph.user[kept].numpy(force=True), item.numpy(force=True), rating.numpy(force=True), None)
    part = build_graph(rows, graph.num_users, graph.num_items, alone=True)
    return part.standardised(rating, graph.mean, graph.std)

"""Each kind of leak is caught, and clean data passes."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from reelgraph.data.dataset import SPLITS, Dataset, Interactions, merge
from reelgraph.errors import LeakError
from reelgraph.models import ResidualModel, residual
from reelgraph.models import graph as graph_module
from reelgraph.models.gcn import GCNModel
from reelgraph.models.graph import BipartiteGraph, View, build_graph, reveal
from reelgraph.training.fit import fit
from reelgraph.training.leaks import LEAST_NODES, check_data, check_model
from tests.support.worlds import checkerboard, interactions, noisy, settings

USERS, ITEMS = 30, 25


def timed(part: Interactions, start: int) -> Interactions:
    return replace(part, timestamp=start + np.arange(len(part), dtype=np.int64))


def time_split(data: Dataset, valid_from: int = 10_000) -> Dataset:
    parts: dict[str, Any] = {
        "train": timed(data.train, 0),
        "valid": timed(data.valid, valid_from),
        "test": timed(data.test, 20_000),
    }
    split = data.manifest["split"] | {"kind": "time"}
    return replace(data, **parts, manifest=data.manifest | {"split": split})


def model_on(graph: BipartiteGraph) -> ResidualModel:
    graph.shard.seed(0)
    return ResidualModel(graph, dim=4, hide=0.3, dropout=0.2, init=0.5)


def test_clean_data_pass() -> None:
    check_data(checkerboard())
    check_data(time_split(checkerboard()))
    fit(checkerboard(), settings())


@pytest.mark.parametrize(("first", "second"), [("train", "valid"), ("train", "test"), ("valid", "test")])
def test_a_pair_in_two_splits_is_named(first: str, second: str) -> None:
    data = checkerboard()
    part = getattr(data, first)
    pair = interactions([int(part.user_index[3])], [int(part.item_index[3])], [1.0])
    changed: dict[str, Any] = {second: merge(getattr(data, second), pair)}
    leaking = replace(data, **changed)
    user, item = data.users.id(int(part.user_index[3])), data.items.id(int(part.item_index[3]))
    with pytest.raises(LeakError, match=rf"in {first} and in {second}, found 1, such as user {user}, movie {item}; "):
        check_data(leaking)


def test_a_later_training_rating_is_caught_in_a_time_split_only() -> None:
    leaking = time_split(checkerboard(), valid_from=100)
    with pytest.raises(LeakError, match=r"no train rating later than a valid rating .*; prepare .* --split time"):
        check_data(leaking)
    random = replace(leaking, manifest=leaking.manifest | {"split": leaking.manifest["split"] | {"kind": "random"}})
    check_data(random)


def test_each_pair_of_splits_is_in_order_in_a_time_split() -> None:
    data = time_split(checkerboard())
    last, first = data.valid, data.test
    assert last.timestamp is not None
    assert first.timestamp is not None
    late = replace(last, timestamp=last.timestamp + (first.timestamp[2] - last.timestamp.max()))
    with pytest.raises(LeakError, match=r"no valid rating later than a test rating .*, found 2;"):
        check_data(replace(data, valid=late))
    same = replace(last, timestamp=np.full(len(last), first.timestamp[0]))
    check_data(replace(data, valid=same))
    early = replace(first, timestamp=first.timestamp - first.timestamp.max())
    with pytest.raises(LeakError, match=r"no train rating later than a test rating"):
        check_data(replace(data, test=early, valid=replace(last, timestamp=None)))
    check_data(replace(data, test=early.take(slice(0))))


def with_column(data: Dataset, name: str, values: npt.NDArray[np.float64]) -> Dataset:
    return replace(data, item_table=data.item_table.append_column(name, pa.array([f"{value:.4f}" for value in values])))


def statistics(data: Dataset, parts: tuple[str, ...]) -> dict[str, npt.NDArray[np.float64]]:
    rows = [getattr(data, part) for part in parts]
    item, rating = (np.concatenate([getattr(part, name) for part in rows]) for name in ("item_index", "rating"))
    count = np.bincount(item, minlength=len(data.items)).astype(float)
    total = np.bincount(item, rating, len(data.items))
    return {"number": count, "mean": total / np.maximum(count, 1), "sum": total}


def uneven() -> Dataset:
    """Movies of different popularity and quality, tested by a tenth of their ratings."""
    rng = np.random.default_rng(1)
    rows = [
        (user, item, float(np.clip(round(rng.normal(1 + item % 5, 1)), 1, 5)))
        for item in range(30)
        for user in rng.permutation(40)[: 5 + item]
    ]
    part = rng.random(len(rows))
    splits: dict[str, Any] = {}
    for name, low, high in (("test", 0, 0.2), ("valid", 0.2, 0.3), ("train", 0.3, 1)):
        chosen = [row for row, share in zip(rows, part, strict=True) if low <= share < high]
        splits[name] = interactions(*(list(column) for column in zip(*chosen, strict=True)))
    return replace(checkerboard(), **splits)


@pytest.mark.parametrize("label", ["number", "mean", "sum"])
def test_a_feature_made_from_test_ratings_is_caught(label: str) -> None:
    data = uneven()
    leaking = with_column(data, "popular", statistics(data, ("train", "valid", "test"))[label])
    with pytest.raises(LeakError, match=rf"'popular', which is the {label} of all ratings of a movie, .*; leave"):
        check_data(leaking)
    check_data(leaking, side_features=False)
    check_data(with_column(data, "popular", statistics(data, ("train", "valid"))[label]))
    check_data(with_column(data, "popular", np.random.default_rng(0).random(len(data.items))))


def test_a_feature_of_users_made_from_test_ratings_is_caught() -> None:
    data = uneven()
    users = np.concatenate([getattr(data, name).user_index for name in SPLITS])
    cells = pa.array([str(count) for count in np.bincount(users, minlength=len(data.users))])
    with_test = replace(data, user_table=data.user_table.append_column("active", cells))
    with pytest.raises(LeakError, match=r"'active', which is the number of all ratings of a user, .*; leave"):
        check_data(with_test)
    check_data(replace(with_test, test=data.test.take(slice(0))))


def test_a_statistic_of_training_ratings_passes_if_each_user_has_one_test_rating() -> None:
    """Both correlations are 1, as in a split of each user's last rating; with these numbers, rounding parts them."""
    counts = np.random.default_rng(635).integers(1, 25, 30)
    rows = [(user, item) for user, count in enumerate(counts.tolist()) for item in range(count)]
    train = interactions([user for user, _ in rows], [item for _, item in rows], [3.0] * len(rows))
    test = interactions(list(range(30)), [25] * 30, [3.0] * 30)
    nothing = train.take(slice(0))
    data = replace(checkerboard(users=30), train=train, valid=nothing, test=test)
    check_data(replace(data, user_table=data.user_table.append_column("active", pa.array(counts.astype(str)))))


def test_a_movie_without_ratings_and_a_constant_column_are_no_leak() -> None:
    data = replace(uneven(), **{name: getattr(checkerboard(items=31), name) for name in ("items", "item_table")})
    with warnings.catch_warnings(action="error"):
        check_data(with_column(data, "same", np.full(31, 7.0)))
    with pytest.raises(LeakError, match="'popular'"):
        check_data(with_column(data, "popular", statistics(data, SPLITS)["sum"]))


@pytest.mark.parametrize(("known", "caught"), [(LEAST_NODES - 1, False), (LEAST_NODES, True)])
def test_a_feature_of_few_tested_movies_is_not_compared(known: int, caught: bool) -> None:
    data = uneven()
    cells: list[str | None] = [f"{value:.4f}" for value in statistics(data, SPLITS)["mean"]]
    tested = np.unique(data.test.item_index)
    for place in tested[known:]:
        cells[place] = None
    leaking = replace(data, item_table=data.item_table.append_column("stars", pa.array(cells)))
    if caught:
        with pytest.raises(LeakError, match="'stars'"):
            check_data(leaking)
    else:
        check_data(leaking)


def test_one_other_rating_in_the_graph_is_caught() -> None:
    data = checkerboard()
    train = data.train
    for name in ("user_index", "item_index", "rating"):
        values = getattr(train, name).copy()
        values[5] = values[5] - 1 if values[5] > 1 else values[5] + 1
        order = np.lexsort((values if name == "item_index" else train.item_index, train.user_index))
        changed: dict[str, Any] = {name: values[order] if name == "item_index" else values}
        model = model_on(build_graph(replace(train, **changed), len(data.users), len(data.items)))
        with pytest.raises(LeakError, match=r"found other ratings in it; .*report"):
            check_model(model, train)


def test_a_graph_of_other_ratings_is_caught() -> None:
    data = checkerboard()
    train = data.train
    graph = build_graph(merge(train, data.test), len(data.users), len(data.items))
    with pytest.raises(LeakError, match=r"found other ratings in it; .*report"):
        check_model(model_on(graph), train)
    graph = build_graph(train, len(data.users), len(data.items))
    check_model(model_on(graph), train)
    shifted = graph.standardised(graph.rating - 0.1 / graph.std, graph.mean + 0.1, graph.std)
    with pytest.raises(LeakError, match=r"mean of the training ratings, .*; report"):
        check_model(model_on(shifted), train)


def everything(graph: BipartiteGraph, visible: Tensor | None = None) -> View:
    return reveal(graph)


def biases(graph: BipartiteGraph, visible: Tensor | None = None) -> View:
    return replace(reveal(graph, visible), bias=reveal(graph).bias)


def degrees(graph: BipartiteGraph, visible: Tensor | None = None) -> View:
    return replace(reveal(graph, visible), degree=reveal(graph).degree)


def to_users(graph: BipartiteGraph, visible: Tensor | None = None) -> View:
    view, whole = reveal(graph, visible), reveal(graph)
    half = graph.num_edges
    return replace(view, rho=torch.cat([whole.rho[:half], view.rho[half:]]))


def to_movies(graph: BipartiteGraph, visible: Tensor | None = None) -> View:
    view, whole = reveal(graph, visible), reveal(graph)
    half = graph.num_edges
    return replace(view, visible=torch.cat([view.visible[:half], whole.visible[half:]]))


@pytest.mark.parametrize("leak", [everything, biases, degrees, to_users, to_movies])
def test_hidden_ratings_that_reach_their_predictions_are_caught(leak: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    train = noisy()
    graph = build_graph(train, USERS, ITEMS)
    model = model_on(graph)
    check_model(model, train)
    assert model.graph is graph
    assert model.training
    monkeypatch.setattr(residual, "reveal", leak)
    with pytest.raises(LeakError, match=r"as if they did not exist.*; .*correct its hidden_pairs"):
        check_model(model, train)
    assert graph_module.reveal is reveal


def test_gcn_has_no_hidden_ratings_to_check() -> None:
    train = noisy()
    graph = build_graph(train, USERS, ITEMS)
    check_model(GCNModel(graph, scale=(1.0, 5.0), dim=4, dropout=0.0), train)


def test_a_leak_stops_the_fit() -> None:
    data = checkerboard()
    shared = interactions([int(data.train.user_index[0])], [int(data.train.item_index[0])], [5.0])
    leaking = replace(data, test=merge(data.test, shared))
    with pytest.raises(LeakError, match="both in train and in test"):
        fit(leaking, settings())

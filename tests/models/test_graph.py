"""The graph and its views against loops over the ratings."""

import numpy as np
import pytest
import torch

from reelgraph.arrays import BIAS_SWEEPS, ITEM_DAMPING, USER_DAMPING
from reelgraph.models import sparse
from reelgraph.models.graph import build_graph, reveal
from tests.support.worlds import noisy

USERS, ITEMS = 30, 25


@pytest.fixture(autouse=True, params=[sparse.BLOCK, 7, 10, 1])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All users in one block, and several blocks whose last one is smaller, as large, or a single user."""
    monkeypatch.setattr(sparse, "BLOCK", request.param)


def dense(matrix: sparse.Halves) -> torch.Tensor:
    return torch.cat([matrix.to_users.to_dense(), torch.stack([block.to_dense() for block in matrix.to_items]).sum(0)])


def test_edges_are_in_both_directions_in_the_order_of_the_products() -> None:
    train = noisy()
    graph = build_graph(train, USERS, ITEMS)
    source, target = graph.edge_index.long()
    ratings = list(zip(train.user_index.tolist(), (train.item_index + USERS).tolist(), strict=True))
    assert list(zip(target.tolist(), source.tolist(), strict=True))[: len(train)] == ratings
    back = list(zip(source.tolist(), target.tolist(), strict=True))[len(train) :]
    assert back == sorted(ratings, key=lambda pair: (pair[0] // sparse.BLOCK, pair[1], pair[0]))
    assert len(graph.edges.matrix(graph.edge_attr).to_items) == -(-USERS // sparse.BLOCK)


def test_blocks_of_users_without_ratings_are_kept() -> None:
    graph = build_graph(noisy(), USERS + 20, ITEMS)
    table = torch.rand(graph.num_nodes, 3)
    matrix = graph.edges.matrix(graph.edge_attr)
    assert torch.allclose(sparse.add_products([(matrix, table)]), dense(matrix) @ table, atol=1e-5)
    assert torch.allclose(matrix @ table[:, 0], dense(matrix) @ table[:, 0], atol=1e-5)


def test_a_matrix_needs_a_value_for_each_edge() -> None:
    graph = build_graph(noisy(), USERS, ITEMS)
    with pytest.raises(ValueError, match="expected a value for each"):
        graph.edges.matrix(graph.rating)


def test_ratings_are_standardised_and_values_follow_their_edges() -> None:
    train = noisy()
    graph = build_graph(train, USERS, ITEMS)
    assert abs(float(graph.rating.mean())) < 1e-6
    assert abs(float(graph.rating.std(unbiased=False)) - 1) < 1e-6
    matrix = dense(graph.edges.matrix(graph.edge_attr))
    for user, item, value in zip(graph.user, graph.item, graph.rating, strict=True):
        assert matrix[user, item] == value
        assert matrix[item, user] == value
    assert int((matrix != 0).sum()) == 2 * len(train)


def naive(train: object, rating: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Biases and residuals by loops over the visible ratings."""
    user, item = train.user_index, train.item_index  # type: ignore[attr-defined]
    seen = np.flatnonzero(visible)
    mean = rating[seen].mean()
    user_bias, item_bias = np.zeros(USERS), np.zeros(ITEMS)
    for _ in range(BIAS_SWEEPS):
        for i in range(ITEMS):
            rows = [e for e in seen if item[e] == i]
            item_bias[i] = sum(rating[e] - mean - user_bias[user[e]] for e in rows) / (len(rows) + ITEM_DAMPING)
        for u in range(USERS):
            rows = [e for e in seen if user[e] == u]
            user_bias[u] = sum(rating[e] - mean - item_bias[item[e]] for e in rows) / (len(rows) + USER_DAMPING)
    rho = np.where(visible > 0, rating - mean - user_bias[user] - item_bias[item], 0)
    return np.concatenate([user_bias, item_bias]), rho, np.asarray(mean)


def test_reveal_equals_the_naive_loops() -> None:
    train = noisy()
    graph = build_graph(train, USERS, ITEMS)
    visible = (np.random.default_rng(1).random(len(train)) < 0.7).astype(np.float32)
    view = reveal(graph, torch.from_numpy(visible))
    bias, rho, mean = naive(train, graph.rating.double().numpy(), visible)
    np.testing.assert_allclose(view.bias.numpy(), bias, atol=1e-5)
    np.testing.assert_allclose(view.rho[: len(train)].numpy(), rho, atol=1e-5)
    np.testing.assert_allclose(view.rho[len(train) :].numpy(), rho[graph.edges.by_item.numpy()], atol=1e-5)
    np.testing.assert_allclose(view.mean.item(), mean, atol=1e-6)
    degree = np.bincount(np.concatenate([graph.user.numpy(), graph.item.numpy()]), np.tile(visible, 2), USERS + ITEMS)
    np.testing.assert_array_equal(view.degree.numpy(), degree)


def test_hidden_ratings_have_no_influence() -> None:
    train = noisy()
    graph = build_graph(train, USERS, ITEMS)
    visible = (torch.rand(len(train), generator=torch.Generator().manual_seed(2)) < 0.6).float()
    before = reveal(graph, visible)
    graph.edge_attr[graph.edges.both_ways(visible) == 0] = 1000.0
    after = reveal(graph, visible)
    for name in ("mean", "bias", "degree", "visible", "rho"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name

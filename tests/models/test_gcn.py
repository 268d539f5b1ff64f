"""The GCN model against the dense formula of its layers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch_geometric.nn import GCNConv

from reelgraph.errors import ConfigError
from reelgraph.models.gcn import GCNModel, to_data
from reelgraph.models.graph import build_graph
from tests.support.worlds import noisy

USERS, ITEMS, DIM = 30, 25, 6


def test_data_scales_ratings_to_the_unit_interval() -> None:
    train = noisy()
    data = to_data(build_graph(train, USERS, ITEMS), (1.0, 5.0))
    assert torch.allclose(data.edge_attr[: len(train)], torch.from_numpy((train.rating - 1) / 4), atol=1e-6)
    assert data.num_nodes == USERS + ITEMS


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchrun starts them, which the settings do not tell."""
    monkeypatch.setattr("reelgraph.models.shard.place", lambda: (0, 2))
    with pytest.raises(ConfigError, match="gcn: expected one process, found 2"):
        GCNModel(build_graph(noisy(), USERS, ITEMS), scale=(1.0, 5.0), dim=DIM, dropout=0.3)


def test_there_are_three_layers() -> None:
    model = GCNModel(build_graph(noisy(), USERS, ITEMS), scale=(1.0, 5.0), dim=DIM, dropout=0.3)
    assert [type(layer) for layer in model.convs] == [GCNConv] * 3
    assert [type(layer) for layer in model.norms] == [nn.BatchNorm1d] * 3


def test_prediction_equals_the_dense_formula() -> None:
    train = noisy()
    graph = build_graph(train, USERS, ITEMS)
    graph.shard.seed(0)
    model = GCNModel(graph, scale=(1.0, 5.0), dim=DIM, dropout=0.3)
    for _ in range(3):  # moves the running statistics of the batch normalisation
        model.train()
        model.training_pairs()
    model.eval()
    adjacency = torch.eye(USERS + ITEMS)
    weight = torch.from_numpy((train.rating - 1) / 4)
    adjacency[graph.user, graph.item] = adjacency[graph.item, graph.user] = weight
    scale = adjacency.sum(1).rsqrt()
    propagate = scale[:, None] * adjacency * scale[None, :]
    state = model.features.weight
    for conv, norm in zip(model.convs, model.norms, strict=True):
        assert isinstance(conv, GCNConv)
        state = torch.relu(norm(propagate @ (state @ conv.lin.weight.T) + conv.bias))
    user, item = graph.user[:20], graph.item[:20]
    expected = model.head(torch.cat([state[user], state[item]], 1)).squeeze(1)
    assert torch.allclose(model.predict(user, item), expected, atol=1e-4)


def test_gradients_equal_finite_differences() -> None:
    torch.manual_seed(0)
    model = GCNModel(build_graph(noisy(), USERS, ITEMS), scale=(1.0, 5.0), dim=DIM, dropout=0.0).double().train()

    def loss() -> torch.Tensor:
        prediction, target = model.training_pairs()
        return F.huber_loss(prediction, target.double(), delta=2.0)

    loss().backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
        step = 1e-6  # small, so that no ReLU turns on the way
        with torch.no_grad():
            parameter.add_(direction, alpha=step)
            above = loss().item()
            parameter.sub_(direction, alpha=2 * step)
            below = loss().item()
            parameter.add_(direction, alpha=step)
        slope = float((parameter.grad * direction).sum())
        assert abs((above - below) / (2 * step) - slope) < 1e-7 + 1e-4 * abs(slope), name


def test_states_change_with_ratings_two_hops_away() -> None:
    graph = build_graph(noisy(share=0.1), USERS, ITEMS)
    graph.shard.seed(0)
    model = GCNModel(graph, scale=(1.0, 5.0), dim=DIM, dropout=0.0).eval()
    user = int(graph.user[0])
    near = set(graph.item[graph.user == user].tolist())
    others = set(graph.user[[item in near for item in graph.item.tolist()]].tolist()) - {user}
    far = sorted(others)[0]
    model.encode()[2][user].sum().backward()  # type: ignore[no-untyped-call]
    gradient = model.features.weight.grad
    assert gradient is not None
    assert gradient[far].any(), "two layers reach the users of the same movies"
    strangers = set(range(USERS)) - others - {user}
    assert not gradient[sorted(strangers)].any()

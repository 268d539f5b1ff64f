"""The classic against the dense formula of its layers."""

import torch
from torch import nn
from torch_geometric.nn import GCNConv
from worlds import noisy

from reelgraph.graph import build_graph
from reelgraph.models import GCNModel

USERS, ITEMS, DIM = 30, 25, 6


def test_layers_are_those_of_the_classic() -> None:
    model = GCNModel(build_graph(noisy(), USERS, ITEMS), scale=(1.0, 5.0), dim=DIM, dropout=0.3)
    assert [type(layer) for layer in model.convs] == [GCNConv] * 3
    assert [type(layer) for layer in model.norms] == [nn.BatchNorm1d] * 3


def test_prediction_equals_the_dense_formula() -> None:
    train = noisy()
    graph = build_graph(train, USERS, ITEMS)
    torch.manual_seed(0)
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

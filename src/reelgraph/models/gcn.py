"""The classic graph convolutional network for ratings, the baseline of the residual model.

Learned node features, three graph convolutions (Kipf and Welling, Semi-Supervised Classification with Graph
Convolutional Networks, 2017) weighted by the ratings, each followed by batch normalisation, ReLU and dropout, and a
fully connected head on the pair's two node states. Every training rating is both message and target.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

from reelgraph.config import TrainConfig
from reelgraph.errors import ConfigError
from reelgraph.models.base import huber_loss
from reelgraph.models.graph import BipartiteGraph, dropout, dropped

NUM_LAYERS = 3
Factors = Sequence[Tensor | None]  # of each layer's dropout
NONE: Factors = (None,) * NUM_LAYERS


def to_data(graph: BipartiteGraph, scale: tuple[float, float]) -> Data:
    """The graph as PyG's `Data` with ratings scaled to [0, 1] as `edge_attr`, float32 `(2 * num_edges,)`."""
    low, high = scale
    rating = (graph.edge_attr * graph.std + graph.mean - low) / (high - low)
    return Data(edge_index=graph.edge_index.long(), edge_attr=rating, num_nodes=graph.num_nodes)


class GCNModel(nn.Module):
    """Three GCNConv layers over users and movies as one set of nodes; edge weights are ratings scaled to [0, 1]."""

    node_tables: tuple[str, ...] = ()  # one process trains it
    constants: tuple[str, ...] = ()
    edge_index: Tensor
    edge_attr: Tensor

    def __init__(self, graph: BipartiteGraph, *, scale: tuple[float, float], dim: int, dropout: float) -> None:
        super().__init__()
        if graph.shard.size > 1:
            raise ConfigError(f"gcn: expected one process, found {graph.shard.size}", "train --model residual")
        data = to_data(graph, scale)
        self.graph, self.scale, self.dropout = graph, scale, dropout
        self.register_buffer("edge_index", data.edge_index, persistent=False)
        self.register_buffer("edge_attr", data.edge_attr, persistent=False)
        self.features = nn.Embedding(graph.num_nodes, dim)
        self.convs = nn.ModuleList(GCNConv(dim, dim, cached=True) for _ in range(NUM_LAYERS))
        self.norms = nn.ModuleList(nn.BatchNorm1d(dim) for _ in range(NUM_LAYERS))
        self.head = nn.Sequential(nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, 1))

    def encode(self, factors: Factors = NONE) -> list[Tensor]:
        """The input of each layer and the output of the last, float32 `(num_nodes, dim)`, with factors of dropout."""
        states = [self.features.weight]
        for conv, norm, factor in zip(self.convs, self.norms, factors, strict=True):
            states.append(dropped(F.relu(norm(conv(states[-1], self.edge_index, self.edge_attr))), factor))
        return states

    def forward(self, user: Tensor, item: Tensor, factors: Factors = NONE) -> Tensor:
        """Standardised predictions of pairs of nodes, float32 `(num_pairs,)`."""
        state = self.encode(factors)[-1]
        prediction: Tensor = self.head(torch.cat([F.embedding(user, state), F.embedding(item, state)], dim=1))
        return prediction.squeeze(1)

    def draw(self) -> Factors:
        """The factors of dropout after each layer."""
        return [dropout(self.features.weight.shape[1], self.dropout, self.graph.shard) for _ in self.convs]

    def loss(self, config: TrainConfig, drawn: Factors) -> Tensor:
        """The mean Huber loss over all training ratings, a scalar."""
        return huber_loss(*self.training_pairs(drawn), config.huber_delta, self.graph.shard)

    def training_pairs(self, factors: Factors = NONE) -> tuple[Tensor, Tensor]:
        """Standardised predictions and targets of all training ratings, each `(num_edges,)`."""
        return self(self.graph.user, self.graph.item, factors), self.graph.rating

    @torch.no_grad()
    def predict(self, user: Tensor, item: Tensor) -> Tensor:
        """Standardised predictions of pairs of nodes in evaluation mode, float32 `(num_pairs,)`."""
        self.eval()
        prediction: Tensor = self(user, item)
        return prediction

    def parameter_groups(self, l2: float, side_l2: float) -> list[dict[str, Any]]:  # noqa: ARG002 (no side features)
        """One group of all parameters."""
        return [{"params": list(self.parameters()), "weight_decay": l2}]

    @torch.no_grad()
    def export(self) -> dict[str, Tensor]:
        """The arrays for serving: states of each layer, weights of the layers and the head.

        Batch normalisation is folded into the convolutions: a layer is `relu(aggregate(x) @ weight + bias)`.
        """
        self.eval()
        states = self.encode()
        users, items = slice(self.graph.num_users), slice(self.graph.num_users, None)
        # GCN normalises by the root of the weighted degree, including the self-loop.
        degree = 1 + torch.zeros(self.graph.num_nodes).index_add_(0, self.edge_index[1], self.edge_attr)
        arrays = {
            "user.state": states[-1][users],
            "item.state": states[-1][items],
            "item.degree": degree[items],
            "visitor.feature": states[0][users].mean(0),
        }
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            assert isinstance(conv, GCNConv)
            assert isinstance(norm, nn.BatchNorm1d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            arrays[f"item.layer{number}"] = states[number][items]
            arrays[f"layer{number}.weight"] = conv.lin.weight.T * gain
            arrays[f"layer{number}.bias"] = (conv.bias - norm.running_mean) * gain + norm.bias
        for name, linear in (("hidden", self.head[0]), ("out", self.head[2])):
            assert isinstance(linear, nn.Linear)
            arrays |= {f"head.{name}.weight": linear.weight.T, f"head.{name}.bias": linear.bias}
        return {name: value.detach().contiguous().clone() for name, value in arrays.items()}

"""The graph of ratings, and what a step may see of it.

Users and movies are numbered as one set of nodes, users first, and every rating is an edge in both directions. So one
sparse product passes messages to both sides at once, and the matrix of any edge value is symmetric.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import Data

from reelgraph.baselines import BIAS_SWEEPS, ITEM_DAMPING, USER_DAMPING
from reelgraph.data.dataset import Interactions


@dataclass(frozen=True)
class BipartiteGraph:
    """Ratings between `num_users` users and `num_items` movies, sorted by user and then by movie.

    Nodes 0 to `num_users - 1` are the users, the next `num_items` the movies.

    Attributes:
        num_users, num_items: sizes of the two sides; nodes without edges are part of the graph.
        user, item: the two ends of each rating as node numbers, int64 of shape `(num_edges,)`.
        rating: standardised ratings, float32 of shape `(num_edges,)`, mean 0 and standard deviation 1.
        mean, std: what the ratings were standardised by, in the data's own scale.
        edge_index: both directions, `(2, 2 * num_edges)`, source above target, sorted by target: first the edges to
            users, which keep the order of the ratings, then those to movies.
        by_item: the ratings' positions in the order of the edges to movies, int64 of shape `(num_edges,)`.
    """

    num_users: int
    num_items: int
    user: Tensor
    item: Tensor
    rating: Tensor
    mean: float
    std: float
    edge_index: EdgeIndex
    by_item: Tensor

    @property
    def num_edges(self) -> int:
        """Number of ratings; `edge_index` has twice as many columns."""
        return self.rating.numel()

    @property
    def num_nodes(self) -> int:
        """Users and movies together."""
        return self.num_users + self.num_items

    def both_ways(self, value: Tensor) -> Tensor:
        """A value a rating, `(num_edges,)`, as a value an edge of `edge_index`, `(2 * num_edges,)`."""
        return torch.cat([value, value[self.by_item]])

    def matrix(self, value: Tensor) -> Tensor:
        """The symmetric sparse matrix of a value a rating, CSR of shape `(num_nodes, num_nodes)`."""
        matrix: Tensor = self.edge_index.to_sparse_csc(self.both_ways(value)).t()
        return matrix

    def pairs(self, user_index: npt.NDArray[np.int32], item_index: npt.NDArray[np.int32]) -> tuple[Tensor, Tensor]:
        """Node numbers of pairs given by user and item index, int64 of the same shape."""
        user = torch.from_numpy(user_index.astype(np.int64))
        return user, torch.from_numpy(item_index.astype(np.int64)) + self.num_users

    def to_data(self, scale: tuple[float, float]) -> Data:
        """The graph as PyG's `Data`, with the ratings scaled to [0, 1] as `edge_attr`, float32 `(2 * num_edges,)`."""
        low, high = scale
        rating = (self.rating * self.std + self.mean - low) / (high - low)
        edge_index = self.edge_index.as_tensor().long()
        return Data(edge_index=edge_index, edge_attr=self.both_ways(rating), num_nodes=self.num_nodes)


def build_graph(train: Interactions, num_users: int, num_items: int) -> BipartiteGraph:
    """The graph of a split's ratings.

    Args:
        train: interactions sorted by user and then by movie, as a `Dataset` holds them.
        num_users: size of the user vocabulary.
        num_items: size of the movie vocabulary.
    """
    user = torch.from_numpy(train.user_index.astype(np.int64))
    item = torch.from_numpy(train.item_index.astype(np.int64)) + num_users
    rating = train.rating.astype(np.float64)
    mean, std = float(rating.mean()), float(rating.std()) or 1.0
    by_item = torch.argsort(item * num_users + user)
    source, target = torch.cat([item, user[by_item]]), torch.cat([user, item[by_item]])
    size = num_users + num_items
    edge_index = EdgeIndex(
        torch.stack([source, target]).int(), sparse_size=(size, size), sort_order="col", is_undirected=True
    )
    return BipartiteGraph(
        num_users=num_users,
        num_items=num_items,
        user=user,
        item=item,
        rating=torch.from_numpy(((rating - mean) / std).astype(np.float32)),
        mean=mean,
        std=std,
        edge_index=edge_index.fill_cache_(),
        by_item=by_item,
    )


@dataclass(frozen=True)
class View:
    """What the visible ratings say, in the graph's standardised scale; hidden ones weigh nothing in any of it.

    Attributes:
        mean: mean visible rating, a scalar tensor.
        bias: damped mean of what a node's other side leaves over, float32 of shape `(num_nodes,)`.
        degree: number of visible edges, float32 of shape `(num_nodes,)`.
        visible: 1 for visible and 0 for hidden, float32 of shape `(2 * num_edges,)`, in the order of `edge_index`.
        rho: visible * (rating - mean - user bias - movie bias), float32 of shape `(2 * num_edges,)`, likewise.
    """

    mean: Tensor
    bias: Tensor
    degree: Tensor
    visible: Tensor
    rho: Tensor


def reveal(graph: BipartiteGraph, visible: Tensor | None = None) -> View:
    """Baseline, residuals and degrees from the visible ratings alone.

    The biases are `BIAS_SWEEPS` alternating damped means (after Koren, Factor in the Neighbors, 2010, section 2.1),
    movies first. With A the matrix of visible edges and R that of their ratings, the sum of r - mu - b over a node's
    edges is R 1 - mu A 1 - A b, so that a sweep is one sparse matrix-vector product.

    Args:
        graph: the graph.
        visible: 1 for visible and 0 for hidden ratings, float32 of shape `(num_edges,)`; all are visible when None.
    """
    if visible is None:
        visible = torch.ones_like(graph.rating)
    rated = visible * graph.rating
    adjacency, ones = graph.matrix(visible), torch.ones(graph.num_nodes)
    degree = adjacency @ ones
    mean = rated.sum() / visible.sum().clamp(min=1)
    total = graph.matrix(rated) @ ones - mean * degree
    damping = torch.full((graph.num_nodes,), ITEM_DAMPING)
    users, items = slice(graph.num_users), slice(graph.num_users, None)
    damping[users] = USER_DAMPING
    bias = torch.zeros(graph.num_nodes)
    for _ in range(BIAS_SWEEPS):
        for side in (items, users):
            bias[side] = ((total - adjacency @ bias) / (degree + damping))[side]
    rho = rated - visible * (mean + bias[graph.user] + bias[graph.item])
    return View(mean, bias, degree, graph.both_ways(visible), graph.both_ways(rho))

"""The bipartite graph of ratings, and the views of it that training steps see."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from reelgraph.arrays import BIAS_SWEEPS, ITEM_DAMPING, USER_DAMPING, Indices
from reelgraph.data.dataset import Interactions
from reelgraph.models.shard import Shard, shard_of
from reelgraph.models.sparse import Edges, blocks


@dataclass(frozen=True)
class BipartiteGraph:
    """Ratings between `num_users` users and `num_items` movies, sorted by user and then by movie.

    Nodes 0 to `num_users - 1` are the users, the next `num_items` the movies. In a distributed training the users are
    this process's own (see `Shard`).
    """

    num_users: int
    num_items: int
    mean: float  # of the ratings before they were standardised, as std
    std: float
    edges: Edges  # every rating as an edge in both directions
    edge_attr: Tensor  # the standardised rating of each edge, float32 (2 * num_edges,)
    shard: Shard

    @property
    def num_edges(self) -> int:
        """Number of ratings."""
        return self.edges.num_edges

    @property
    def num_nodes(self) -> int:
        """Number of users and movies."""
        return self.num_users + self.num_items

    @property
    def edge_index(self) -> Tensor:
        """Source and target of each edge, int32 `(2, 2 * num_edges)`, as PyG has it."""
        return self.edges.index

    @property
    def user(self) -> Tensor:
        """The user node of each rating, int32 `(num_edges,)`."""
        return self.edge_index[1, : self.num_edges]

    @property
    def item(self) -> Tensor:
        """The movie node of each rating, int32 `(num_edges,)`."""
        return self.edge_index[0, : self.num_edges]

    @property
    def rating(self) -> Tensor:
        """The standardised ratings, float32 `(num_edges,)`."""
        return self.edge_attr[: self.num_edges]

    def standardised(self, rating: Tensor, mean: float, std: float) -> "BipartiteGraph":
        """The graph with other standardised ratings, float32 `(num_edges,)`, and their mean and standard deviation."""
        return replace(self, edge_attr=self.edges.both_ways(rating), mean=mean, std=std)

    def pairs(self, user_index: Indices, item_index: Indices) -> tuple[Tensor, Tensor]:
        """User and item indices as nodes, int32 of the same shape."""
        return torch.as_tensor(user_index), torch.as_tensor(item_index) + self.num_users


def build_graph(train: Interactions, num_users: int, num_items: int, *, alone: bool = False) -> BipartiteGraph:
    """Build the graph of ratings sorted by user and movie; `alone` takes all users even in a distributed training."""
    shard = shard_of(train.user_index, num_users, num_items, alone=alone)
    mean, std = float(train.rating.mean(dtype=np.float64)), float(train.rating.std(dtype=np.float64)) or 1.0
    own, here = shard.local(train), shard.users[1] - shard.users[0]
    user, item = torch.as_tensor(own.user_index), torch.as_tensor(own.item_index)
    by_item = torch.empty(len(own), dtype=torch.int32)
    for low, high in blocks(user, here):
        # A stable sort by movie is enough: the ratings are sorted by user already.
        by_item[low:high] = torch.argsort(item[low:high], stable=True) + low
    count = len(own)
    index = torch.empty(2, 2 * count, dtype=torch.int32)
    index[0, :count], index[1, :count] = item + here, user
    index[0, count:], index[1, count:] = user.index_select(0, by_item), item.index_select(0, by_item) + here
    rating = torch.as_tensor((own.rating - np.float32(mean)) / np.float32(std))
    edges = Edges(index, by_item, here, num_items)
    return BipartiteGraph(here, num_items, mean, std, edges, edges.both_ways(rating), shard)


@dataclass(frozen=True)
class View:
    """Statistics of the visible ratings, standardised, float32; hidden ratings have no influence on any of them."""

    mean: Tensor  # a scalar
    bias: Tensor  # damped, (num_nodes,)
    degree: Tensor  # number of visible edges, (num_nodes,)
    visible: Tensor  # 1 for visible and 0 for hidden edges, (2 * num_edges,)
    rho: Tensor  # visible * (rating - mean - user bias - movie bias), (2 * num_edges,)

    @property
    def norm(self) -> Tensor:
        """|N_v|^-1/2 of each node, 1 without visible edges, `(num_nodes,)`."""
        return self.degree.clamp(min=1).rsqrt()


def reveal(graph: BipartiteGraph, visible: Tensor | None = None) -> View:
    """Compute biases, residuals and degrees from the visible ratings, bool `(num_edges,)`; None for all.

    The biases are `BIAS_SWEEPS` alternating damped means, movies first (after Koren, Factor in the Neighbors, 2010,
    section 2.1). With A the matrix of visible edges and R that of their ratings, the sum of r - mu - b over a node's
    edges is R 1 - mu A 1 - A b: half a sweep is one sparse matrix-vector product. Movies' sums run over all processes.
    """
    edges, users, add = graph.num_edges, graph.num_users, graph.shard.add
    seen = torch.ones_like(graph.edge_attr)
    if visible is not None:
        seen[:edges], seen[edges:] = visible, visible.index_select(0, graph.edges.by_item)
    rated = seen * graph.edge_attr
    adjacency, ones = graph.edges.matrix(seen), graph.edge_attr.new_ones(graph.num_nodes)
    sums = torch.stack([adjacency @ ones, graph.edges.matrix(rated) @ ones])
    sums[:, users:] = add(sums[:, users:].contiguous())
    degree, total = sums
    mean = total[users:].sum() / degree[users:].sum().clamp(min=1)
    total = total - mean * degree
    bias = torch.zeros_like(total)
    for _ in range(BIAS_SWEEPS):
        below = add(adjacency.items(bias))
        bias[users:] = (total[users:] - below) / (degree[users:] + ITEM_DAMPING)
        bias[:users] = (total[:users] - adjacency.to_users @ bias) / (degree[:users] + USER_DAMPING)
    # `rated` becomes rho in place: arrays of this size dominate the memory of a step.
    expected = bias.index_select(0, graph.user).add_(bias.index_select(0, graph.item)).add_(mean)
    rated[:edges].addcmul_(seen[:edges], expected, value=-1)
    torch.index_select(rated[:edges], 0, graph.edges.by_item, out=rated[edges:])
    return View(mean, bias, degree, seen, rated)


FEW = 10_000  # ratings; with fewer, a step may hide none by chance


def hide_ratings(
    graph: BipartiteGraph, hide: float, newcomers: float, most: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the ratings that a step hides and scores, and the users that it treats as newcomers.

    A share `hide` of most users' ratings is hidden. For newcomers the share is drawn between `hide` and 1, so that the
    model also learns to predict for users with few ratings. About `most` of the hidden ratings are scored.

    Returns:
        Hidden, bool `(num_edges,)`; newcomers, bool `(num_users,)`; scored, bool `(num_edges,)`, at least one over all
        processes.
    """
    shard = graph.shard
    newcomer, more = (torch.rand(shard.num_users, generator=shard.random) for _ in range(2))
    newcomer = newcomer < newcomers
    share = torch.where(newcomer, hide + (1 - hide) * more, hide)
    number = draws(shard.num_edges, shard.random)[slice(*shard.edges)]
    share, newcomer = share[slice(*shard.users)], newcomer[slice(*shard.users)]
    hidden = less(number, threshold(share).index_select(0, graph.user))
    expected = shard.num_edges * (hide + newcomers * (1 - hide) / 2)
    scored = hidden
    if most is not None and expected > most:  # A lower threshold selects a random part.
        scored = less(number, threshold(share * (most / expected)).index_select(0, graph.user))
    if shard.num_edges < FEW and not shard.total(int(scored.sum())):  # A step needs a target.
        place = int(torch.randint(shard.num_edges, (1,), generator=shard.random)) - shard.edges[0]
        if 0 <= place < graph.num_edges:
            hidden[place] = scored[place] = True
    return hidden, newcomer, scored


def draws(count: int, random: torch.Generator | None) -> Tensor:
    """Uniform random int16 numbers, `(count,)`, four from each 64-bit number, because drawing is serial."""
    drawn = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None, generator=random)
    return drawn.view(torch.int16)[:count]


def threshold(share: Tensor | float) -> Tensor:
    """The int16 number that a share of `draws` is below; shares are rounded to multiples of 2^-16."""
    scaled = ((share if isinstance(share, Tensor) else torch.tensor(share)) * 65536).round().clamp(0, 65535)
    return (scaled - 32768).to(torch.int16)


def less(numbers: Tensor, limit: Tensor) -> Tensor:
    """Which int16 numbers are below a limit, bool; on a CPU by NumPy, which is several times faster than PyTorch."""
    if numbers.device.type == "cpu":
        return torch.from_numpy(numbers.numpy() < limit.numpy())
    return numbers < limit


def dropout(dim: int, share: float, shard: Shard) -> Tensor | None:
    """Dropout's factors on a table of a shard's nodes, `(num_nodes, dim)`: 0, or 1 / (1 - share); None for no dropout.

    They are drawn faster than by PyTorch, and are the same for any number of processes.
    """
    if not share:
        return None
    rows = shard.num_users + shard.num_items
    dropped = less(draws(rows * dim, shard.random), threshold(share)).view(rows, -1)
    kept = 1 - shard.own(dropped).view(torch.uint8).to(torch.float32)  # PyTorch converts bool more slowly.
    return kept.mul_(1 / (1 - share))


def dropped(values: Tensor, factors: Tensor | None) -> Tensor:
    """Values after `dropout`."""
    return values if factors is None else values * factors

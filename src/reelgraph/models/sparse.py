"""Sparse products over the edges of the graph, and their gradients, without storing anything per edge."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reelgraph.models.shard import Shard

BLOCK = 8192  # users in a block; their rows, 1 MB with 32 dimensions, fit into the cache of a core


@dataclass(frozen=True)
class Halves:
    """A symmetric sparse matrix over all nodes, as CSR matrices of the users' rows and of the movies' rows.

    Two products balance the cores better than one over all rows, because movies' rows are the longest. The movies' rows
    are a sum over blocks of users, so that the users' states of a block stay in the cache.
    """

    to_users: Tensor
    to_items: tuple[Tensor, ...]

    def __matmul__(self, other: Tensor) -> Tensor:
        """The product with a vector `(num_nodes,)`, `(num_nodes,)`."""
        return torch.cat([self.to_users @ other, self.items(other)])

    def items(self, other: Tensor) -> Tensor:
        """The movies' rows of the product with a vector `(num_nodes,)`, `(num_items,)`."""
        total = other.new_zeros(len(other) - len(self.to_users))
        for block in self.to_items:
            torch.addmv(total, block, other, out=total)
        return total

    def add_to(self, out: Tensor, table: Tensor, keep: float = 1.0) -> None:
        """Add the product with a table `(num_nodes, dim)` to `keep` times `out`, of the same shape."""
        users, items = out[: len(self.to_users)], out[len(self.to_users) :]
        torch.addmm(users, self.to_users, table, beta=keep, out=users)
        for number, block in enumerate(self.to_items):
            torch.addmm(items, block, table, beta=1.0 if number else keep, out=items)


@dataclass(frozen=True)
class Edges:
    """The edges of a graph of ratings, in the order in which products read them.

    `index` holds source and target, int32 `(2, 2 * num_edges)`: first the edges to users, sorted by user and movie,
    then those to movies, sorted by block of users, movie and user. User nodes come first. `by_item` is the place of
    each edge to a movie among the edges to users, int32 `(num_edges,)`.
    """

    index: Tensor
    by_item: Tensor
    num_users: int
    num_items: int

    @property
    def num_edges(self) -> int:
        """Number of edges in one direction."""
        return self.index.shape[1] // 2

    @cached_property
    def blocks(self) -> list[tuple[int, int]]:
        """First rating and last + 1 of each block of users."""
        return blocks(self.index[1, : self.num_edges], self.num_users)

    @cached_property
    def starts(self) -> tuple[Tensor, list[Tensor]]:
        """Row pointers, int32: of the users, and of the movies in each block."""
        to_users, to_items = self.index[1, : self.num_edges], self.index[1, self.num_edges :] - self.num_users
        in_blocks = [starts(to_items[slice(*block)], self.num_items) for block in self.blocks]
        return starts(to_users, self.num_users), in_blocks

    def both_ways(self, value: Tensor) -> Tensor:
        """Values of the edges to users, `(num_edges,)`, as values of all edges, `(2 * num_edges,)`."""
        return torch.cat([value, value.index_select(0, self.by_item)])

    def some(self, rows: Tensor, chosen: Tensor) -> "Edges":
        """The edges of some ratings: their positions, ascending `(num_chosen,)`, and as a mask, bool `(num_edges,)`."""
        other = self.by_item.index_select(0, places(chosen.index_select(0, self.by_item)))
        place = torch.empty(self.num_edges, dtype=torch.int32)
        place.index_copy_(0, rows, torch.arange(len(rows), dtype=torch.int32))
        item, user = self.index[:, : self.num_edges]
        parts = (item, rows), (user, other), (user, rows), (item, other)
        index = torch.cat([ends.index_select(0, some) for ends, some in parts]).view(2, -1)
        return Edges(index, place.index_select(0, other), self.num_users, self.num_items)

    def matrix(self, value: Tensor) -> Halves:
        """The matrix of the edges' values, float `(2 * num_edges,)` in the order of `index`."""
        edges, nodes = self.num_edges, self.num_users + self.num_items
        if value.numel() != 2 * edges:  # PyTorch's own check is off.
            raise ValueError(f"expected a value for each of {2 * edges:,} edges, found {value.numel():,}")

        def rows(start: Tensor, low: int, high: int) -> Tensor:
            return torch.sparse_csr_tensor(start, self.index[0, low:high], value[low:high], (len(start) - 1, nodes))

        to_users, to_items = self.starts
        blocks = zip(to_items, self.blocks, strict=True)
        return Halves(
            rows(to_users, 0, edges), tuple(rows(start, edges + low, edges + high) for start, (low, high) in blocks)
        )


def places(mask: Tensor) -> Tensor:
    """Where a mask `(num,)` is true, int64; on a CPU by NumPy, which is several times faster than PyTorch."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero().squeeze(1)


def blocks(user: Tensor, num_users: int) -> list[tuple[int, int]]:
    """First rating and last + 1 of each block of users, of ratings sorted by user; at least one block."""
    ends = torch.arange(BLOCK, num_users + BLOCK, BLOCK, dtype=user.dtype, device=user.device)
    return list(pairwise([0, *torch.searchsorted(user.contiguous(), ends).tolist()])) or [(0, 0)]


def starts(row: Tensor, size: int) -> Tensor:
    """Row pointers of entries sorted by row, int32 `(size + 1,)`."""
    start = row.new_zeros(size + 1, dtype=torch.int32)
    start[1:] = torch.bincount(row, minlength=size).cumsum(0)
    return start


def add_products(pairs: Sequence[tuple[Halves, Tensor]]) -> Tensor:
    """The sum of products of matrices with tables `(num_nodes, dim)`, accumulated in place."""
    out = torch.empty_like(pairs[0][1])
    for number, (matrix, table) in enumerate(pairs):
        matrix.add_to(out, table, keep=1.0 if number else 0.0)
    return out


class Channels(torch.autograd.Function):
    """The sum of symmetric sparse matrices times tables, with the movies' rows summed over processes.

    The matrices are their own transposes, so gradients are products with the same matrices.
    """

    @staticmethod
    def forward(ctx: Any, matrices: list[Halves], shard: Shard, *tables: Tensor) -> Tensor:
        """Multiply each matrix with its table `(num_nodes, dim)`; the sum is `(num_nodes, dim)`."""
        ctx.matrices, ctx.shard = matrices, shard
        return Channels.shared(add_products(list(zip(matrices, tables, strict=True))), shard)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of each table; the movies' gradients are summed over processes."""
        shard = ctx.shard
        grad = grads[0] if shard.size == 1 else Channels.shared(grads[0].clone(), shard)
        return None, None, *(add_products([(matrix, grad)]) for matrix in ctx.matrices)

    @staticmethod
    def shared(total: Tensor, shard: Shard) -> Tensor:
        """Sum the movies' rows over processes, in place."""
        if shard.size > 1:
            movies = total[-shard.num_items :]
            movies.copy_(shard.add(movies.contiguous(), "messages"))
        return total


class PairProduct(torch.autograd.Function):
    """<z_u, z_i> for the ends of edges, equal to `(state[user] * state[item]).sum(1)`.

    Neither the pairs' states nor their gradients are stored: the products are a sampled dense-dense product, the
    gradient is a sparse product.
    """

    @staticmethod
    def forward(ctx: Any, state: Tensor, edges: Edges) -> Tensor:
        """Products `(num_edges,)` of states `(num_nodes, dim)`."""
        ctx.save_for_backward(state)
        ctx.edges = edges
        pattern = edges.matrix(state.new_zeros(2 * edges.num_edges)).to_users
        product: Tensor = torch.sparse.sampled_addmm(pattern, state[: edges.num_users], state.t(), beta=0).values()
        return product

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Each node sums the states at the other ends of its edges, weighted by the edges' gradients."""
        return add_products([(ctx.edges.matrix(ctx.edges.both_ways(grads[0])), *ctx.saved_tensors)]), None


@contextmanager
def quiet_sparse() -> Iterator[None]:
    """Turn off PyTorch's checks of sparse matrices and the warning about them."""
    unchecked = torch.sparse.check_sparse_tensor_invariants(enable=False)  # type: ignore[no-untyped-call]
    with unchecked, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CS[CR] tensor support is in beta")
        yield

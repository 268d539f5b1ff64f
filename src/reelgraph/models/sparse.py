"""Sparse products over the edges of the graph, and their gradients; nothing is stored or sorted for an edge."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from reelgraph.models.shard import Shard

BLOCK = 8192  # users whose ratings make a block: their rows, 1 MB with 32 numbers each, stay in a core's cache


@dataclass(frozen=True)
class Halves:
    """A symmetric sparse matrix over all nodes: the rows of users, and those of movies as a sum of blocks of users.

    All are CSR over all columns. Two products keep the cores equally busy; one over all rows, whose movies are the
    longest, takes twice as long. A movie's users are gathered from all over their table, which is larger than a cache
    where there are many: so the movies' sums are made of a block of users after the other.
    """

    to_users: Tensor
    to_items: tuple[Tensor, ...]

    def __matmul__(self, other: Tensor) -> Tensor:
        """The product with a vector `(num_nodes,)`, `(num_nodes,)`."""
        return torch.cat([self.to_users @ other, self.items(other)])

    def items(self, other: Tensor) -> Tensor:
        """The movies' rows of that product, `(num_items,)`."""
        total = other.new_zeros(len(other) - len(self.to_users))
        for block in self.to_items:
            torch.addmv(total, block, other, out=total)
        return total

    def add_to(self, out: Tensor, table: Tensor) -> None:
        """Add the product with a table `(num_nodes, dim)` to `out`, of the same shape."""
        users = len(self.to_users)
        torch.addmm(out[:users], self.to_users, table, out=out[:users])
        for block in self.to_items:
            torch.addmm(out[users:], block, table, out=out[users:])

    def to_dense(self) -> Tensor:
        """The matrix, `(num_nodes, num_nodes)`."""
        movies = torch.stack([block.to_dense() for block in self.to_items]).sum(0)
        return torch.cat([self.to_users.to_dense(), movies])


@dataclass(frozen=True)
class Edges:
    """The edges of a graph of ratings in the order in which products read them: one pattern for any values.

    Attributes:
        index: source above target, int32 `(2, 2 * num_edges)`: first the edges to users, sorted by user and then by
            movie, then those to movies, sorted by block of users, by movie and then by user.
        num_users, num_items: numbers of nodes; users come first.
    """

    index: Tensor
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
        """Where the edges of each row begin, int32: of the users, and of the movies in each block."""
        to_users, to_items = self.index[1, : self.num_edges], self.index[1, self.num_edges :] - self.num_users
        return starts(to_users, self.num_users), [
            starts(to_items[slice(*block)], self.num_items) for block in self.blocks
        ]

    def matrix(self, value: Tensor) -> Halves:
        """The matrix of a value an edge, float `(2 * num_edges,)` in the order of `index`."""
        edges, nodes = self.num_edges, self.num_users + self.num_items
        if value.numel() != 2 * edges:  # Sparse tensors are made without a check of their own.
            raise ValueError(f"expected a value for each of {2 * edges:,} edges, found {value.numel():,}")

        def rows(start: Tensor, low: int, high: int) -> Tensor:
            part = self.index[0, low:high], value[low:high], (len(start) - 1, nodes)
            return torch.sparse_csr_tensor(start, *part)

        to_users, to_items = self.starts
        return Halves(
            rows(to_users, 0, edges),
            tuple(
                rows(start, edges + low, edges + high) for start, (low, high) in zip(to_items, self.blocks, strict=True)
            ),
        )


def blocks(user: Tensor, num_users: int) -> list[tuple[int, int]]:
    """First and last + 1 of the ratings of each `BLOCK` users, of ratings sorted by user; one block at least."""
    ends = torch.arange(BLOCK, num_users + BLOCK, BLOCK, dtype=user.dtype)
    return list(pairwise([0, *torch.searchsorted(user.contiguous(), ends).tolist()])) or [(0, 0)]


def starts(row: Tensor, size: int) -> Tensor:
    """Where the entries of each of `size` rows begin, and where the last one's end, int32 `(size + 1,)`."""
    start = torch.zeros(size + 1, dtype=torch.int32)
    start[1:] = torch.bincount(row, minlength=size).cumsum(0)
    return start


def add_products(pairs: Sequence[tuple[Halves, Tensor]]) -> Tensor:
    """The sum of products of matrices with tables `(num_nodes, dim)`, accumulated in place."""
    out = torch.zeros_like(pairs[0][1])
    for matrix, table in pairs:
        matrix.add_to(out, table)
    return out


class Channels(torch.autograd.Function):
    """The sum of symmetric sparse matrices times tables, the movies' rows summed over processes.

    The matrices are their own transposes, so that the gradients are products with the same two halves: no edge is
    sorted or permuted again.
    """

    @staticmethod
    def forward(ctx: Any, matrices: list[Halves], shard: Shard, *tables: Tensor) -> Tensor:
        """Tables `(num_nodes, dim)`, one a matrix; `(num_nodes, dim)`."""
        ctx.matrices, ctx.shard = matrices, shard
        return Channels.shared(add_products(list(zip(matrices, tables, strict=True))), shard)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Each table's gradient; each process's part of the movies' gradients counts in all processes."""
        shard = ctx.shard
        grad = grads[0] if shard.size == 1 else Channels.shared(grads[0].clone(), shard)
        return None, None, *(add_products([(matrix, grad)]) for matrix in ctx.matrices)

    @staticmethod
    def shared(total: Tensor, shard: Shard) -> Tensor:
        """The movies' rows summed over processes, in place."""
        if shard.size > 1:
            movies = total[-shard.num_items :]
            movies.copy_(shard.add(movies.contiguous(), "messages"))
        return total


class PairProduct(torch.autograd.Function):
    """<z_u, z_i> for pairs of nodes.

    Equals `(state[user] * state[item]).sum(1)`; but here neither the pairs' states nor their gradients are stored: the
    products are a sampled dense-dense product, and the gradient is two sparse ones.
    """

    @staticmethod
    def forward(ctx: Any, state: Tensor, user: Tensor, item: Tensor) -> Tensor:
        """States `(num_nodes, dim)`; pairs int32 `(num_pairs,)`, sorted by user; `(num_pairs,)`."""
        ctx.save_for_backward(state, user, item)
        pattern = _rows(user, item, state.new_zeros(len(user)), len(state))
        product: Tensor = torch.sparse.sampled_addmm(pattern, state, state.t(), beta=0).values()
        return product

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The chain rule: each node collects the states at the other ends, weighted by the pairs' gradients."""
        state, user, item = ctx.saved_tensors
        by_item = torch.argsort(item, stable=True)
        there = _rows(user, item, grads[0], len(state)) @ state
        back = _rows(item[by_item], user[by_item], grads[0][by_item], len(state)) @ state
        return there + back, None, None


def _rows(row: Tensor, column: Tensor, value: Tensor, size: int) -> Tensor:
    """A square CSR matrix of `size` rows from entries sorted by row."""
    # MKL reads the arrays as they lie in memory, strides or not.
    return torch.sparse_csr_tensor(starts(row, size), column.int().contiguous(), value.contiguous(), (size, size))


@contextmanager
def quiet_sparse() -> Iterator[None]:
    """Answer what torch asks with a warning: no, sparse matrices made here need no check of their indices."""
    unchecked = torch.sparse.check_sparse_tensor_invariants(enable=False)  # type: ignore[no-untyped-call]
    with unchecked, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CS[CR] tensor support is in beta")
        yield

"""Sparse products over the edges of the graph, and their gradients; nothing is stored or sorted for an edge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex

from reelgraph.shard import Shard


@dataclass(frozen=True)
class Halves:
    """A symmetric sparse matrix over all nodes: the rows of users and those of movies, each CSR over all columns.

    Two products keep the cores equally busy; one over all rows, whose movies are the longest, takes twice as long.
    """

    to_users: Tensor
    to_items: Tensor

    def __matmul__(self, other: Tensor) -> Tensor:
        """The product with a vector `(num_nodes,)` or a matrix `(num_nodes, dim)`."""
        return torch.cat([self.to_users @ other, self.to_items @ other])

    def to_dense(self) -> Tensor:
        """The matrix, `(num_nodes, num_nodes)`."""
        return torch.cat([self.to_users.to_dense(), self.to_items.to_dense()])


def halves(edge_index: EdgeIndex, value: Tensor, num_users: int) -> Halves:
    """The matrix of a value an edge.

    Args:
        edge_index: edges to users and then to movies, sorted by target, both directions.
        value: float of shape `(2 * num_edges,)`.
        num_users: nodes that are users.
    """
    (start, source), _ = edge_index.get_csc()
    nodes, edges = len(start) - 1, source.numel() // 2
    if value.numel() != 2 * edges:  # Sparse tensors are made without a check of their own.
        raise ValueError(f"expected a value for each of {2 * edges:,} edges, found {value.numel():,}")
    return Halves(
        torch.sparse_csr_tensor(start[: num_users + 1], source[:edges], value[:edges], (num_users, nodes)),
        torch.sparse_csr_tensor(start[num_users:] - edges, source[edges:], value[edges:], (nodes - num_users, nodes)),
    )


def add_products(pairs: Sequence[tuple[Halves, Tensor]], num_users: int) -> Tensor:
    """The sum of products of matrices with tables `(num_nodes, dim)`, accumulated in place."""
    out = torch.zeros_like(pairs[0][1])
    for matrix, table in pairs:
        for half, rows in ((matrix.to_users, out[:num_users]), (matrix.to_items, out[num_users:])):
            torch.addmm(rows, half, table, out=rows)
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
        return Channels.shared(
            add_products(list(zip(matrices, tables, strict=True)), len(tables[0]) - shard.num_items), shard
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Each table's gradient; each process's part of the movies' gradients counts in all processes."""
        shard, users = ctx.shard, len(grads[0]) - ctx.shard.num_items
        grad = grads[0] if shard.size == 1 else Channels.shared(grads[0].clone(), shard)
        return None, None, *(add_products([(matrix, grad)], users) for matrix in ctx.matrices)

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
    start = torch.zeros(size + 1, dtype=torch.int32)
    start[1:] = torch.bincount(row, minlength=size).cumsum(0)
    # MKL reads the arrays as they lie in memory, strides or not.
    return torch.sparse_csr_tensor(start, column.int().contiguous(), value.contiguous(), (size, size))

"""The part of the ratings that one process of a distributed training holds.

Each process holds a block of users with all their ratings, and all movies; messages to movies are summed over
processes. Every process draws the random numbers of the whole graph, so that any number takes the same steps.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from reelgraph.arrays import Indices
from reelgraph.data.dataset import Interactions


@dataclass(frozen=True)
class Shard:
    """A process's part of the graph."""

    rank: int
    size: int  # number of processes
    users: tuple[int, int]  # first and last + 1 of its users
    edges: tuple[int, int]  # first and last + 1 of its ratings, which are sorted by user
    num_users: int  # of the whole graph, as the next two
    num_items: int
    num_edges: int
    traffic: dict[str, int]  # bytes that this process has sent to collectives, by purpose
    # A fit draws from a generator of its own, so that it takes the same steps beside another fit in another thread.
    random: torch.Generator | None = None  # on the device of the graph; None for PyTorch's

    def seed(self, seed: int) -> None:
        """Begin the random numbers of a fit, also those of PyTorch's layers and decompositions."""
        torch.manual_seed(seed)
        if self.random is not None:
            self.random.manual_seed(seed)

    def add(self, tensor: Tensor, purpose: str = "sums") -> Tensor:
        """Sum a tensor over processes in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
            self.traffic[purpose] = self.traffic.get(purpose, 0) + tensor.numel() * tensor.element_size()
        return tensor

    def total(self, value: float) -> float:
        """The sum of a number over processes."""
        return float(self.add(torch.tensor(value, dtype=torch.float64))) if self.size > 1 else value

    def agree(self, yes: bool) -> bool:
        """Whether `yes` holds in any process."""
        return self.total(float(yes)) > 0

    def local(self, pairs: Interactions) -> Interactions:
        """The ratings of this process's users, out of ratings sorted by user; its first user gets index 0."""
        if self.size == 1:
            return pairs
        part = pairs.take(slice(*np.searchsorted(pairs.user_index, self.users)))
        return replace(part, user_index=part.user_index - np.int32(self.users[0]))

    def every(self, value: Tensor) -> Tensor:
        """The values of all ratings, `(num_edges,)`, from those of this process's ratings."""
        if self.size == 1:
            return value
        whole = value.new_zeros(self.num_edges)
        whole[slice(*self.edges)] = value
        return self.add(whole, "start")

    def own(self, table: Tensor) -> Tensor:
        """The rows of this process's users and of all movies, out of a table of all nodes."""
        if self.size == 1:
            return table
        return torch.cat([table[slice(*self.users)], table[self.num_users :]])

    def whole(self, table: Tensor) -> Tensor:
        """The table of all nodes, from the processes' tables of their own nodes."""
        if self.size == 1:
            return table
        here = self.users[1] - self.users[0]
        everyone = table.new_zeros(self.num_users, *table.shape[1:])
        everyone[slice(*self.users)] = table[:here]
        return torch.cat([self.add(everyone, "tables"), table[here:]])


def place() -> tuple[int, int]:
    """Rank and number of processes; (0, 1) without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def shard_of(user_index: Indices, num_users: int, num_items: int, *, alone: bool = False) -> Shard:
    """This process's part of ratings sorted by user, about as many as each other process has; all if `alone`."""
    count = len(user_index)
    rank, size = (0, 1) if alone else place()
    random = torch.Generator(torch.get_default_device())
    if size == 1:
        return Shard(0, 1, (0, num_users), (0, count), num_users, num_items, count, {}, random)
    ends = np.searchsorted(user_index, np.arange(num_users + 1)) if count else np.zeros(num_users + 1, np.int64)
    cuts = np.searchsorted(ends, np.arange(1, size) * count / size)
    users = np.concatenate([[0], np.minimum(cuts, num_users), [num_users]])
    first, last = int(users[rank]), int(users[rank + 1])
    own = int(ends[first]), int(ends[last])
    return Shard(rank, size, (first, last), own, num_users, num_items, count, {}, random)

"""The ranking head: two hops of the residual graph's channels and a softmax over the catalogue.

    n_v          = |N_v|^-1/2
    h1_v         = n_v * sum_{w in N_v} n_w ( e_w + rho_wv x_w )
    h2_v         = n_v * sum_{w in N_v} n_w h1_w
    z_u          = ( h1_u + h2_u ) / 3
    z_i          = ( e_i + h1_i + h2_i + q_i + V f_i ) / 3
    score        = <z_u, z_i> / temperature + bias_i

The symmetric norms are those of LightGCN (He et al., LightGCN, 2020, equation 3). Users have no free part, so the same
formula gives a visitor's state. A step hides ratings from their own messages and maximises, for each hidden liked one,
the probability of its movie among all movies that the user has not visibly rated (after Liang et al., Variational
Autoencoders for Collaborative Filtering, 2018, section 2.1). For a large catalogue the softmax is estimated from movies
drawn by popularity, weighted by the inverse of their expected number of draws (the logQ correction of Bengio and
Senecal, Quick Training of Probabilistic Neural Nets by Importance Sampling, 2003).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reelgraph.arrays import Float32s
from reelgraph.config import TrainConfig
from reelgraph.models.graph import FEW, BipartiteGraph, View, draws, dropout, dropped, hide_ratings, reveal
from reelgraph.models.linear_start import RESIDUAL, low_rank_ease
from reelgraph.models.residual import ResidualConv, SideFeatures, initial
from reelgraph.models.sparse import places

CELLS = 1 << 24  # most scores of a step; with more users times movies, a step takes some of the users
LARGE_CATALOGUE = 20_000  # movies from which on the softmax is sampled
DRAWS = 4096
NOISE, SPREAD = 0.1, 0.3  # of the start: factor on the initial noise, and root mean square of the movies' e
CONTRAST, POPULARITY = 0.25, 1.0  # root mean square of its scores without bias, and weight of log popularity
PARTS = 3.0  # of which a state is the mean: own table, one hop, two hops


@dataclass(frozen=True)
class Drawn:
    """What a step ranks, and from what; a row stands for a user, a cell for a user and a movie in a table of rows."""

    view: View  # the visible ratings
    users: Tensor  # of the rows, int64 (num_rows,)
    place: Tensor  # row of each target, int64 (num_targets,)
    target: Tensor  # its cell, int64 (num_targets,)
    shown: Tensor  # cells of the rows' visible ratings, int64
    factors: Sequence[Tensor | None]  # of dropout, see `RankingModel.encode`
    movies: Tensor | None  # drawn for a sampled softmax, with repetitions, int64 (num_draws,)
    expected: Tensor | None  # expected number of draws of each, (num_draws,)


class RankingModel(nn.Module):
    """The ranking head over a fixed set of training ratings."""

    node_tables: tuple[str, ...] = ("implicit", "residual")
    constants: tuple[str, ...] = ()

    def __init__(
        self,
        graph: BipartiteGraph,
        liked: Tensor,  # bool (num_edges,), at least one
        *,
        dim: int,
        hide: float,  # share of the ratings hidden in each step, in (0, 1)
        dropout: float,  # share of the tables' entries dropped in each step
        temperature: float,  # divides the products of states
        newcomers: float = 0.0,  # share of the users; see `hide_ratings`
        item_features: Float32s | None = None,  # (num_items, g)
        draws: int | None = None,  # movies in each step; None for the whole catalogue, or for `DRAWS` of a large one
        init: float = 0.1,  # standard deviation of the initial tables
    ) -> None:
        super().__init__()
        self.graph, self.liked, self.temperature = graph, liked, temperature
        self.hide, self.dropout, self.newcomers = hide, dropout, newcomers
        self.draws = DRAWS if draws is None and graph.num_items > LARGE_CATALOGUE else draws
        self.conv = ResidualConv(graph.shard)
        self.implicit = initial(graph, dim, init)  # e
        self.residual = initial(graph, dim, init)  # x
        random = graph.shard.random
        self.free = nn.Parameter(torch.randn(graph.num_items, dim, generator=random) * init)  # q
        self.bias = nn.Parameter(torch.zeros(graph.num_items))
        self.item_side = SideFeatures(item_features, dim, random)

    @torch.no_grad()
    def start_linear(self) -> None:
        """Set the tables to those of `low_rank_ease`: e to Q, x to a part of it, and q so that z_i is W_i, scaled.

        The initial noise becomes small. The movies' biases start at the logarithm of their liked ratings.
        """
        graph, shard, users = self.graph, self.graph.shard, self.graph.num_users
        view, dim = reveal(graph), self.implicit.shape[1]
        norm = view.norm[users:].unsqueeze(1)
        rows = graph.user + shard.users[0], graph.item - users, view.rho[: graph.num_edges], self.liked.to(norm.dtype)
        user, item, residual, liked = (shard.every(row) for row in rows)
        found = norm.new_zeros(2, graph.num_items, dim)
        if shard.rank == 0:  # Machines may round differently.
            with torch.random.fork_rng(devices=[]):
                if shard.random is not None:  # whatever another fit has drawn
                    torch.manual_seed(shard.random.initial_seed())
                sizes = shard.num_users, graph.num_items
                found = torch.stack(low_rank_ease(user, item, residual, liked, sizes, dim))
        movies, wanted = shard.add(found, "start")
        for table in (self.implicit, self.residual, self.free):
            table.mul_(NOISE)
        movies *= SPREAD * graph.num_items**0.5
        self.implicit[users:] += movies
        self.residual[users:] += RESIDUAL * movies
        likes = torch.bincount(item, liked, graph.num_items).log1p()
        self.bias.copy_(POPULARITY * (likes - likes.mean()))
        self.eval()
        state_user, state_item = self.encode(view)
        wanted = wanted / norm
        square = shard.add(state_user.T @ state_user) * (wanted.T @ wanted)
        size = (square.sum() / (shard.num_users * graph.num_items)).sqrt()  # of the scores
        if size > 0:
            self.free.add_(PARTS * (wanted * self.temperature * CONTRAST / size - state_item))

    def hops(self, view: View, implicit: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """h1 and h2, each float32 `(num_nodes, dim)`."""
        norm, edges = view.norm, self.graph.edges
        near = norm.unsqueeze(1)
        first = self.conv(edges, implicit * near, residual * near, view.visible, view.rho, norm)
        return first, self.conv(edges, first * near, None, view.visible, None, norm)

    def encode(self, view: View, factors: Sequence[Tensor | None] = (None, None)) -> tuple[Tensor, Tensor]:
        """States of users, `(num_users, dim)`, and of movies, `(num_items, dim)`, from the visible edges.

        The factors are those of dropout on the tables implicit and residual.
        """
        implicit, residual = dropped(self.implicit, factors[0]), dropped(self.residual, factors[1])
        users = self.graph.num_users
        first, second = self.hops(view, implicit, residual)
        total = first + second
        item = implicit[users:] + self.free + self.item_side(self.graph.num_items) + total[users:]
        return total[:users] / PARTS, item / PARTS

    def draw(self) -> Drawn:
        """The ratings that a step hides, what is left visible, its dropout, and movies for a sampled softmax."""
        graph, shard = self.graph, self.graph.shard
        hidden, _, _ = hide_ratings(graph, self.hide, self.newcomers)
        # A handful of ratings can all stay visible by chance.
        while shard.num_edges < FEW and not shard.total(int((hidden & self.liked).sum())):
            hidden |= self.liked & (draws(shard.num_edges, shard.random)[slice(*shard.edges)] < 0)
        target = places(hidden & self.liked)
        user = graph.user.index_select(0, target)
        users = self._some(torch.unique_consecutive(user))
        row = torch.full((graph.num_users,), -1)
        row[users] = torch.arange(len(users))
        factors = [dropout(self.free.shape[1], self.dropout, shard) for _ in range(2)]
        view = reveal(graph, ~hidden)
        row_of = row.index_select(0, graph.user)
        target = target[row.index_select(0, user) >= 0]
        shown = places(~hidden & (row_of >= 0))
        cell = row_of * graph.num_items + (graph.item - graph.num_users)
        return Drawn(view, users, row_of[target], cell[target], cell[shown], factors, *self._movies())

    def loss(self, config: TrainConfig, drawn: Drawn) -> Tensor:  # noqa: ARG002 (it has no settings)
        """This process's part of the mean surprise of a step's hidden liked ratings; a user with n weighs n^1/2."""
        state_user, state_item = self.encode(drawn.view, drawn.factors)
        state_user = state_user.index_select(0, drawn.users) / self.temperature
        if drawn.movies is None:
            given = state_user, state_item, self.bias, drawn.place, drawn.target, drawn.shown
            surprise: Tensor = CatalogueSurprise.apply(*given)  # type: ignore[no-untyped-call]
        else:
            excluded = torch.zeros(len(state_user), self.graph.num_items, dtype=torch.bool)
            excluded.view(-1)[drawn.shown] = True
            assert drawn.expected is not None
            surprise = sampled_surprise(
                state_user, state_item, self.bias, drawn.place, drawn.target % self.graph.num_items, excluded,
                drawn.movies, drawn.expected,
            )  # fmt: skip
        weight = torch.bincount(drawn.place, minlength=len(drawn.users))[drawn.place] ** -0.5
        return (surprise * weight).sum() / max(self.graph.shard.total(float(weight.sum())), 1.0)

    def _some(self, users: Tensor) -> Tensor:
        """The users of a step, at most `CELLS` scores, the same for any number of processes."""
        shard, rows = self.graph.shard, max(1, CELLS // (self.draws or self.graph.num_items))
        asked = torch.zeros(shard.num_users, dtype=torch.int32)
        asked[users + shard.users[0]] = 1
        everyone = shard.add(asked).nonzero().squeeze(1)
        if rows >= len(everyone):
            return users
        some = everyone[torch.randperm(len(everyone), generator=shard.random)[:rows]].sort().values - shard.users[0]
        return some[(some >= 0) & (some < self.graph.num_users)]

    def _movies(self) -> tuple[Tensor | None, Tensor | None]:
        """Movies drawn by popularity, and the expected number of draws of each; None for the whole catalogue."""
        if self.draws is None:
            return None, None
        ratings = torch.bincount(self.graph.item - self.graph.num_users, minlength=self.graph.num_items)
        chance = self.graph.shard.add(ratings) + 1.0
        chance /= chance.sum()
        drawn = torch.multinomial(chance, self.draws, replacement=True, generator=self.graph.shard.random)
        return drawn, chance[drawn] * self.draws

    def hidden_pairs(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of hidden ratings from the visible ones, and these ratings, standardised, each `(num_hidden,)`."""
        graph = self.graph
        scores = self._score(reveal(graph, (~hidden).float()), graph.user[hidden], graph.item[hidden])
        return scores, graph.rating[hidden]

    @torch.no_grad()
    def predict(self, user: Tensor, item: Tensor) -> Tensor:
        """Scores of pairs of nodes from all edges, float32 of the pairs' shape."""
        self.eval()
        return self._score(reveal(self.graph), user, item)

    def _score(self, view: View, user: Tensor, item: Tensor) -> Tensor:
        state_user, state_item = self.encode(view)
        item = item - self.graph.num_users
        product: Tensor = torch.linalg.vecdot(state_user[user], state_item[item])
        return product / self.temperature + self.bias[item]

    @torch.no_grad()
    def scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """States of users, states of movies divided by the temperature, and the movies' biases, from all edges."""
        arrays = self.export()
        return arrays["rank.user.state"], arrays["rank.item.state"], arrays["rank.item.bias"]

    @torch.no_grad()
    def export(self) -> dict[str, Tensor]:
        """The arrays for serving, float32.

        `rank.mean`; for `rank.user.` and `rank.item.` each `state` z, `baseline` b, `implicit` and `residual` (a node's
        messages are `|N|^-1/2 (implicit + rho residual)` of its neighbours), `own` and `channel` (the tables e and x,
        for `restore`); for movies also `free` and `side`, the parts of the state that are not messages, and `bias`.
        Everything in a movie's state is divided by the temperature. A movie without ratings has its side features alone
        and the lowest bias.
        """
        self.eval()
        view, users = reveal(self.graph), self.graph.num_users
        user, item = self.encode(view)
        first, _ = self.hops(view, self.implicit, self.residual)
        norm = view.norm.unsqueeze(1) / PARTS
        implicit, residual = norm * (self.implicit + first), norm * self.residual
        side = self.item_side(self.graph.num_items) / PARTS
        known = (view.degree[users:] > 0).unsqueeze(1)
        least = self.bias[known[:, 0]].min() if known.any() else torch.tensor(0.0)
        arrays = {
            "user.state": user,
            "user.implicit": implicit[:users] / self.temperature,
            "user.residual": residual[:users] / self.temperature,
            "item.state": torch.where(known, item, side) / self.temperature,
            "item.implicit": implicit[users:],
            "item.residual": residual[users:],
            "item.free": (self.implicit[users:] + self.free) * known / PARTS / self.temperature,
            "item.side": side / self.temperature,
            "item.bias": torch.where(known[:, 0], self.bias, least),
            "mean": view.mean,
        }
        for name, table in {"own": self.implicit, "channel": self.residual, "baseline": view.bias}.items():
            arrays |= {f"user.{name}": table[:users], f"item.{name}": table[users:]}
        return {f"rank.{name}": array.detach().contiguous().clone() for name, array in arrays.items()}

    @torch.no_grad()
    def restore(self, own: Tensor, residual: Tensor, free: Tensor, bias: Tensor) -> None:
        """Set the tables from an export: `own` and `channel` of all nodes, `free` and `bias` of the movies."""
        self.implicit.copy_(own)
        self.residual.copy_(residual)
        self.free.copy_(free * PARTS * self.temperature - own[self.graph.num_users :])
        self.bias.copy_(bias)

    def unscaled(self, side: Float32s) -> Float32s:
        """The side features' contribution to the sum of parts, from an export's `side`."""
        return np.asarray(side * np.float32(PARTS * self.temperature))

    def parameter_groups(self, l2: float, side_l2: float) -> list[dict[str, Any]]:
        """Adam's parameter groups: the tables, and the map of side features."""
        own, side = [self.implicit, self.residual, self.free, self.bias], list(self.item_side.parameters())
        return [{"params": own, "weight_decay": l2}, {"params": side, "weight_decay": side_l2}]


class CatalogueSurprise(torch.autograd.Function):
    """Minus the log of each target's softmax probability among all movies but those left out, `(num_targets,)`.

    It is `torch.logsumexp` of the scores minus the targets' scores. PyTorch's derivation of it would keep and pass over
    the scores of all users and movies several times more, which takes most of a step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        user: Tensor,  # states of users divided by the temperature, (num_rows, dim)
        movie: Tensor,  # states of movies, (num_items, dim)
        bias: Tensor,  # of the movies, (num_items,)
        place: Tensor,  # row of each target, int64 (num_targets,)
        target: Tensor,  # cell of each target in the table of scores, row * num_items + movie, int64 (num_targets,)
        left_out: Tensor,  # cells that are not summed, int64
    ) -> Tensor:
        """Compute the surprise."""
        score = torch.addmm(bias, user, movie.T)
        score.view(-1).index_fill_(0, left_out, -torch.inf)
        share = torch.softmax(score, 1)
        ctx.share = share
        ctx.save_for_backward(user, movie, place, target)
        # A probability below the least number keeps its gradient, which does not need its logarithm.
        return -share.view(-1).index_select(0, target).clamp(min=torch.finfo(share.dtype).tiny).log()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of a score is its probability, minus 1 for a target, times the target's gradient."""
        user, movie, place, target = ctx.saved_tensors
        total = user.new_zeros(len(user)).index_add_(0, place, grads[0])
        grad = ctx.share.mul_(total.unsqueeze(1))
        grad.view(-1).index_add_(0, target, -grads[0])
        return grad @ movie, grad.T @ user, grad.sum(0), None, None, None


def sampled_surprise(
    user: Tensor,  # states of users divided by the temperature, (num_rows, dim)
    movie: Tensor,  # states of movies, (num_items, dim)
    bias: Tensor,  # of the movies, (num_items,)
    place: Tensor,  # row of each target, int64 (num_targets,)
    item: Tensor,  # movie of each target, int64 (num_targets,)
    excluded: Tensor,  # movies left out of a user's sum, bool (num_rows, num_items)
    drawn: Tensor,  # movies drawn, with repetitions, int64 (num_draws,)
    expected: Tensor,  # expected number of draws of each, (num_draws,)
) -> Tensor:
    """Minus the log of each target's estimated softmax probability, `(num_targets,)`."""
    out = excluded.clone()
    out[place, item] = True  # Targets are summed exactly below.
    others = (user @ movie[drawn].T + bias[drawn] - expected.log()).masked_fill(out[:, drawn], -torch.inf)
    own: Tensor = torch.linalg.vecdot(user[place], movie[item]) + bias[item]
    least = torch.finfo(own.dtype).min  # A finite floor: the gradient of -inf minus -inf is NaN.
    top = others.detach().amax(1).clamp(min=least)
    top = top.scatter_reduce(0, place, own.detach(), "amax")
    total = (others - top.unsqueeze(1)).exp().sum(1).index_add(0, place, (own - top[place]).exp())
    return (total.log() + top)[place] - own

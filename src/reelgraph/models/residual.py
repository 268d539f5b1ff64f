"""The default rating model: residual graph convolution, trained on ratings hidden from their own messages.

    mu             mean of the visible ratings
    b_u, b_i       damped means of what is left by user and by movie
    rho_ui       = r_ui - mu - b_u - b_i
    z_u          = p_u + |N_u|^-1/2 * sum_{i in N_u} ( y_i + rho_ui x_i ) + W f_u
    z_i          = p_i + |N_i|^-1/2 * sum_{u in N_i} ( y_u + rho_ui x_u ) + V f_i
    prediction   = mu + b_u + b_i + c_u + c_i + <z_u, z_i>

The implicit channel y and the residual channel x come from SVD++ and its asymmetric form (Koren, Factorization Meets
the Neighborhood, 2008, section 4), here in both directions of the graph. Nodes without visible edges have no p and c:
their predictions come from baseline and side features alone, in training as in serving.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reelgraph.arrays import Float32s
from reelgraph.config import TrainConfig
from reelgraph.models.base import huber_loss
from reelgraph.models.graph import BipartiteGraph, View, dropout, dropped, hide_ratings, reveal
from reelgraph.models.shard import Shard
from reelgraph.models.sparse import Channels, Edges, PairProduct, places

SIDE_START = 0.3  # times PyTorch's initial maps of side features, which are too large beside the tables
SCORED = 1 << 20  # most hidden ratings that a step predicts; with more, a random part of them


class ResidualConv(nn.Module):
    r"""Two message channels between the two sides of the graph.

    .. math:: h_v = |N_v|^{-1/2} \sum_{w \in N_v} ( y_w + \rho_{wv} x_w )

    It is PyG's message passing with sums, written as sparse products that store no messages. Shapes: implicit and
    residual are `(num_nodes, dim)`, the two edge weights `(2 * num_edges,)` in the order of the edges, norm, which is
    |N_v|^-1/2, `(num_nodes,)`, the result `(num_nodes, dim)`; all floats. Messages to movies are from all processes.
    """

    def __init__(self, shard: Shard) -> None:
        super().__init__()
        self.shard = shard

    def forward(
        self, edges: Edges, implicit: Tensor, residual: Tensor | None, visible: Tensor, rho: Tensor | None,
        norm: Tensor,
    ) -> Tensor:  # fmt: skip
        """Sum the messages along the visible edges; `rho` and `visible` are zero on hidden edges.

        Without `residual` and `rho` there is only the implicit channel.
        """
        tables, matrices = [implicit], [edges.matrix(visible)]
        if residual is not None and rho is not None:
            tables, matrices = [*tables, residual], [*matrices, edges.matrix(rho)]
        total: Tensor = Channels.apply(matrices, self.shard, *tables)  # type: ignore[no-untyped-call]
        return total * norm.unsqueeze(1)


@dataclass(frozen=True)
class Drawn:
    """What a step predicts, and from what."""

    view: View  # the visible ratings
    known: Tensor  # nodes with a free part, bool (num_nodes,)
    rows: Tensor  # positions of the ratings to predict, int64 (num_scored,)
    edges: Edges  # their edges
    factors: Sequence[Tensor | None]  # of dropout, see `ResidualModel.encode`


class ResidualModel(nn.Module):
    """The residual graph model over a fixed set of training ratings."""

    node_tables: tuple[str, ...] = ("free", "implicit", "residual", "offset")
    constants: tuple[str, ...] = ("gain",)
    gain: Tensor

    def __init__(
        self,
        graph: BipartiteGraph,
        *,
        dim: int,
        hide: float,  # share of the ratings hidden in each step, in (0, 1)
        dropout: float,  # share of the tables' entries dropped in each step
        newcomers: float = 0.0,  # share of the users; see `hide_ratings`
        user_features: Float32s | None = None,  # (num_users, f)
        item_features: Float32s | None = None,  # (num_items, g)
        init: float = 0.05,  # standard deviation of the initial tables
    ) -> None:
        super().__init__()
        self.graph, self.hide, self.dropout, self.newcomers = graph, hide, dropout, newcomers
        self.conv = ResidualConv(graph.shard)
        self.free = initial(graph, dim, init)  # p
        self.implicit = initial(graph, dim, init)  # y
        self.residual = initial(graph, dim, init)  # x
        self.offset = nn.Parameter(torch.zeros(graph.num_nodes))  # c
        self.user_side, self.item_side = (
            SideFeatures(features, dim, graph.shard.random, SIDE_START) for features in (user_features, item_features)
        )
        self.register_buffer("gain", torch.tensor(1.0))  # of the side features of unrated movies; see `fit_gain`

    def encode(self, view: View, known: Tensor, factors: Sequence[Tensor | None] = (None, None, None)) -> Tensor:
        """States of all nodes from the visible edges, float32 `(num_nodes, dim)`.

        `known` nodes have a free part. The factors are those of dropout on the tables implicit, residual and free.
        """
        norm, side, users = view.norm, self.side(), self.graph.num_users
        if self.training:
            # A step sees only 1 - hide of a movie's edges, so sums over all edges are longer by the inverse root. Scale
            # them here, as dropout does. Users are not scaled: in use, too, only a part of their ratings is known.
            norm = norm.clone()
            norm[users:] *= (1 - self.hide) ** -0.5
        else:
            side[users:] *= torch.where(known[users:, None], 1.0, self.gain)
        messages: Tensor = self.conv(
            self.graph.edges, dropped(self.implicit, factors[0]), dropped(self.residual, factors[1]), view.visible,
            view.rho, norm,
        )  # fmt: skip
        return dropped(self.free, factors[2]) * known.to(norm.dtype).unsqueeze(1) + messages + side

    @torch.no_grad()
    def fit_gain(self, user: Tensor, item: Tensor, rating: Tensor) -> None:
        """Fit the factor on the side features of movies without ratings, by least squares within [0, 1].

        Side features are learned together with ratings, which correct them; alone they say too much. Standardised
        ratings that the model was not fitted to, each `(num_ratings,)`, are predicted as if their movies were new.
        """
        self.eval()
        view = reveal(self.graph)
        known = view.degree > 0
        part = torch.linalg.vecdot(self.encode(view, known)[user], self.side()[item])
        left = rating - self.offsets(view, known)[user]
        square = part.square().sum()
        self.gain.copy_(((part * left).sum() / square).clamp(0, 1) if square > 0 else torch.tensor(1.0))

    def side(self) -> Tensor:
        """The side features' part of the states, float32 `(num_nodes, dim)`."""
        return torch.cat([self.user_side(self.graph.num_users), self.item_side(self.graph.num_items)])

    def offsets(self, view: View, known: Tensor) -> Tensor:
        """B + c of each node, plus mu for users, float32 `(num_nodes,)`."""
        offset = view.bias + self.offset * known
        return torch.cat([offset[: self.graph.num_users] + view.mean, offset[self.graph.num_users :]])

    def draw(self) -> Drawn:
        """The ratings that a step hides, what is left visible, and its dropout."""
        shard, dim = self.graph.shard, self.free.shape[1]
        hidden, newcomer, scored = hide_ratings(self.graph, self.hide, self.newcomers, SCORED)
        return self._task(hidden, newcomer, scored, [dropout(dim, self.dropout, shard) for _ in range(3)])

    def _task(self, hidden: Tensor, newcomer: Tensor | None, scored: Tensor, factors: Sequence[Tensor | None]) -> Drawn:
        """The task to predict the `scored` ones of the hidden ratings; `newcomer` users have no free part."""
        view = reveal(self.graph, ~hidden)
        known = view.degree > 0
        if newcomer is not None:
            known[: self.graph.num_users] &= ~newcomer
        rows = places(scored)
        return Drawn(view, known, rows, self.graph.edges.some(rows, scored), factors)

    def loss(self, config: TrainConfig, drawn: Drawn) -> Tensor:
        """This process's part of the mean Huber loss over the ratings that a step hides, a scalar."""
        return huber_loss(*self.pairs(drawn), config.huber_delta, self.graph.shard)

    def pairs(self, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """Standardised predictions and targets of a step's hidden ratings, each `(num_scored,)`."""
        edges = drawn.edges
        state, offset = self.encode(drawn.view, drawn.known, drawn.factors), self.offsets(drawn.view, drawn.known)
        product: Tensor = PairProduct.apply(state, edges)  # type: ignore[no-untyped-call]
        item, user = edges.index[:, : edges.num_edges]
        prediction = product + offset.index_select(0, user) + offset.index_select(0, item)
        return prediction, self.graph.rating[drawn.rows]

    def hidden_pairs(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised predictions of hidden ratings from the visible ones, and their targets, each `(num_hidden,)`."""
        return self.pairs(self._task(hidden, None, hidden, (None, None, None)))

    @torch.no_grad()
    def predict(self, user: Tensor, item: Tensor) -> Tensor:
        """Standardised predictions of pairs of nodes from all edges, float32 of the pairs' shape."""
        self.eval()
        view = reveal(self.graph)
        known = view.degree > 0
        state, offset = self.encode(view, known), self.offsets(view, known)
        product: Tensor = torch.linalg.vecdot(state[user], state[item])
        return product + offset[user] + offset[item]

    @torch.no_grad()
    def export(self) -> dict[str, Tensor]:
        """The arrays for serving, standardised, float32.

        `mean`; for `user.` and `item.` each `state` z, `bias` b, `offset` c, `free` p, `side` (the side features' part
        of z), `implicit` y, `residual` x; and `gain`, the factor on `side` of movies without ratings.
        """
        self.eval()
        view = reveal(self.graph)
        known = view.degree > 0
        arrays = {
            "state": self.encode(view, known),
            "bias": view.bias,
            "offset": self.offset * known,
            "free": self.free * known.unsqueeze(1),
            "side": self.side(),
            "implicit": self.implicit,
            "residual": self.residual,
        }
        sides = {"user": slice(self.graph.num_users), "item": slice(self.graph.num_users, None)}
        parts = {f"{side}.{name}": array[rows] for side, rows in sides.items() for name, array in arrays.items()}
        parts |= {"mean": view.mean, "gain": self.gain}
        return {name: array.detach().contiguous().clone() for name, array in parts.items()}

    def parameter_groups(self, l2: float, side_l2: float) -> list[dict[str, Any]]:
        """Adam's parameter groups: the nodes' tables, and the maps of side features."""
        side = [*self.user_side.parameters(), *self.item_side.parameters()]
        own = [self.free, self.implicit, self.residual, self.offset]
        return [{"params": own, "weight_decay": l2}, {"params": side, "weight_decay": side_l2}]


def initial(graph: BipartiteGraph, dim: int, scale: float) -> nn.Parameter:
    """A table `(num_nodes, dim)` drawn from a normal distribution, the same for any number of processes."""
    shard = graph.shard
    every = torch.randn(shard.num_users + shard.num_items, dim, generator=shard.random) * scale
    return nn.Parameter(shard.own(every).clone())


class SideFeatures(nn.Module):
    """A linear map of the features of users or of movies, `(num_nodes_of_this_side, num_features)`; zero without."""

    features: Tensor

    def __init__(
        self, features: Float32s | None, dim: int, random: torch.Generator | None = None, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.linear = None
        if features is not None:
            self.register_buffer("features", torch.as_tensor(features), persistent=False)
            # Made on "meta", it draws no numbers. nn.utils.skip_init would import SymPy, which takes a second.
            self.linear = nn.Linear(features.shape[1], dim, device="meta")
            bound = scale * features.shape[1] ** -0.5  # PyTorch's, times the scale
            for name, parameter in list(self.linear.named_parameters()):
                values = nn.init.uniform_(torch.empty(parameter.shape), -bound, bound, generator=random)
                setattr(self.linear, name, nn.Parameter(values))
        self.dim, self.learned = dim, torch.empty(0)

    @classmethod
    def fixed(cls, contribution: Float32s) -> "SideFeatures":
        """A learned contribution `(num_nodes_of_this_side, dim)` without its map and features."""
        side = cls(None, contribution.shape[1])
        side.learned = torch.as_tensor(contribution.copy())
        return side

    def forward(self, num_nodes: int) -> Tensor:
        """The features' contribution to the states, float32 `(num_nodes, dim)`."""
        if self.learned.numel():
            return self.learned
        if self.linear is None:
            return torch.zeros(num_nodes, self.dim)
        mapped: Tensor = self.linear(self.features)
        return mapped

"""The default model: residual graph convolution, trained on edges hidden from their own messages.

    mu, b_u, b_i   damped means of the visible ratings
    rho_ui       = r_ui - mu - b_u - b_i
    z_u          = p_u + |N_u|^-1/2 * sum_{i in N_u} ( y_i + rho_ui x_i ) + W f_u
    z_i          = p_i + |N_i|^-1/2 * sum_{u in N_i} ( y_u + rho_ui x_u ) + V f_i
    prediction   = mu + b_u + b_i + c_u + c_i + <z_u, z_i>

The implicit channel y and the residual channel x stem from SVD++ and its asymmetric form (Koren, Factorization Meets
the Neighborhood, 2008, section 4), here in both directions of the graph; p and c belong to nodes that have a visible
edge, so that a node without ratings is predicted by baseline and side features alone, in training as in serving.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric import EdgeIndex
from torch_geometric.nn import MessagePassing

from reelgraph.graph import BipartiteGraph, View, reveal


class ResidualConv(MessagePassing):  # type: ignore[misc]  # PyG ships no types
    r"""Two message channels from one side of the graph to the other.

    .. math:: h_v = |N_v|^{-1/2} \sum_{w \in N_v} ( y_w + \rho_{wv} x_w )

    Shapes: implicit and residual are `(num_sources, dim)`, the two edge weights `(num_edges,)` in the order of
    `edge_index`, degree `(num_targets,)`, the result `(num_targets, dim)`; all float32.
    """

    SUPPORTS_FUSED_EDGE_INDEX = True

    def __init__(self) -> None:
        super().__init__(aggr="sum")

    def forward(
        self, edge_index: EdgeIndex, implicit: Tensor, residual: Tensor, visible: Tensor, rho: Tensor, degree: Tensor
    ) -> Tensor:
        """Messages along the visible edges; `rho` is zero on hidden edges, as `visible` is."""
        total: Tensor = self.propagate(edge_index, x=residual, weight=rho)
        return self.hop(edge_index, implicit, visible, degree) + total * degree.clamp(min=1).rsqrt().unsqueeze(1)

    def hop(self, edge_index: EdgeIndex, implicit: Tensor, visible: Tensor, degree: Tensor) -> Tensor:
        """Messages of the implicit channel alone; shapes as in `forward`."""
        total: Tensor = self.propagate(edge_index, x=implicit, weight=visible)
        return total * degree.clamp(min=1).rsqrt().unsqueeze(1)

    def message(self, x_j: Tensor, weight: Tensor) -> Tensor:
        """One message an edge; what PyG runs for edges that are not a sorted `EdgeIndex`."""
        return weight.unsqueeze(1) * x_j

    def message_and_aggregate(self, edge_index: EdgeIndex, x: Tensor, weight: Tensor) -> Tensor:
        """All messages and their sums as one sparse product; nothing is stored for an edge."""
        total: Tensor = edge_index.matmul(x, input_value=weight, transpose=True)
        return total


class PairProduct(torch.autograd.Function):
    """<z_u, z_i> for pairs of nodes.

    Equals `(state[user] * state[item]).sum(1)`; but the gradient of that indexing is scattered pair by pair, while
    here it is one sparse product, about five times faster on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, state: Tensor, user: Tensor, item: Tensor, by_item: Tensor) -> Tensor:
        """States `(num_nodes, dim)`; pairs int64 `(m,)` sorted by user; `by_item` their order by movie; `(m,)`."""
        ctx.save_for_backward(state, user, item, by_item)
        product: Tensor = torch.linalg.vecdot(F.embedding(user, state), F.embedding(item, state))
        return product

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The chain rule: each node collects the states at the other ends, weighted by the pairs' gradients."""
        state, user, item, by_item = ctx.saved_tensors
        target = torch.cat([user, item[by_item]])
        source = torch.cat([item, user[by_item]])
        starts = torch.zeros(len(state) + 1, dtype=torch.int32)
        starts[1:] = torch.bincount(target, minlength=len(state)).cumsum(0)
        value = torch.cat([grads[0], grads[0][by_item]])
        size = (len(state), len(state))
        return torch.sparse_csr_tensor(starts, source.int(), value, size) @ state, None, None, None


class ResidualModel(nn.Module):
    """The residual graph model over a fixed set of training ratings.

    Args:
        graph: the training ratings.
        dim: size of the node states.
        hide: share of the ratings hidden in each step, in (0, 1).
        newcomers: share of the users treated as visitors in each step; see `hide_ratings`.
        dropout: share of the entries of the tables dropped in each step.
        user_features, item_features: float32 `(num_users, f)` and `(num_items, g)`, or None.
        init: standard deviation of the initial tables.
    """

    def __init__(
        self,
        graph: BipartiteGraph,
        *,
        dim: int,
        hide: float,
        dropout: float,
        newcomers: float = 0.0,
        user_features: npt.NDArray[np.float32] | None = None,
        item_features: npt.NDArray[np.float32] | None = None,
        init: float = 0.05,
    ) -> None:
        super().__init__()
        self.graph, self.hide, self.dropout, self.newcomers = graph, hide, dropout, newcomers
        self.conv = ResidualConv()
        self.free = nn.Parameter(torch.randn(graph.num_nodes, dim) * init)  # p
        self.implicit = nn.Parameter(torch.randn(graph.num_nodes, dim) * init)  # y
        self.residual = nn.Parameter(torch.randn(graph.num_nodes, dim) * init)  # x
        self.offset = nn.Parameter(torch.zeros(graph.num_nodes))  # c
        self.user_side = SideFeatures(user_features, dim)
        self.item_side = SideFeatures(item_features, dim)
        self.gain = 1.0  # of the side features of a movie without visible ratings; see `fit_gain`

    def encode(self, view: View, known: Tensor) -> Tensor:
        """States of all nodes from the visible edges, float32 of shape `(num_nodes, dim)`.

        Args:
            view: the visible edges.
            known: which nodes have a free part, bool of shape `(num_nodes,)`.
        """

        def drop(values: Tensor) -> Tensor:
            return F.dropout(values, self.dropout, self.training)

        messages: Tensor = self.conv(
            self.graph.edge_index, drop(self.implicit), drop(self.residual), view.visible, view.rho, view.degree
        )
        if self.training:
            # A step sees only 1 - hide of a movie's edges, and a movie's sum over all of them is longer by the inverse
            # root; scaled here as dropout is, predictions are not too far from the mean when nothing is hidden. Users
            # are left alone: in use, too, what is known of them is a part of what they will rate.
            scale = torch.ones(self.graph.num_nodes, 1)
            scale[self.graph.num_users :] = (1 - self.hide) ** -0.5
            messages = messages * scale
        side = self.side()
        if not self.training:
            side[self.graph.num_users :] *= torch.where(known[self.graph.num_users :, None], 1.0, self.gain)
        return drop(self.free) * known.unsqueeze(1) + messages + side

    @torch.no_grad()
    def fit_gain(self, user: Tensor, item: Tensor, rating: Tensor) -> None:
        """Learn how much a movie's side features say when nothing else is known of it.

        They are learned beside ratings, which correct what they say too strongly. So ratings that no fit has seen are
        predicted as if their movies were new: the factor is that of least squares, within [0, 1].

        Args:
            user: node of each rating's user, int64 `(num_ratings,)`.
            item: node of each rating's movie, likewise.
            rating: the ratings, standardised, float32 `(num_ratings,)`.
        """
        self.eval()
        view = reveal(self.graph)
        known = view.degree > 0
        part = torch.linalg.vecdot(self.encode(view, known)[user], self.side()[item])
        left = rating - self.offsets(view, known)[user]
        square = part.square().sum()
        self.gain = float(((part * left).sum() / square).clamp(0, 1)) if square > 0 else 1.0

    def side(self) -> Tensor:
        """What the side features add to the states, float32 of shape `(num_nodes, dim)`."""
        return torch.cat([self.user_side(self.graph.num_users), self.item_side(self.graph.num_items)])

    def offsets(self, view: View, known: Tensor) -> Tensor:
        """What belongs to one node alone: b + c, and mu with the users, float32 of shape `(num_nodes,)`."""
        offset = view.bias + self.offset * known
        return torch.cat([offset[: self.graph.num_users] + view.mean, offset[self.graph.num_users :]])

    def training_pairs(self) -> tuple[Tensor, Tensor]:
        """Predictions and targets of one step's hidden ratings, standardised, each of shape `(num_hidden,)`."""
        hidden, newcomer = hide_ratings(self.graph, self.hide, self.newcomers)
        if not hidden.any():  # A handful of ratings can all stay visible by chance; a step needs a target.
            hidden[torch.randint(self.graph.num_edges, (1,))] = True
        return self.hidden_pairs(hidden, newcomer)

    def hidden_pairs(self, hidden: Tensor, newcomer: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predictions and targets of the hidden ratings from all others, standardised, each `(num_hidden,)`.

        Args:
            hidden: which ratings to hide, bool of shape `(num_edges,)`, at least one.
            newcomer: which users are taken for visitors, without a free part, bool of shape `(num_users,)`; None for
                nobody.
        """
        graph = self.graph
        view = reveal(graph, (~hidden).float())
        known = view.degree > 0
        if newcomer is not None:
            known[: graph.num_users] &= ~newcomer
        state, offset = self.encode(view, known), self.offsets(view, known)
        # The hidden ratings' order by movie, without a sort: number them by user, read the numbers by movie.
        number = torch.cumsum(hidden, 0) - 1
        by_item = number[graph.by_item[hidden[graph.by_item]]]
        user, item = graph.user[hidden], graph.item[hidden]
        product: Tensor = PairProduct.apply(state, user, item, by_item)  # type: ignore[no-untyped-call]
        return product + offset.index_select(0, user) + offset.index_select(0, item), graph.rating[hidden]

    @torch.no_grad()
    def predict(self, user: Tensor, item: Tensor) -> Tensor:
        """Unclipped standardised predictions of pairs of nodes, float32 of the pairs' shape, from all edges."""
        self.eval()
        view = reveal(self.graph)
        known = view.degree > 0
        state, offset = self.encode(view, known), self.offsets(view, known)
        product: Tensor = torch.linalg.vecdot(state[user], state[item])
        return product + offset[user] + offset[item]

    @torch.no_grad()
    def export(self) -> dict[str, Tensor]:
        """What serving and folding in need, standardised, float32.

        `mean`, and for `user.` and `item.` each: `state` z, `bias` b, `offset` c, `free` p, `side` (the part of the
        side features), `implicit` y, `residual` x; and `gain`, by which the `side` of a movie without ratings counts.
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
        parts |= {"mean": view.mean, "gain": torch.tensor(self.gain)}
        return {name: array.detach().contiguous().clone() for name, array in parts.items()}

    def parameter_groups(self, l2: float, side_l2: float) -> list[dict[str, Any]]:
        """Adam's parameter groups: maps of side features are held tighter than the nodes' own tables."""
        side = [*self.user_side.parameters(), *self.item_side.parameters()]
        own = [self.free, self.implicit, self.residual, self.offset]
        return [{"params": own, "weight_decay": l2}, {"params": side, "weight_decay": side_l2}]


def hide_ratings(graph: BipartiteGraph, hide: float, newcomers: float) -> tuple[Tensor, Tensor]:
    """Which ratings a step hides, bool `(num_edges,)`, and which users it takes for visitors, bool `(num_users,)`.

    Of most users a share `hide` is hidden. A visitor is known by few ratings, and a model that has only ever seen whole
    histories is lost with them; so of some users a share anywhere between `hide` and 1 is hidden.

    Args:
        graph: the ratings.
        hide: share of the ratings hidden, in (0, 1).
        newcomers: share of the users taken for visitors, in [0, 1).
    """
    if not newcomers:
        return torch.rand(graph.num_edges) < hide, torch.zeros(graph.num_users, dtype=torch.bool)
    newcomer = torch.rand(graph.num_users) < newcomers
    share = torch.where(newcomer, hide + (1 - hide) * torch.rand(graph.num_users), hide)
    return torch.rand(graph.num_edges) < share[graph.user], newcomer


class SideFeatures(nn.Module):
    """A linear map of one side's features, or nothing where that side has none.

    Args:
        features: float32 of shape `(num_nodes_of_this_side, num_features)`, or None.
        dim: size of the node states.
    """

    features: Tensor

    def __init__(self, features: npt.NDArray[np.float32] | None, dim: int) -> None:
        super().__init__()
        self.linear = None
        if features is not None:
            self.register_buffer("features", torch.from_numpy(features), persistent=False)
            self.linear = nn.Linear(features.shape[1], dim)
        self.dim, self.learned = dim, torch.empty(0)

    @classmethod
    def fixed(cls, contribution: npt.NDArray[np.float32]) -> "SideFeatures":
        """The contribution as it was learned, `(num_nodes_of_this_side, dim)`, when map and features are gone."""
        side = cls(None, contribution.shape[1])
        side.learned = torch.from_numpy(contribution.copy())
        return side

    def forward(self, num_nodes: int) -> Tensor:
        """The side's contribution to the states, float32 of shape `(num_nodes, dim)`."""
        if self.learned.numel():
            return self.learned
        if self.linear is None:
            return torch.zeros(num_nodes, self.dim)
        mapped: Tensor = self.linear(self.features)
        return mapped

"""The residual model against dense formulas and finite differences; hidden ratings have no influence."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch_geometric.nn import MessagePassing

from reelgraph.models import ResidualModel, sparse
from reelgraph.models.graph import BipartiteGraph, build_graph, hide_ratings, reveal
from reelgraph.models.residual import ResidualConv
from reelgraph.models.sparse import Edges, PairProduct
from tests.support.worlds import noisy

USERS, ITEMS, DIM = 30, 25, 4


@pytest.fixture(autouse=True, params=[sparse.BLOCK, 7])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All users in one block, and in five blocks."""
    monkeypatch.setattr(sparse, "BLOCK", request.param)


def graph_of() -> BipartiteGraph:
    return build_graph(noisy(), USERS, ITEMS)


def model_of(graph: BipartiteGraph, side: bool = True) -> ResidualModel:
    graph.shard.seed(3)
    rng = np.random.default_rng(0)
    user = rng.random((USERS, 3)).astype(np.float32) if side else None
    item = rng.random((ITEMS, 2)).astype(np.float32) if side else None
    model = ResidualModel(graph, dim=DIM, hide=0.3, dropout=0.0, init=0.5, user_features=user, item_features=item)
    torch.nn.init.normal_(model.offset)
    return model


def hide(graph: BipartiteGraph, share: float = 0.4) -> torch.Tensor:
    return (torch.rand(graph.num_edges, generator=torch.Generator().manual_seed(1)) >= share).float()


class PyGConv(MessagePassing):  # type: ignore[misc]  # PyG ships no types
    """The convolution as PyG computes it, message by message."""

    def forward(self, edge_index: torch.Tensor, **arguments: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = self.propagate(edge_index, **arguments)
        return total

    def message(
        self, implicit_j: torch.Tensor, residual_j: torch.Tensor, visible: torch.Tensor, rho: torch.Tensor
    ) -> torch.Tensor:
        return visible[:, None] * implicit_j + rho[:, None] * residual_j


def test_conv_equals_the_dense_formula_and_pyg() -> None:
    graph = graph_of()
    view = reveal(graph, hide(graph))
    y, x = torch.randn(graph.num_nodes, DIM), torch.randn(graph.num_nodes, DIM)
    adjacency = torch.zeros(graph.num_nodes, graph.num_nodes)
    rho = adjacency.clone()
    source, target = graph.edge_index.long()
    adjacency[target, source], rho[target, source] = view.visible, view.rho
    norm = view.degree.clamp(min=1).rsqrt()[:, None]
    state = ResidualConv(graph.shard)(graph.edges, y, x, view.visible, view.rho, view.norm)
    assert torch.allclose(state, (adjacency @ y + rho @ x) * norm, atol=1e-5)
    index = graph.edge_index.long()
    pyg = PyGConv(aggr="sum")(index, implicit=y, residual=x, visible=view.visible, rho=view.rho)
    assert torch.allclose(state, pyg * norm, atol=1e-5)


def test_a_step_stores_no_messages() -> None:
    graph = graph_of()
    model, sizes = model_of(graph), list[int]()

    def measure(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(measure, lambda tensor: tensor):
        prediction, _ = model.pairs(model.draw())
    (gradient,) = torch.autograd.grad(prediction.sum(), model.implicit)
    assert bool(gradient.any())
    assert graph.num_nodes * DIM <= max(sizes) < graph.num_edges * DIM


def test_prediction_equals_the_formula_written_out() -> None:
    graph = graph_of()
    model = model_of(graph)
    view = reveal(graph)
    state = torch.zeros(graph.num_nodes, DIM)
    neighbours: list[list[tuple[int, float]]] = [[] for _ in range(graph.num_nodes)]
    for user, item, rating in zip(graph.user.tolist(), graph.item.tolist(), graph.rating.tolist(), strict=True):
        rho = rating - float(view.mean) - float(view.bias[user]) - float(view.bias[item])
        neighbours[user].append((item, rho))
        neighbours[item].append((user, rho))
    with torch.no_grad():
        for node, near in enumerate(neighbours):
            for other, rho in near:
                state[node] += (model.implicit[other] + rho * model.residual[other]) / len(near) ** 0.5
            if near:
                state[node] += model.free[node]
        for linear, features, rows in (
            (model.user_side.linear, model.user_side.features, slice(USERS)),
            (model.item_side.linear, model.item_side.features, slice(USERS, None)),
        ):
            assert linear is not None
            state[rows] += features @ linear.weight.T + linear.bias
        known = torch.tensor([bool(near) for near in neighbours])
        offset = view.bias + model.offset * known
        user, item = torch.tensor([0, 3, 9]), torch.tensor([USERS, USERS + 4, USERS + 1])
        expected = view.mean + offset[user] + offset[item] + (state[user] * state[item]).sum(1)
    assert torch.allclose(model.predict(user, item), expected, atol=1e-4)


def pair_product(state: torch.Tensor, edges: Edges) -> torch.Tensor:
    product: torch.Tensor = PairProduct.apply(state, edges)  # type: ignore[no-untyped-call]
    return product


def test_pair_product_and_its_gradient_equal_plain_indexing() -> None:
    graph = graph_of()
    chosen = torch.rand(graph.num_edges, generator=torch.Generator().manual_seed(2)) < 0.5
    user, item = graph.user[chosen], graph.item[chosen]
    weight = torch.randn(len(user))
    one, other = (torch.randn(graph.num_nodes, DIM, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    fast, plain = (
        pair_product(one.requires_grad_(), graph.edges.some(chosen.nonzero().squeeze(1), chosen)),
        (other.requires_grad_()[user] * other[item]).sum(1),
    )
    assert torch.allclose(fast, plain, atol=1e-5)
    torch.autograd.backward([fast, plain], [weight, weight])
    assert one.grad is not None
    assert other.grad is not None
    assert torch.allclose(one.grad, other.grad, atol=1e-5)


def test_the_gradient_of_the_pair_product_equals_finite_differences() -> None:
    graph = graph_of()
    rows = torch.arange(0, graph.num_edges, 7)
    edges = graph.edges.some(rows, torch.zeros(graph.num_edges, dtype=torch.bool).index_fill_(0, rows, True))
    state = torch.randn(graph.num_nodes, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda state: pair_product(state, edges), state)


def test_gradients_of_the_fused_conv_equal_finite_differences() -> None:
    graph = graph_of()
    view = reveal(graph, hide(graph))
    conv, double = ResidualConv(graph.shard), torch.float64
    edges = view.visible.to(double), view.rho.to(double), view.norm.to(double)
    tables = [torch.randn(graph.num_nodes, 2, dtype=double, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda y, x: conv(graph.edges, y, x, *edges), tables, fast_mode=True)


def test_gradients_equal_finite_differences() -> None:
    graph = graph_of()
    model = model_of(graph)

    def loss() -> torch.Tensor:
        graph.shard.seed(11)  # the same ratings are hidden every time
        return F.huber_loss(*model.pairs(model.draw()), delta=2.0)

    loss().backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7))
        step = 1e-2
        with torch.no_grad():
            parameter.add_(direction, alpha=step)
            above = loss().item()
            parameter.sub_(direction, alpha=2 * step)
            below = loss().item()
            parameter.add_(direction, alpha=step)
        slope = float((parameter.grad * direction).sum())
        assert abs((above - below) / (2 * step) - slope) < 2e-3 * max(1, abs(slope)), name


def test_hidden_ratings_are_absent_from_states_in_both_directions() -> None:
    graph = graph_of()
    model = model_of(graph).eval()
    visible = hide(graph)
    states, offsets = [], []
    for _ in range(2):
        view = reveal(graph, visible)
        with torch.no_grad():
            states.append(model.encode(view, view.degree > 0))
            offsets.append(model.offsets(view, view.degree > 0))
        graph.edge_attr[graph.edges.both_ways(visible) == 0] += 7.0  # what is hidden may change as it likes
    assert torch.equal(states[0], states[1])
    assert torch.equal(offsets[0], offsets[1])
    graph.edge_attr.add_(graph.edges.both_ways(visible * torch.randn(graph.num_edges)))
    shaken = reveal(graph, visible)
    assert not torch.allclose(model.encode(shaken, shaken.degree > 0), states[0])


def test_no_state_depends_on_a_neighbour_along_a_hidden_edge() -> None:
    graph = graph_of()
    model = model_of(graph, side=False).eval()
    visible = hide(graph)
    view = reveal(graph, visible)
    hidden = int((visible == 0).nonzero()[0])
    user, item = int(graph.user[hidden]), int(graph.item[hidden])
    for here, there in ((user, item), (item, user)):
        model.zero_grad()
        model.encode(view, view.degree > 0)[here].sum().backward()  # type: ignore[no-untyped-call]
        for table in (model.implicit, model.residual):
            assert table.grad is not None
            assert not table.grad[there].any()
            assert table.grad.any()


def test_a_step_predicts_without_the_ratings_it_hides() -> None:
    graph = graph_of()
    model = model_of(graph)
    graph.shard.seed(4)
    hidden, _, _ = hide_ratings(graph, model.hide, 0.0)

    def step() -> tuple[torch.Tensor, torch.Tensor]:
        graph.shard.seed(4)
        prediction, target = model.pairs(model.draw())
        return prediction.detach(), target

    (before, target), _ = step(), graph.edge_attr.masked_fill_(graph.edges.both_ways(hidden), 50.0)
    after, lied = step()
    assert torch.equal(before, after)
    assert not torch.equal(target, lied)
    graph.edge_attr[graph.edges.both_ways(~hidden)] *= -1
    assert not torch.allclose(step()[0], before)


def test_messages_along_hidden_edges_have_no_influence() -> None:
    graph = graph_of()
    visible = hide(graph)
    view = reveal(graph, visible)
    conv, ones = ResidualConv(graph.shard), torch.ones(graph.num_nodes)
    heard = conv(graph.edges, torch.eye(graph.num_nodes), None, view.visible, None, ones)
    expected = torch.zeros(graph.num_nodes, graph.num_nodes)
    source, target = graph.edge_index
    expected[target, source] = torch.cat([visible, visible[graph.edges.by_item]])
    assert torch.equal(heard, expected), "all visible edges are heard, to users and to movies, and no hidden one"


def test_training_targets_are_the_hidden_ratings() -> None:
    graph = graph_of()
    model = model_of(graph)
    graph.shard.seed(4)
    prediction, target = model.pairs(model.draw())
    graph.shard.seed(4)
    hidden, _, _ = hide_ratings(graph, model.hide, 0.0)
    assert torch.equal(target, graph.rating[hidden])
    view = reveal(graph, ~hidden)
    state, offset = model.encode(view, view.degree > 0), model.offsets(view, view.degree > 0)
    user, item = graph.user[hidden], graph.item[hidden]
    expected = (state[user] * state[item]).sum(1) + offset[user] + offset[item]
    assert torch.allclose(prediction, expected, atol=1e-5)


def test_gain_scales_the_side_features_of_movies_without_ratings() -> None:
    """Movie 0 has no ratings: only its side features are multiplied by the gain."""
    model = model_of(graph_of())
    user, items = torch.full((ITEMS,), 3), torch.arange(USERS, USERS + ITEMS)
    whole = model.predict(user, items)
    model.gain.fill_(0.25)
    part = model.predict(user, items)
    assert torch.equal(whole[1:], part[1:])
    with torch.no_grad():
        view = reveal(model.graph)
        state = model.encode(view, view.degree > 0)[3] @ model.side()[USERS]
    assert torch.allclose(whole[0] - part[0], 0.75 * state, atol=1e-5)
    arrays = model.export()
    assert arrays["gain"] == 0.25
    assert torch.allclose(arrays["item.state"][0], 0.25 * arrays["item.side"][0])


def test_the_gain_is_the_least_squares_factor() -> None:
    model = model_of(graph_of())
    graph = model.graph
    user, item = graph.user[:40], graph.item[:40]
    with torch.no_grad():
        model.eval()
        view = reveal(graph)
        known = view.degree > 0
        part = (model.encode(view, known)[user] * model.side()[item]).sum(1)
        alone = model.offsets(view, known)[user]
    noise = torch.randn(40, generator=torch.Generator().manual_seed(0))
    for truth in (0.6, 0.0, -2.0, 3.0):
        rating = alone + truth * part + 0.01 * noise
        model.fit_gain(user, item, rating)
        found = np.linalg.lstsq(part[:, None].numpy(), (rating - alone).numpy(), rcond=None)[0][0]
        assert abs(model.gain - min(max(float(found), 0.0), 1.0)) < 1e-5
    bare = model_of(graph, side=False)
    bare.fit_gain(user, item, alone)
    assert bare.gain == 1.0, "nothing to learn from"

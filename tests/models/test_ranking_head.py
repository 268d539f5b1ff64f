"""The ranking head against loops over its formulas."""

import math

import numpy as np
import pytest
import torch

from reelgraph.config import TrainConfig
from reelgraph.models import ranking_head
from reelgraph.models.graph import BipartiteGraph, build_graph, reveal
from reelgraph.models.ranking_head import CatalogueSurprise, RankingModel, sampled_surprise
from reelgraph.scoring.ranking_head import Ranker
from tests.support.worlds import noisy

USERS, ITEMS, DIM = 30, 25, 5
FEATURES = np.random.default_rng(4).normal(0, 1, (ITEMS, 3)).astype(np.float32)


def graph_of() -> BipartiteGraph:
    return build_graph(noisy(USERS, ITEMS), USERS, ITEMS)


def model_of(graph: BipartiteGraph, draws: int | None = None) -> RankingModel:
    graph.shard.seed(3)
    liked = torch.from_numpy(noisy(USERS, ITEMS).rating >= 4)
    model = RankingModel(
        graph, liked, dim=DIM, hide=0.4, dropout=0.0, temperature=0.5, item_features=FEATURES, draws=draws, init=0.5
    )
    with torch.no_grad():
        model.bias.normal_()
    return model


def states(model: RankingModel, visible: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The states by loops over the formulas, from the visible edges."""
    graph = model.graph
    view = reveal(graph, visible.float())
    near: list[list[tuple[int, float]]] = [[] for _ in range(graph.num_nodes)]
    rows = zip(graph.user.tolist(), graph.item.tolist(), graph.rating.tolist(), visible.tolist(), strict=True)
    for user, item, rating, there in rows:
        if there:
            rho = rating - float(view.mean) - float(view.bias[user]) - float(view.bias[item])
            near[user].append((item, rho))
            near[item].append((user, rho))
    norm = [1 / math.sqrt(max(len(others), 1)) for others in near]
    first, second = (torch.zeros(graph.num_nodes, DIM) for _ in range(2))
    for node, others in enumerate(near):
        for other, rho in others:
            first[node] += norm[node] * norm[other] * (model.implicit[other] + rho * model.residual[other])
    for node, others in enumerate(near):
        for other, _ in others:
            second[node] += norm[node] * norm[other] * first[other]
    linear = model.item_side.linear
    assert linear is not None
    side = model.item_side.features @ linear.weight.T + linear.bias
    item = model.implicit[USERS:] + model.free + side + first[USERS:] + second[USERS:]
    return (first + second)[:USERS] / 3, item / 3


def test_states_and_scores_equal_the_formula() -> None:
    model = model_of(graph_of()).eval()
    graph, some = model.graph, torch.rand(model.graph.num_edges) < 0.6
    with torch.no_grad():
        for visible in (torch.ones(graph.num_edges, dtype=torch.bool), some):
            found, expected = model.encode(reveal(graph, visible.float())), states(model, visible)
            for one, other in zip(found, expected, strict=True):
                assert torch.allclose(one, other, atol=1e-5)
        user, item = states(model, torch.ones(graph.num_edges, dtype=torch.bool))
        score = user @ item.T / 0.5 + model.bias
    pairs = torch.tensor([1, 5, 29]), torch.tensor([USERS + 3, USERS + 1, USERS + 24])
    assert torch.allclose(model.predict(*pairs), score[pairs[0], pairs[1] - USERS], atol=1e-5)


def test_the_loss_is_the_softmax_over_movies_without_visible_rating(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(graph_of())
    graph = model.graph
    hidden = torch.rand(graph.num_edges, generator=torch.Generator().manual_seed(1)) < 0.4
    monkeypatch.setattr(ranking_head, "hide_ratings", lambda *_: (hidden.clone(), None, None))
    user_state, item_state = states(model, ~hidden)
    score = user_state @ item_state.T / 0.5 + model.bias
    total, weights = 0.0, 0.0
    for user in range(USERS):
        mine = (graph.user == user).nonzero().squeeze(1).tolist()
        visible = {int(graph.item[edge]) - USERS for edge in mine if not hidden[edge]}
        targets = [int(graph.item[edge]) - USERS for edge in mine if hidden[edge] and model.liked[edge]]
        others = [item for item in range(ITEMS) if item not in visible]
        for target in targets:
            surprise = math.log(sum(math.exp(float(score[user, item])) for item in others)) - float(score[user, target])
            total += surprise / math.sqrt(len(targets))
            weights += 1 / math.sqrt(len(targets))
    assert float(model.loss(TrainConfig(), model.draw())) == pytest.approx(total / weights, abs=1e-5)


def test_the_surprise_and_its_gradients_equal_those_of_logsumexp() -> None:
    torch.manual_seed(0)
    place, item = torch.tensor([0, 0, 1, 3]), torch.tensor([2, 7, 7, 24])
    target, left_out = place * ITEMS + item, torch.randperm(4 * ITEMS)[:30]
    left_out = left_out[~torch.isin(left_out, target)]
    given = [torch.randn(*shape, dtype=torch.float64) for shape in ((4, DIM), (ITEMS, DIM), (ITEMS,))]
    results = []
    for own in (True, False):
        user, movie, bias = parts = [tensor.clone().requires_grad_() for tensor in given]
        if own:
            found = CatalogueSurprise.apply(*parts, place, target, left_out)  # type: ignore[no-untyped-call]
        else:
            score = (user @ movie.T + bias).view(-1).index_fill(0, left_out, -torch.inf).view(4, ITEMS)
            found = score.logsumexp(1)[place] - score[place, item]
        (found * torch.tensor([1.0, 0.5, 2.0, 3.0])).sum().backward()
        results.append([found, *(part.grad for part in parts)])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other)


def test_an_impossible_target_has_a_finite_surprise_and_gradient() -> None:
    user, movie = torch.tensor([[300.0]], requires_grad=True), torch.tensor([[-1.0], [1.0]])
    place = torch.zeros(1, dtype=torch.int64)
    given = user, movie, torch.zeros(2), place, place, torch.zeros(0, dtype=torch.int64)
    surprise = CatalogueSurprise.apply(*given)  # type: ignore[no-untyped-call]
    surprise.sum().backward()
    assert torch.isfinite(surprise).all()
    assert user.grad is not None
    assert user.grad.item() == pytest.approx(2.0), "the movie of probability 1 minus the target"


def test_the_sampled_softmax_is_exact_when_every_movie_is_drawn_once() -> None:
    torch.manual_seed(0)
    user, movie, bias = torch.randn(4, DIM), torch.randn(ITEMS, DIM), torch.randn(ITEMS)
    place, item = torch.tensor([0, 0, 1, 3]), torch.tensor([2, 7, 7, 24])
    excluded = torch.rand(4, ITEMS) < 0.3
    excluded[place, item] = False
    found = sampled_surprise(user, movie, bias, place, item, excluded, torch.arange(ITEMS), torch.ones(ITEMS))
    score = (user @ movie.T + bias).masked_fill(excluded, -torch.inf)
    assert torch.allclose(found, score.logsumexp(1)[place] - score[place, item], atol=1e-5)


def test_the_sampled_sum_is_right_on_average() -> None:
    """With uneven draws, the mean of the estimated sums is the sum over the catalogue (logQ correction)."""
    torch.manual_seed(0)
    user, movie, bias = torch.randn(1, DIM), torch.randn(ITEMS, DIM), torch.zeros(ITEMS)
    place, item, excluded = torch.tensor([0]), torch.tensor([4]), torch.zeros(1, ITEMS, dtype=torch.bool)
    score = (user @ movie.T)[0]
    chance = torch.arange(1.0, ITEMS + 1)
    chance /= chance.sum()
    sums = []
    for _ in range(4000):
        drawn = torch.multinomial(chance, 10, replacement=True)
        surprise = sampled_surprise(user, movie, bias, place, item, excluded, drawn, chance[drawn] * 10)
        sums.append(float((surprise + score[4]).exp()))
    truth, error = float(score.exp().sum()), np.std(sums) / math.sqrt(len(sums))
    assert abs(np.mean(sums) - truth) < 4 * error
    assert error < truth / 20, "the estimate says something"


def test_a_sampled_step_has_finite_gradients_and_learns() -> None:
    model = model_of(graph_of(), draws=8)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(80):
        optimiser.zero_grad()
        loss = model.loss(TrainConfig(), model.draw())
        loss.backward()  # type: ignore[no-untyped-call]
        assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)
        optimiser.step()
        losses.append(float(loss))
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_a_step_on_a_large_catalogue_takes_some_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking_head, "CELLS", 3 * ITEMS)
    model = model_of(graph_of(), draws=ITEMS)
    drawn = model.draw()
    assert len(drawn.users) == 3
    assert set(drawn.place.tolist()) == {0, 1, 2}
    assert math.isfinite(float(model.loss(TrainConfig(), drawn)))


def test_hidden_ratings_do_not_reach_their_own_scores() -> None:
    graph = graph_of()
    hidden = torch.zeros(graph.num_edges, dtype=torch.bool)
    hidden[::3] = True
    model = model_of(graph).eval()
    before = model.hidden_pairs(hidden)[0]
    graph.rating[hidden] = -graph.rating[hidden]
    assert torch.equal(model.hidden_pairs(hidden)[0], before)
    graph.rating[~hidden] = -graph.rating[~hidden]
    assert not torch.allclose(model.hidden_pairs(hidden)[0], before), "what is visible does reach them"


def test_the_numpy_scorer_gives_the_scores_of_the_model() -> None:
    model = model_of(graph_of())
    arrays = {name: array.numpy() for name, array in model.export().items()}
    ranker, graph = Ranker(arrays), model.graph
    user, item = torch.arange(1, USERS).repeat_interleave(ITEMS - 1), torch.arange(1, ITEMS).repeat(USERS - 1)
    expected = model.predict(user, item + USERS).reshape(USERS - 1, ITEMS - 1).numpy()
    found = ranker.score(ranker.users(np.arange(1, USERS, dtype=np.int32)))[:, 1:]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    for one in (1, 12):  # A user is a visitor with the same ratings.
        mine = graph.user == one
        _, state = ranker.fold_in.state((graph.item[mine] - USERS).numpy().astype(np.int32), graph.rating[mine].numpy())
        np.testing.assert_allclose(state, ranker.users(np.asarray([one], np.int32)), atol=1e-5)


def test_the_state_of_a_movie_without_ratings_is_its_side_features() -> None:
    model = model_of(graph_of())
    arrays = model.export()
    linear = model.item_side.linear
    assert linear is not None
    side = linear(model.item_side.features)[0] / 3 / 0.5
    assert torch.allclose(arrays["rank.item.state"][0], side, atol=1e-6)
    assert arrays["rank.item.bias"][0] == model.bias[1:].min()


def test_an_export_restores_the_model() -> None:
    graph = graph_of()
    model = model_of(graph)
    arrays = model.export()
    other = model_of(graph)
    with torch.no_grad():
        for parameter in (other.implicit, other.residual, other.free, other.bias):
            parameter.zero_()
    own, channel = (
        torch.cat([arrays[f"rank.{side}.{name}"] for side in ("user", "item")]) for name in ("own", "channel")
    )
    other.restore(own, channel, arrays["rank.item.free"], arrays["rank.item.bias"])
    for name, array in other.export().items():
        assert torch.allclose(array, arrays[name], atol=1e-5), name

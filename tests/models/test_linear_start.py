"""The linear start of the ranking head against the regressions that it solves."""

import pytest
import torch
from torch import Tensor

from reelgraph.models import ranking_head
from reelgraph.models.graph import build_graph, reveal
from reelgraph.models.linear_start import PENALTY, RESIDUAL, low_rank_ease
from reelgraph.models.ranking_head import RankingModel
from tests.support.worlds import noisy

USERS, ITEMS = 60, 25


def ratings() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    user, item = (torch.rand(USERS, ITEMS) < 0.4).nonzero(as_tuple=True)
    return user, item, torch.randn(len(user)), (torch.rand(len(user)) < 0.5).float()


def test_at_full_rank_it_is_a_ridge_regression_of_each_movie_on_the_others() -> None:
    user, item, residual, liked = ratings()
    found, wanted = low_rank_ease(user, item, residual, liked, (USERS, ITEMS), ITEMS)
    norm = torch.bincount(user, minlength=USERS)[user] ** -0.25 * torch.bincount(item, minlength=ITEMS)[item] ** -0.5
    inputs, targets = torch.zeros(2, USERS, ITEMS, dtype=torch.float64)
    inputs[user, item], targets[user, item] = (norm * (1 + RESIDUAL * residual)).double(), (norm * liked).double()
    penalty = torch.linalg.svdvals(inputs)[PENALTY - 1] ** 2
    for movie in range(ITEMS):
        others = [other for other in range(ITEMS) if other != movie]
        left = inputs[:, others]
        expected = torch.linalg.solve(left.T @ left + penalty * torch.eye(ITEMS - 1), left.T @ targets[:, movie])
        assert torch.allclose((found @ wanted.T)[others, movie].double(), expected, atol=1e-5)


@pytest.mark.parametrize("rank", [3, 40])
def test_it_has_the_columns_that_it_is_asked_for(rank: int) -> None:
    found, wanted = low_rank_ease(*ratings(), (USERS, ITEMS), rank)
    assert found.shape == wanted.shape == (ITEMS, rank)
    assert torch.allclose(found.T @ found, torch.diag((torch.arange(rank) < ITEMS).float()), atol=1e-4)
    assert not wanted[:, ITEMS:].any()


def test_a_single_rating_of_no_weight_gives_zeros() -> None:
    one = torch.zeros(1, dtype=torch.int64)
    _, wanted = low_rank_ease(one, one, torch.tensor([-1 / RESIDUAL]), torch.ones(1), (2, 3), 4)
    assert torch.equal(wanted, torch.zeros(3, 4))


def test_the_head_starts_at_these_scores_up_to_a_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking_head, "NOISE", 0.0)
    train = noisy(30, ITEMS)
    graph = build_graph(train, 30, ITEMS)
    liked = torch.from_numpy(train.rating >= 4)
    features = torch.randn(ITEMS, 3).numpy()
    model = RankingModel(graph, liked, dim=ITEMS, hide=0.4, dropout=0.2, temperature=0.1, item_features=features)
    state = torch.get_rng_state()
    model.start_linear()
    assert torch.equal(torch.get_rng_state(), state)
    view = reveal(graph)
    user, item, residual = graph.user, graph.item - 30, view.rho[: graph.num_edges]
    torch.manual_seed(1)
    found, wanted = low_rank_ease(user, item, residual, liked.float(), (30, ITEMS), ITEMS)
    values = torch.zeros(30, ITEMS)
    values[user, item] = 1 + RESIDUAL * residual
    norm = view.degree.clamp(min=1).rsqrt().unsqueeze(1)
    expected = norm[:30] * ((values @ (norm[30:] * found)) @ (wanted / norm[30:]).T)
    with torch.no_grad():
        states = model.eval().encode(view)
        score = states[0] @ states[1].T / 0.1
    assert torch.allclose(score / score.square().mean().sqrt(), expected / expected.square().mean().sqrt(), atol=1e-3)
    assert float(score.square().mean().sqrt()) == pytest.approx(ranking_head.CONTRAST, rel=1e-3)

"""Tensors are created on the device of the training; what a device cannot do falls back to the CPU."""

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from reelgraph.config import TrainConfig
from reelgraph.errors import ConfigError
from reelgraph.models import RankingModel, ResidualModel
from reelgraph.models.graph import FEW, BipartiteGraph, build_graph, dropout, hide_ratings, reveal
from reelgraph.models.shard import Shard
from reelgraph.models.sparse import Edges
from reelgraph.training.devices import choose, lacking, running_on
from reelgraph.training.fit import fit
from tests.support.worlds import checkerboard, noisy, settings

USERS, ITEMS = 300, 50


class Nothing:
    """Stands for a sparse matrix, which a simulated device cannot hold; its products are zero."""

    to_users = property(lambda self: self)

    def __matmul__(self, other: Tensor) -> Tensor:
        return torch.zeros_like(other)

    def items(self, other: Tensor) -> Tensor:
        return other.new_zeros(ITEMS)

    def add_to(self, out: Tensor, table: Tensor, keep: float = 1.0) -> None:
        out.mul_(keep).add_(table)


class NoUsers(Nothing):
    def __matmul__(self, other: Tensor) -> Tensor:
        return other.new_zeros(USERS)


Nothing.to_users = property(lambda self: NoUsers())


def graph_of(device: str) -> BipartiteGraph:
    """A graph of zeros on a device, large enough for every branch without a look at values."""
    index, count = torch.zeros(2, 2 * FEW, dtype=torch.int32, device=device), FEW
    shard = Shard(0, 1, (0, USERS), (0, count), USERS, ITEMS, count, {})
    ratings, by_item = torch.zeros(2 * count, device=device), torch.zeros(count, dtype=torch.int32, device=device)
    return BipartiteGraph(USERS, ITEMS, 3.0, 1.0, Edges(index, by_item, USERS, ITEMS), ratings, shard)


def tensors_of_a_step(graph: BipartiteGraph) -> list[Tensor]:
    """Tensors that models create and compute, up to the products of pairs."""
    hidden, newcomer, scored = hide_ratings(graph, 0.2, 0.1, 500)
    view = reveal(graph, ~hidden)
    known, factors = view.degree > 0, [dropout(4, 0.3, graph.shard) for _ in range(3)]
    rating = ResidualModel(graph, dim=4, hide=0.2, dropout=0.3, newcomers=0.1)
    ranking = RankingModel(graph, graph.rating >= 0, dim=4, hide=0.2, dropout=0.3, temperature=0.1)
    made = [
        hidden,
        newcomer,
        scored,
        view.bias,
        view.rho,
        rating.encode(view, known, factors),
        rating.offsets(view, known),
    ]
    made += ranking.encode(view, factors)
    return [*made, *rating.state_dict().values(), *ranking.state_dict().values()]


def test_all_tensors_are_created_on_the_device_of_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Edges, "matrix", lambda edges, value: Nothing())
    with torch.device("meta"):
        made = tensors_of_a_step(graph_of("meta"))
        assert {tensor.device.type for tensor in made} == {"meta"}
        with pytest.raises(RuntimeError, match="meta tensor"):
            tensors_of_a_step(graph_of("cpu"))


def test_auto_is_the_cpu_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"--device cuda: .* found only cpu"):
        choose("cuda")


def test_a_device_that_lacks_an_operation_is_replaced_by_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    if lacking(torch.device("mps")) is None:
        pytest.skip("this device lacks nothing")
    with caplog.at_level(logging.WARNING, "reelgraph"):
        assert choose("mps") == torch.device("cpu")
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert "--device mps" in record.getMessage()
    assert lacking(torch.device("cpu")) is None


def test_the_manifest_names_the_device_and_draws_are_restored() -> None:
    before = torch.get_rng_state()
    model = fit(checkerboard(), settings(device="cpu"))
    assert model.artifact.manifest["device"] == "cpu"
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def gpu() -> None:
    """Skips the test where there is no GPU."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU; see script/gpu-check")


def models(data: Any) -> list[Any]:
    graph = build_graph(data, 30, 25)
    liked = torch.as_tensor(data.rating >= 4)
    return [
        ResidualModel(graph, dim=4, hide=0.3, dropout=0.0, init=0.5),
        RankingModel(graph, liked, dim=4, hide=0.3, dropout=0.0, temperature=0.5),
    ]


@pytest.mark.gpu
def test_results_on_a_gpu_agree_with_the_cpu(gpu: None) -> None:
    data = noisy()
    with running_on("cpu"):
        here = models(data)
        hidden = torch.rand(len(data)) < 0.3
        expected = [model.hidden_pairs(hidden)[0] for model in here]
        for value in expected:
            value.sum().backward()
    with running_on("cuda"):
        there = models(data)
        for model, other, value in zip(there, here, expected, strict=True):
            model.load_state_dict(other.state_dict())
            found = model.hidden_pairs(hidden.cuda())[0]
            found.sum().backward()
            assert found.is_cuda
            torch.testing.assert_close(found.cpu(), value, atol=1e-4, rtol=1e-4)
            for (name, own), (_, same) in zip(model.named_parameters(), other.named_parameters(), strict=True):
                if same.grad is not None:
                    torch.testing.assert_close(own.grad.cpu(), same.grad, atol=1e-3, rtol=1e-3, msg=name)
            exported = other.export()
            for name, array in model.export().items():
                torch.testing.assert_close(array.cpu(), exported[name], atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["residual", "gcn"])
def test_a_training_on_a_gpu_predicts_as_well(gpu: None, model: str) -> None:
    data = checkerboard()
    config = TrainConfig(model=model, dim=8, max_steps=100, rank_max_steps=40, tune="none", use_all=False)
    errors = [
        fit(data, replace_device(config, device)).artifact.manifest["metrics"]["valid"]["model"]["rmse"]
        for device in ("cpu", "cuda")
    ]
    assert errors[1] == pytest.approx(errors[0], rel=0.1)


def replace_device(config: TrainConfig, device: str) -> TrainConfig:
    return config.model_copy(update={"device": device})

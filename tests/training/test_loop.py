"""The training loop on models with scripted predictions, so that the right answer is known."""

import math
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reelgraph.config import TrainConfig
from reelgraph.errors import TrainingError
from reelgraph.metrics.ratings import mae, rmse
from reelgraph.models import RankingModel, ResidualModel
from reelgraph.models.base import huber_loss
from reelgraph.models.graph import build_graph
from reelgraph.training.loop import Fit, Progress, Spare, beside, history_rows
from reelgraph.training.validation import RatingValidation, predict
from tests.support.worlds import checkerboard, interactions, noisy

CALM = {"average": 0.0, "eval_every": 1, "min_improvement": 0.0, "l2": 0.0}


class Scripted(nn.Module):
    """Predicts, for every pair, the next number of a script; its one weight counts the steps."""

    node_tables: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()

    def __init__(self, errors: list[float]) -> None:
        super().__init__()
        self.graph = build_graph(noisy(), 30, 25)
        self.count = nn.Parameter(torch.zeros(1))
        self.errors = errors
        self.evaluations = 0

    def draw(self) -> None:
        pass

    def loss(self, config: TrainConfig, drawn: None) -> Tensor:
        return huber_loss(*self.training_pairs(), config.huber_delta, self.graph.shard)

    def training_pairs(self) -> tuple[Tensor, Tensor]:
        # Huber's gradient is -delta far from the target, so Adam moves the weight by one learning rate a step.
        return self.count.expand(2), torch.full((2,), 1e6)

    def predict(self, user: Tensor, item: Tensor) -> Tensor:
        error = self.errors[self.evaluations]
        self.evaluations += 1
        return torch.full((len(user),), error) + self.graph.rating[: len(user)]

    def parameter_groups(self, l2: float, side_l2: float) -> list[dict[str, Any]]:
        return [{"params": [self.count], "weight_decay": l2}]

    def export(self) -> dict[str, Tensor]:
        return {"count": self.count}


def scripted(errors: list[float], **settings: Any) -> tuple[Scripted, Progress]:
    model = Scripted(errors)
    config = TrainConfig(**(CALM | {"learning_rate": 1.0, "decay_steps": 0.0, "max_steps": len(errors)} | settings))
    return model, Fit(model, config, RatingValidation(noisy(), (-1e9, 1e9))).run(lambda progress: None)


def test_stops_after_patience_and_restores_the_best_weights() -> None:
    model, progress = scripted([5, 4, 3, 3.5, 3.2, 3.1, 3.3, 0.1], patience=4)
    assert progress.step == 7, "four evaluations after the best, the later 0.1 is never seen"
    assert progress.best_step == 3
    assert model.count.item() == pytest.approx(3, abs=1e-3), "Adam moved the weight by about 1 a step"


def test_history_holds_every_evaluation_in_the_scale_of_the_data() -> None:
    model, progress = scripted([2.0, 1.0])
    rows = history_rows(progress)
    assert [row["step"] for row in rows] == [1, 2]
    for row, error in zip(rows, (2.0, 1.0), strict=True):
        assert row["valid_rmse"] == pytest.approx(error * model.graph.std, rel=1e-4)
        assert row["valid_mae"] == pytest.approx(error * model.graph.std, rel=1e-4)


def test_small_gains_do_not_count_for_patience_but_are_kept() -> None:
    model, progress = scripted([1.0, 0.9999, 0.9998, 0.9997, 0.9996], patience=3, min_improvement=0.01)
    assert progress.step == 4
    assert progress.best_step == 4
    assert model.count.item() == pytest.approx(4, abs=1e-3)


def test_the_latest_weights_that_no_others_clearly_beat_are_kept() -> None:
    errors = [1.0, 0.9, 0.95, 0.9008, 0.8995, 0.9003, 0.905]
    model, progress = scripted(errors, patience=9, min_improvement=0.001)
    assert progress.best_step == 6, "0.9003 is within a thousandth of 0.8995"
    assert model.count.item() == pytest.approx(6, abs=1e-3)
    assert scripted(errors, patience=9)[1].best_step == 5


def test_without_validation_exactly_max_steps_are_taken() -> None:
    model = Scripted([])
    config = TrainConfig(**CALM, learning_rate=1.0, decay_steps=0.0, max_steps=9)
    progress = Fit(model, config, None).run(lambda progress: None)
    assert (progress.step, progress.history) == (9, [])
    assert model.count.item() == pytest.approx(9, abs=1e-3)


def test_step_size_halves_after_decay_steps_also_in_a_fit_that_another_continues() -> None:
    model = Scripted([])
    config = TrainConfig(**CALM, learning_rate=1.0, decay_steps=4.0)
    first = Fit(model, config.model_copy(update={"max_steps": 2}), None)
    first.run(lambda progress: None)
    second = Fit(model, config.model_copy(update={"max_steps": 6}), None, before=2)
    second.adam.moments = first.adam.moments
    second.run(lambda progress: None)
    assert model.count.item() == pytest.approx(sum(1 / (1 + step / 4) for step in range(8)), abs=1e-3)


def test_adam_takes_the_steps_of_pytorch() -> None:
    config = TrainConfig(l2=0.01, learning_rate=0.1, decay_steps=0.0, average=0.0, max_steps=5, hide=0.3, dropout=0.0)
    ours, theirs = (ResidualModel(build_graph(noisy(), 30, 25), dim=4, hide=0.3, dropout=0.0) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    ours.graph.shard.seed(1)
    Fit(ours, config, None).run(lambda progress: None)
    theirs.graph.shard.seed(1)
    optimizer = torch.optim.Adam(theirs.parameter_groups(0.01, 0.1), lr=0.1)
    for _ in range(5):
        theirs.train()
        optimizer.zero_grad()
        theirs.loss(config, theirs.draw()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_running_average_is_validated_and_kept() -> None:
    model = Scripted([3.0] * 30)
    config = TrainConfig(**(CALM | {"average": 0.5}), learning_rate=1.0, decay_steps=0.0, max_steps=30)
    progress = Fit(model, config, None).run(lambda progress: None)
    average = weight = 0.0
    for step in range(1, 31):
        weight += 1.0
        decay = min(0.5, (1 + step) / (10 + step))
        average = weight if step == 1 else average + (weight - average) * (1 - decay)
    assert model.count.item() == pytest.approx(average, abs=1e-2)
    assert progress.step == 30


def test_validating_the_average_does_not_change_the_fit() -> None:
    config = TrainConfig(**(CALM | {"average": 0.9}), learning_rate=1.0, decay_steps=0.0, max_steps=20)
    ends = []
    for valid in (RatingValidation(noisy(), (-1e9, 1e9)), None):
        model = Scripted([20.0 - step for step in range(20)])  # the last evaluation is the best
        Fit(model, config, valid).run(lambda progress: None)
        ends.append(model.count.item())
    assert ends[0] == ends[1]
    assert ends[0] < 19, "the average lags behind the weight, which is at 20"


@pytest.mark.parametrize(("poison", "what"), [(math.nan, "finite loss"), (math.inf, "finite loss")])
def test_a_loss_that_is_not_finite_names_its_step(poison: float, what: str) -> None:
    class Poisoned(Scripted):
        steps = 0

        def training_pairs(self) -> tuple[Tensor, Tensor]:
            self.steps += 1
            return self.count.expand(1) * (poison if self.steps == 3 else 1.0), torch.zeros(1)

    config = TrainConfig(**CALM, max_steps=5)
    with pytest.raises(TrainingError, match=rf"step 3: expected a {what}, found (nan|inf)"):
        Fit(Poisoned([1.0] * 5), config, RatingValidation(noisy(), (0, 1))).run(lambda progress: None)


def test_a_gradient_that_is_not_finite_names_its_step() -> None:
    class Steep(Scripted):
        def training_pairs(self) -> tuple[Tensor, Tensor]:
            return torch.sqrt(self.count - self.count.detach()).expand(1), torch.zeros(1)

    with pytest.raises(TrainingError, match="step 1: expected finite gradients"):
        Fit(Steep([1.0]), TrainConfig(**CALM, max_steps=1), None).run(lambda progress: None)


def test_predictions_that_are_not_finite_stop_the_fit() -> None:
    with pytest.raises(TrainingError, match="step 2: expected finite predictions"):
        scripted([1.0, math.nan, 1.0])


def test_ctrl_c_keeps_the_best_so_far() -> None:
    def press(progress: Progress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    model = Scripted([3.0, 1.0, 2.0, 2.5, 0.1, 0.1])
    config = TrainConfig(**CALM, learning_rate=1.0, decay_steps=0.0, max_steps=6)
    progress = Fit(model, config, RatingValidation(noisy(), (-1e9, 1e9))).run(press)
    assert progress.interrupted
    assert (progress.step, progress.best_step) == (4, 2), "the key is looked at between two steps"
    assert model.count.item() == pytest.approx(2, abs=1e-3)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    def press(progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Fit(Scripted([1.0] * 9), TrainConfig(**CALM, max_steps=9), RatingValidation(noisy(), (0, 1))).run(press)


def test_a_fit_stopped_before_the_first_evaluation_is_an_error() -> None:
    config = TrainConfig(**(CALM | {"eval_every": 5}), max_steps=9)

    def press(progress: Progress) -> None:
        if progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingError, match="before its first evaluation"):
        Fit(Scripted([1.0] * 9), config, RatingValidation(noisy(), (0, 1))).run(press)


def test_predictions_are_clipped_to_the_scale() -> None:
    model = Scripted([100.0])
    assert predict(model, noisy(), (1.0, 5.0)).max() == 5.0


def test_restored_weights_give_the_errors_of_the_best_evaluation() -> None:
    data = checkerboard()
    graph = build_graph(data.train, 40, 30)
    model = ResidualModel(graph, dim=4, hide=0.3, dropout=0.1)
    config = TrainConfig(max_steps=40, eval_every=5, min_improvement=0.0)
    progress = Fit(model, config, RatingValidation(data.valid, data.scale)).run(lambda progress: None)
    prediction = predict(model, data.valid, data.scale)
    assert rmse(prediction, data.valid.rating) == pytest.approx(progress.best_evaluation.valid_rmse, abs=1e-6)
    assert mae(prediction, data.valid.rating) == pytest.approx(progress.best_evaluation.valid_mae, abs=1e-6)
    assert progress.best_evaluation.valid_rmse == min(line.valid_rmse for line in progress.history)


def rating_model() -> ResidualModel:
    graph = build_graph(noisy(), 30, 25)
    graph.shard.seed(3)
    return ResidualModel(graph, dim=4, hide=0.3, dropout=0.2, newcomers=0.1)


def ranking_model() -> RankingModel:
    graph = build_graph(noisy(), 30, 25)
    graph.shard.seed(3)
    return RankingModel(graph, graph.rating > 0, dim=4, hide=0.3, dropout=0.2, newcomers=0.1, temperature=0.2, draws=20)


class Drawers:
    """Remembers the threads that draw."""

    draw: Callable[[], Any]

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def __call__(self) -> Any:
        self.threads.add(threading.get_ident())
        return self.draw()


@pytest.mark.parametrize("make", [rating_model, ranking_model])
def test_steps_that_are_drawn_ahead_are_the_same_steps(make: Callable[[], Any]) -> None:
    config, ends, threads = TrainConfig(max_steps=12), [], []
    for spare in (None, Spare(2), Spare(1)):
        model, drew = make(), Drawers()
        drew.draw, model.draw = model.draw, drew
        Fit(model, config, None, spare=spare).run(lambda progress: None)
        ends.append({"random": model.graph.shard.random.get_state()} | model.state_dict())
        threads.append(len(drew.threads))
    assert threads == [1, 2, 1], "another thread draws only where a processor is idle"
    for end in ends[1:]:
        for name, value in ends[0].items():
            assert torch.equal(value, end[name]), name


def test_an_error_in_a_step_that_is_drawn_ahead_is_raised() -> None:
    model = rating_model()
    drawn = [model.draw(), model.draw()]
    model.draw = drawn.pop  # type: ignore[method-assign]
    with pytest.raises(IndexError):
        Fit(model, TrainConfig(max_steps=12), None, spare=Spare(2)).run(lambda progress: None)


def test_a_job_that_waits_for_its_thread_runs_in_the_one_that_asks_for_it() -> None:
    begun, may_end = threading.Event(), threading.Event()
    runs: list[int] = []

    def long() -> int:
        begun.set()
        may_end.wait()
        return threading.get_ident()

    def short() -> int:
        runs.append(threading.get_ident())
        return runs[-1]

    with beside(threading.Event(), threads=True) as submit:
        first, second = submit(long), submit(short)
        begun.wait()
        assert second() == second() == threading.get_ident()
        may_end.set()
        assert first() != threading.get_ident()
    assert len(runs) == 1


def test_a_step_always_has_a_target() -> None:
    graph = build_graph(interactions([0, 1], [0, 1], [1, 5]), 2, 2)
    model = ResidualModel(graph, dim=2, hide=1e-9, dropout=0.0)
    prediction, target = model.pairs(model.draw())
    assert len(target) == 1
    assert np.isfinite(prediction.detach().numpy()).all()

"""The loop that fits either model, and what guards it."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reelgraph.arrays import Float32s, Float64s
from reelgraph.config import TrainConfig
from reelgraph.data.dataset import Interactions
from reelgraph.errors import StoppedError, TrainingError
from reelgraph.machine import kept_memory
from reelgraph.metrics.ranking import user_ndcg
from reelgraph.models.base import HidesRatings, Model, RanksMovies, RatingModel


def loss_of(model: Any, config: TrainConfig) -> Tensor:
    """The loss of one step: the ranking head's own, or the mean of Huber's over a rating model's training pairs.

    In a distributed training it is this process's part of it: the sum over processes is the loss.
    """
    if isinstance(model, RanksMovies):
        return model.hidden_loss()
    prediction, target = model.training_pairs()
    count = model.graph.shard.total(len(target))
    total: Tensor = F.huber_loss(prediction, target, delta=config.huber_delta, reduction="sum")
    return total.div(max(count, 1))


def judge(model: Any, valid: Interactions, scale: tuple[float, float]) -> dict[str, float]:
    """The validation measures of a model, by their names in `history.csv`; the ratings are those of its own users."""
    if isinstance(model, RanksMovies):
        return {
            "valid_rmse": math.nan,
            "valid_mae": math.nan,
            "valid_ndcg": 1 - mean_of(model, errors(model, valid, scale)),
        }
    off = predict(model, valid, scale).astype(np.float64) - valid.rating
    return {"valid_rmse": mean_of(model, off**2) ** 0.5, "valid_mae": mean_of(model, np.abs(off))}


def mean_of(model: Any, values: Float64s) -> float:
    """The mean over all processes' values, `(num_values,)` in this one; NaN when there are none at all."""
    shard = model.graph.shard
    count, total = shard.total(len(values)), shard.total(float(values.sum()))
    return total / count if count else math.nan


def errors(model: Any, valid: Interactions, scale: tuple[float, float]) -> Float64s:
    """What two models are compared by: squared errors of ratings, or 1 - nDCG at 10 of users; float64."""
    if isinstance(model, RanksMovies):
        user, item, bias = (array.numpy() for array in model.scores())
        graph = model.graph
        seen = Interactions(
            graph.user.numpy(),
            (graph.item - graph.num_users).numpy(),
            graph.rating.numpy(),
            None,
        )
        return 1 - user_ndcg(lambda users: user[users] @ item.T + bias, seen, valid, graph.num_items, scale[1])
    return (predict(model, valid, scale).astype(np.float64) - valid.rating) ** 2


RESIDUAL_FOLDS = 5


def predict(model: RatingModel, pairs: Interactions, scale: tuple[float, float]) -> Float32s:
    """Predicted ratings of pairs, clipped to the scale, float32 of shape `(num_pairs,)`."""
    standardised = model.predict(*model.graph.pairs(pairs.user_index, pairs.item_index))
    rating = standardised * model.graph.std + model.graph.mean
    return rating.clamp(*scale).numpy()


@torch.no_grad()
def hidden_residuals(model: HidesRatings, ratings: Interactions, scale: tuple[float, float]) -> Float32s:
    """What each training rating exceeds its prediction by, made while the rating itself is hidden.

    Args:
        model: a fitted model; a fifth of its ratings is hidden at a time.
        ratings: the ratings of its graph.
        scale: lowest and highest rating; predictions are clipped to it.

    Returns:
        Differences in the data's scale, float32 of shape `(num_edges,)`.
    """
    model.eval()
    graph, residual = model.graph, np.empty(len(ratings), np.float32)
    fold = torch.randint(RESIDUAL_FOLDS, (graph.num_edges,), generator=torch.Generator().manual_seed(0))
    for number in range(RESIDUAL_FOLDS):
        hidden = fold == number
        if hidden.any():
            standardised, _ = model.hidden_pairs(hidden)
            prediction = (standardised * graph.std + graph.mean).clamp(*scale).numpy()
            residual[hidden.numpy()] = ratings.rating[hidden.numpy()] - prediction
    return residual


@dataclass(frozen=True)
class Evaluation:
    """One line of `history.csv`; errors in the data's scale, seconds since the fit began.

    A rating model has RMSE and MAE, a ranking head nDCG at 10; what does not apply is NaN.
    """

    step: int
    loss: float
    valid_rmse: float
    valid_mae: float
    seconds: float
    valid_ndcg: float = math.nan

    @property
    def error(self) -> float:
        """What early stopping makes small."""
        return self.valid_rmse if math.isnan(self.valid_ndcg) else 1 - self.valid_ndcg


@dataclass
class Progress:
    """Where a fit stands: everything but the tensors of model, optimizer and random generator.

    Attributes:
        step: steps done.
        average: running average of the weights, by name; empty without averaging.
        best: the weights of the best evaluation so far, by name.
        best_step: its step, 0 before the first one.
        history: every evaluation so far.
        seconds: time spent.
        interrupted: whether the user asked to stop.
    """

    step: int = 0
    average: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_step: int = 0
    history: list[Evaluation] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def best_evaluation(self) -> Evaluation:
        """The evaluation whose weights are kept."""
        return next(line for line in self.history if line.step == self.best_step)


Observer = Callable[[Progress], None]


class Fit:
    """A model, its optimizer and their progress.

    Args:
        model: the model to fit, in place.
        config: settings.
        valid: validation ratings; None to run exactly `max_steps` steps without looking.
        scale: lowest and highest rating; predictions are clipped to it before they are judged.
        give_up: asked before every step whether to stop early; must depend on the progress alone, so that a resumed fit
            ends where it would have ended.
    """

    def __init__(
        self,
        model: Model,
        config: TrainConfig,
        valid: Interactions | None,
        scale: tuple[float, float],
        give_up: Callable[[Progress], bool] | None = None,
    ) -> None:
        self.model, self.config, self.scale, self.give_up = model, config, scale, give_up
        self.shard = model.graph.shard
        self.valid = None if valid is None else self.shard.local(valid)
        self.rates = config.rates(self.shard.num_edges)
        groups = model.parameter_groups(self.rates.l2, self.rates.l2 * config.side_l2)
        self.optimizer = torch.optim.Adam(groups, lr=self.rates.learning_rate)
        self.progress = Progress()

    def run(self, observe: Observer) -> Progress:
        """Fit until the validation error has not improved for `patience` evaluations, then restore the best weights.

        Args:
            observe: called after every step, while the optimizer and the weights are still where the step left them.

        Raises:
            TrainingError: if the loss or a gradient is no longer finite.
            StoppedError: if stopped before the first evaluation.
        """
        config, progress, started = self.config, self.progress, time.monotonic() - self.progress.seconds
        with _stop_signal() as stop_asked, kept_memory():
            while not (self.done or progress.interrupted):
                self.model.train()
                loss = loss_of(self.model, config)
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self._share_gradients()
                loss = self.shard.add(loss.detach(), "loss")
                self._guard(loss)
                self._set_learning_rate()
                self.optimizer.step()
                progress.step += 1
                self._update_average()
                if progress.step % config.eval_every == 0 or progress.step == config.max_steps:
                    self._evaluate(loss.item(), started)
                progress.seconds = time.monotonic() - started
                progress.interrupted = self.shard.agree(stop_asked())
                observe(progress)
        return self._finish()

    @property
    def done(self) -> bool:
        """Whether the last step has been taken, patience has run out, or the fit was given up."""
        finished = self.progress.step >= self.config.max_steps or self._idle() >= self.rates.patience
        return finished or (self.give_up is not None and self.give_up(self.progress))

    def _idle(self) -> int:
        """Evaluations since the error last fell by a share that counts; ever smaller gains do not keep a fit alive."""
        reference, idle = math.inf, 0
        for line in self.progress.history:
            better = line.error < reference * (1 - self.config.min_improvement)
            reference, idle = (line.error, 0) if better else (reference, idle + 1)
        return idle

    def _finish(self) -> Progress:
        if self.valid is not None and not self.progress.best:
            raise StoppedError("training was stopped before its first evaluation, so there is nothing to keep")
        best = self.progress.best if self.valid is not None else self.weights()
        self.model.load_state_dict(best)
        return self.progress

    def weights(self) -> dict[str, Tensor]:
        """The weights to judge and to keep: the running average where there is one, by name."""
        return {name: value.clone() for name, value in (self.model.state_dict() | self.progress.average).items()}

    def _evaluate(self, loss: float, started: float) -> None:
        if self.valid is None:
            return
        valid, progress, weights, live = self.valid, self.progress, self.weights(), _copy(self.model.state_dict())
        self.model.load_state_dict(weights)
        measured = judge(self.model, valid, self.scale)
        self.model.load_state_dict(live)
        line = Evaluation(progress.step, loss, seconds=time.monotonic() - started, **measured)
        if not math.isfinite(line.error):
            raise TrainingError(f"step {progress.step}: expected finite predictions, found NaN", _SMALLER_STEPS)
        if not progress.best or line.error < progress.best_evaluation.error:
            progress.best, progress.best_step = weights, progress.step
        progress.history.append(line)

    def _share_gradients(self) -> None:
        """Sum over processes what they share: the gradients of all but their own users' rows, as one array."""
        if self.shard.size == 1:
            return
        shared = []
        for name, parameter in self.model.named_parameters():
            if parameter.grad is None:  # Another process may have one.
                parameter.grad = torch.zeros_like(parameter)
            users = self.model.graph.num_users if name in self.model.node_tables else 0
            shared.append(parameter.grad[users:])
        total = self.shard.add(torch.cat([part.reshape(-1) for part in shared]), "gradients")
        for part, values in zip(shared, torch.split(total, [part.numel() for part in shared]), strict=True):
            part.copy_(values.view_as(part))

    def _guard(self, loss: Tensor) -> None:
        parameters = [value for group in self.optimizer.param_groups for value in group["params"]]
        own = torch.nn.utils.get_total_norm([value.grad for value in parameters if value.grad is not None])
        norm = self.shard.add(own, "loss")  # not finite anywhere, not finite here
        step = self.progress.step + 1
        if not torch.isfinite(loss):
            raise TrainingError(f"step {step}: expected a finite loss, found {loss.item()}", _SMALLER_STEPS)
        if not torch.isfinite(norm):
            raise TrainingError(f"step {step}: expected finite gradients, found norm {norm.item()}", _SMALLER_STEPS)

    def _set_learning_rate(self) -> None:
        # Hyperbolic decay needs no final step to be known in advance, so that early stopping and refit agree.
        rate, steps = self.rates.learning_rate, self.rates.decay_steps
        for group in self.optimizer.param_groups:
            group["lr"] = rate / (1 + self.progress.step / steps) if steps else rate

    @torch.no_grad()
    def _update_average(self) -> None:
        """Polyak averaging with a warm start, so that the first steps do not linger."""
        if not self.config.average:
            return
        weights = {name: value for name, value in self.model.state_dict().items() if value.is_floating_point()}
        if not self.progress.average:
            self.progress.average = _copy(weights)
        decay = min(self.config.average, (1 + self.progress.step) / (10 + self.progress.step))
        average = [self.progress.average[name] for name in weights]
        torch._foreach_lerp_(average, list(weights.values()), 1 - decay)


_SMALLER_STEPS = "try a smaller --learning-rate, and look at the ratings for extreme values"


def history_rows(progress: Progress) -> list[dict[str, float | None]]:
    """The history as rows of `history.csv`; None for what does not apply."""
    rows = (asdict(line) for line in progress.history)
    return [{name: None if math.isnan(value) else value for name, value in row.items()} for row in rows]


def _copy(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in weights.items()}


@contextmanager
def _stop_signal() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag that is read between two steps; a second one interrupts at once."""
    asked = False

    def remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (signal's signature)
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    try:
        previous = signal.signal(signal.SIGINT, remember)
    except ValueError:  # Not the main thread: whoever runs it there stops it.
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)

"""The training loop: steps, early stopping, averaging of weights, and interruption."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor

from reelgraph.config import TrainConfig
from reelgraph.errors import StoppedError, TrainingError
from reelgraph.machine import kept_memory, processors
from reelgraph.models.base import Model
from reelgraph.training.adam import Adam
from reelgraph.training.validation import Validation

_SMALLER_STEPS = "try a smaller --learning-rate, and look at the ratings for extreme values"
Result = TypeVar("Result")
_THREADED = 300_000  # ratings from which on a step is faster with more threads than one


@dataclass(frozen=True)
class Evaluation:
    """One row of `history.csv`: errors in the data's scale, seconds since the fit began.

    A rating model has RMSE and MAE, a ranking head nDCG at 10; the other measures are NaN.
    """

    step: int
    loss: float
    valid_rmse: float
    valid_mae: float
    seconds: float
    valid_ndcg: float = math.nan

    @property
    def error(self) -> float:
        """The error that early stopping minimises."""
        return self.valid_rmse if math.isnan(self.valid_ndcg) else 1 - self.valid_ndcg


@dataclass
class Progress:
    """The state of a fit without the tensors of model, optimizer and random generator."""

    step: int = 0
    average: dict[str, Tensor] = field(default_factory=dict)  # of the weights by name; empty without averaging
    best: dict[str, Tensor] = field(default_factory=dict)  # weights to keep so far by name; see `Fit.run`
    best_step: int = 0  # their step; 0 before the first evaluation
    history: list[Evaluation] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False  # by the user

    @property
    def best_evaluation(self) -> Evaluation:
        """The evaluation of the weights to keep."""
        return next(line for line in self.history if line.step == self.best_step)


Observer = Callable[[Progress], None]


class Spare:
    """Counts the threads of fits, so that they use a processor that is idle, and never fight for one."""

    def __init__(self, processors: int) -> None:
        self._idle, self._lock = processors, threading.Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Use one processor while the block runs."""
        self._count(-1)
        try:
            yield
        finally:
            self._count(1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._idle += change

    @property
    def idle(self) -> bool:
        """Whether a processor is idle."""
        return self._idle > 0


class Fit:
    """A model that is fitted in place, its optimizer and their progress."""

    def __init__(
        self,
        model: Model,
        config: TrainConfig,
        valid: Validation | None,  # None takes all steps up to `max_steps`
        before: int = 0,  # steps that the model has taken already; step size and averaging go on from there
        spare: Spare | None = None,  # processors to draw the next step on while this one is taken
    ) -> None:
        self.model, self.config, self.valid, self.before = model, config, valid, before
        self.shard = model.graph.shard
        self.rates = config.rates(self.shard.num_edges)
        groups = model.parameter_groups(self.rates.l2, self.rates.l2 * config.side_l2)
        self.adam = Adam(model, groups)
        self.progress, self.spare = Progress(), spare
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: tuple[Tensor, Future[Any]] | None = None  # state of the random numbers before the next step's draw
        if before and config.average:
            self.progress.average = {name: value.clone() for name, value in self._weights.items()}

    def run(self, observe: Observer, stop: threading.Event | None = None) -> Progress:
        """Fit until the validation error has not improved for `patience` evaluations, then restore the best weights.

        These are the latest that no others beat by `min_improvement`: a validation error scatters by as much, and
        later weights predict other ratings better (docs/experiments.md).

        Calls `observe` after every step; a checkpoint saved by it is complete. `stop` ends the fit after a step, as
        Ctrl-C does, which sets it.
        """
        stop = stop or threading.Event()
        config, progress, started = self.config, self.progress, time.monotonic() - self.progress.seconds
        with stop_signal(stop), kept_memory(), short_waits(), self._drawing_ahead():
            while not (self.done or progress.interrupted):
                loss = self._gradients()
                self.adam.step(self._rate(), self.before + progress.step)
                progress.step += 1
                self._update_average()
                if progress.step % config.eval_every == 0 or progress.step == self.rates.max_steps:
                    self._evaluate(loss.item(), started)
                progress.seconds = time.monotonic() - started
                progress.interrupted = self.shard.agree(stop.is_set())
                observe(progress)
        if self.valid is not None and not progress.best:
            raise StoppedError("training was stopped before its first evaluation, so there is nothing to keep")
        self.adam.clear()
        self.model.load_state_dict(progress.best if self.valid is not None else self.weights())
        return progress

    def warm(self, steps: int) -> None:
        """Teach Adam the gradients of some steps without taking them.

        Its first steps move every weight by the step size, however small the gradient, which harms a fitted model.
        """
        for step in range(steps):
            self._gradients()
            self.adam.step(0.0, self.before + step)
        self.before += steps

    def _gradients(self) -> Tensor:
        """Compute the gradients of a step; returns its loss, over all processes."""
        self.model.train()
        loss = self.model.loss(self.config, self._draw())
        self.adam.clear()
        loss.backward()  # type: ignore[no-untyped-call]
        self._share_gradients()
        loss = self.shard.add(loss.detach(), "loss")
        self._guard(loss)
        return loss

    @contextmanager
    def _drawing_ahead(self) -> Iterator[None]:
        """Let steps be drawn ahead while the block runs; at its end the random numbers are as without that."""
        if self.spare is None:
            yield
            return
        with self.spare.taken(), ThreadPoolExecutor(1) as pool:
            self._pool = pool
            try:
                yield
            finally:
                if self._ahead is not None and self.shard.random is not None:
                    state, drawn = self._ahead
                    drawn.exception()  # waits for it
                    self.shard.random.set_state(state)
                self._pool = self._ahead = None

    def _draw(self) -> Any:
        """What this step draws; starts to draw the next one on a processor that is idle.

        A draw does not read the weights, so steps are the same either way.
        """
        drawn = self.model.draw() if self._ahead is None else self._ahead[1].result()
        self._ahead = None
        if self._pool is not None and self.spare is not None and self.spare.idle:
            state = self.random_state
            if state is not None:
                self._ahead = state, self._pool.submit(self.model.draw)
        return drawn

    @property
    def random_state(self) -> Tensor | None:
        """The state of the random numbers before the next step; None if they are PyTorch's."""
        if self._ahead is not None:
            return self._ahead[0]
        return None if self.shard.random is None else self.shard.random.get_state()

    @property
    def done(self) -> bool:
        """Whether the last step is taken or patience has run out."""
        return self.progress.step >= self.rates.max_steps or self._idle() >= self.rates.patience

    def _idle(self) -> int:
        """Evaluations since the error last fell by `min_improvement` or more."""
        reference, idle = math.inf, 0
        for line in self.progress.history:
            better = line.error < reference * (1 - self.config.min_improvement)
            reference, idle = (line.error, 0) if better else (reference, idle + 1)
        return idle

    def weights(self) -> dict[str, Tensor]:
        """The weights to validate and keep: the running average where there is one, by name."""
        return {name: value.clone() for name, value in (self.model.state_dict() | self.progress.average).items()}

    def _evaluate(self, loss: float, started: float) -> None:
        if self.valid is None:
            return
        progress, weights = self.progress, self.weights()
        live = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(weights)
        measures = self.valid.measures(self.model)
        self.model.load_state_dict(live)
        line = Evaluation(progress.step, loss, seconds=time.monotonic() - started, **measures)
        if not math.isfinite(line.error):
            raise TrainingError(f"step {progress.step}: expected finite predictions, found NaN", _SMALLER_STEPS)
        progress.history.append(line)
        if as_good(line.error, min(other.error for other in progress.history), self.config):
            progress.best, progress.best_step = weights, progress.step

    def _share_gradients(self) -> None:
        """Sum the gradients of all parameters over processes, in one array, except the rows of users."""
        if self.shard.size == 1:
            return
        shared = []
        for name, parameter in self.model.named_parameters():
            if parameter.grad is None:  # Another process may have a gradient.
                parameter.grad = torch.zeros_like(parameter)
            users = self.model.graph.num_users if name in self.model.node_tables else 0
            shared.append(parameter.grad[users:])
        total = self.shard.add(torch.cat([part.reshape(-1) for part in shared]), "gradients")
        for part, values in zip(shared, torch.split(total, [part.numel() for part in shared]), strict=True):
            part.copy_(values.view_as(part))

    def _guard(self, loss: Tensor) -> None:
        grads = (parameter.grad for _, parameter in self.model.named_parameters())
        rows = [grad.flatten() for grad in grads if grad is not None]
        own = torch.stack([torch.dot(row, row) for row in rows]).sum().sqrt()  # faster than PyTorch's norms
        norm = self.shard.add(own, "loss")  # not finite in any process: not finite in all
        step = self.progress.step + 1
        if not torch.isfinite(loss):
            raise TrainingError(f"step {step}: expected a finite loss, found {loss.item()}", _SMALLER_STEPS)
        if not torch.isfinite(norm):
            raise TrainingError(f"step {step}: expected finite gradients, found norm {norm.item()}", _SMALLER_STEPS)

    def _rate(self) -> float:
        # Hyperbolic decay does not depend on the last step, so fits can stop early, and later ones go on from there.
        rate, steps = self.rates.learning_rate, self.rates.decay_steps
        return rate / (1 + (self.before + self.progress.step) / steps) if steps else rate

    @torch.no_grad()
    def _update_average(self) -> None:
        """Polyak averaging with a smaller decay at the start, so that the first steps are forgotten quickly."""
        if not self.config.average:
            return
        weights = self._weights
        if not self.progress.average:
            self.progress.average = {name: value.clone() for name, value in weights.items()}
        steps = self.before + self.progress.step
        decay = min(self.config.average, (1 + steps) / (10 + steps))
        average = [self.progress.average[name] for name in weights]
        torch._foreach_lerp_(average, list(weights.values()), 1 - decay)

    @cached_property
    def _weights(self) -> dict[str, Tensor]:
        """The weights that are averaged by name; they change in place."""
        return {name: value for name, value in self.model.state_dict().items() if value.is_floating_point()}


def as_good(error: float, lowest: float, config: TrainConfig) -> bool:
    """Whether the lowest error is not clearly lower than this one."""
    return error <= lowest * (1 + config.min_improvement)


def history_rows(progress: Progress) -> list[dict[str, float | None]]:
    """The history as rows of `history.csv`; None for measures that do not apply."""
    rows = (asdict(line) for line in progress.history)
    return [{name: None if math.isnan(value) else value for name, value in row.items()} for row in rows]


@contextmanager
def short_waits() -> Iterator[None]:
    """Limit the busy waiting of OpenMP's threads where PyTorch was imported before `machine.set_environment`.

    GNU's library waits briefly in a process with more threads than processors (`gomp_throttled_spin_count_var`), so
    another thread here holds a pool of threads that sleep.
    """
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        torch.ones(1 << 20).sum()  # large enough for all threads
        held.set()
        done.wait()

    if torch.get_num_threads() == 1:
        yield
        return
    threading.Thread(target=hold, daemon=True).start()
    held.wait()
    try:
        yield
    finally:
        done.set()


@contextmanager
def few_threads(num_ratings: int) -> Iterator[bool]:
    """Train with one thread where more would only wait for one another, unless the user has set their number.

    Yields whether another fit may use a second processor.
    """
    before = torch.get_num_threads()
    few = num_ratings < _THREADED and "OMP_NUM_THREADS" not in os.environ
    if few:
        torch.set_num_threads(1)
    try:
        yield few and processors() > 1
    finally:
        torch.set_num_threads(before)


@contextmanager
def beside(stop: threading.Event, threads: bool) -> Iterator[Callable[[Callable[[], Result]], Callable[[], Result]]]:
    """Run jobs one after the other in another thread, or else each when its result is first asked for.

    The function that it yields takes a job and gives a function that waits for its result, or runs the job at once if
    the other thread has not begun it. Ctrl-C or an error in the block sets `stop`, which a job should look at.
    """
    with stop_signal(stop):
        if not threads:
            yield cache
            return
        with ThreadPoolExecutor(1) as pool:

            def submit(job: Callable[[], Result]) -> Callable[[], Result]:
                waiting = pool.submit(job)
                return cache(lambda: job() if waiting.cancel() else waiting.result())

            try:
                yield submit
            except BaseException:
                stop.set()
                raise


@contextmanager
def stop_signal(stop: threading.Event) -> Iterator[None]:
    """Let the first Ctrl-C set a flag that is read between steps; a second one interrupts at once."""

    def remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (signal's signature)
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    try:
        previous = signal.signal(signal.SIGINT, remember)
    except ValueError:  # Signals reach the main thread only.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)

"""The search for settings: changes of one setting race against the best run so far.

The first run is the leader. Each challenger changes one setting of the leader. It is given up if it is behind the
leader's validation curve at a quarter or half of the leader's best step, as in successive halving (Jamieson and
Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016). A challenger that is
significantly better at its end becomes the leader; the leader's run is the fit. The budget is counted in steps, so the
same data and seed give the same choice on every machine.
"""

from dataclasses import dataclass, replace

import numpy as np

from reelgraph.config import BUDGETS, LIMITS, TrainConfig
from reelgraph.errors import StoppedError
from reelgraph.training.loop import Progress
from reelgraph.training.runner import Run, Runner
from reelgraph.training.validation import mean_of

# Share of the leader's best step, and by what share of the leader's error a challenger may be behind there. Wider
# models start slowly: on ML-1M, 64 dimensions are 0.12 % behind 32 at the first rung and 0.17 % ahead at the end.
RUNGS = ((0.25, 0.003), (0.5, 0.0005))
SURE = 1.0  # standard errors by which a challenger must be better
WIDER_L2 = 1.2  # factor on the L2 strength where the dimension is doubled


@dataclass(frozen=True)
class Trial:
    """One run of the search."""

    change: str  # such as "l2 0.00041 -> 0.00027"; "start" for the first run
    valid_error: float  # the best: RMSE in the data's scale, or 1 - nDCG at 10 of the ranking head
    steps: int
    outcome: str  # "kept", "no better", "given up" or "interrupted"


@dataclass(frozen=True)
class Search:
    """The result of a search: the leader's run and all trials in order."""

    run: Run
    trials: list[Trial]
    interrupted: bool


def search(runner: Runner, config: TrainConfig, fixed: frozenset[str] = frozenset()) -> Search:
    """Fit with the settings that validate best, within the budget of `config.tune`; `fixed` ones stay."""
    config = config.model_copy(update=config.rates(len(runner.runs.data.train))._asdict())
    race = _Race(runner, runner.fit("fit", config), fixed)
    for name, factors in runner.runs.moves(config):
        if name not in fixed:
            race.move(name, factors)
    return Search(race.leader, race.trials, race.interrupted)


class _Race:
    """The leader and the budget left for challengers."""

    def __init__(self, runner: Runner, leader: Run, fixed: frozenset[str]) -> None:
        self.runner, self.leader, self.fixed, self.interrupted = runner, leader, fixed, leader.progress.interrupted
        self.trials = [_trial("start", leader, "kept")]
        plain = leader.progress.step + self._refit_steps(leader) if leader.progress.history else 0
        self.budget = runner.runs.budget_share * BUDGETS[leader.config.tune] * _cost(leader.config) * plain

    def move(self, name: str, factors: tuple[float, ...]) -> None:
        """Multiply a setting by the first factor that helps, as often as it helps."""
        for factor in factors:
            if self.challenge(name, factor):
                while self.challenge(name, factor):
                    pass
                return

    def challenge(self, name: str, factor: float) -> bool:
        """Run the leader's settings with one changed; returns whether that run is the new leader."""
        leader, changed = self.leader, _changed(self.leader.config, name, factor, self.fixed)
        affordable = int(self.budget / _cost(changed))
        if self.interrupted or changed == leader.config or affordable < max(leader.progress.best_step, 1):
            return False
        capped = changed.model_copy(update={"max_steps": min(changed.max_steps, affordable)})
        try:
            run = self.runner.fit(f"tune {len(self.trials)}", capped, self._behind)
        except StoppedError:  # The leader is complete and worth keeping.
            self.interrupted = True
            return False
        self.budget -= _cost(changed) * run.progress.step
        self.interrupted = run.progress.interrupted
        if self.interrupted:
            outcome = "interrupted"
        elif self._behind(run.progress):
            outcome = "given up"
        elif not self._better(run):
            outcome = "no better"
        else:
            # The refit may cost more now.
            self.budget -= _cost(changed) * self._refit_steps(run) - _cost(leader.config) * self._refit_steps(leader)
            outcome, self.leader = "kept", replace(run, config=changed)
        change = f"{name} {getattr(leader.config, name):.3g} -> {getattr(changed, name):.3g}"
        self.trials.append(_trial(change, run, outcome))
        return outcome == "kept"

    def _behind(self, progress: Progress) -> bool:
        """Whether a run is behind the leader at one of the rungs; a full search gives nothing up."""
        if self.leader.config.tune == "full":
            return False
        own = {line.step: line.error for line in progress.history}
        theirs = {line.step: line.error for line in self.leader.progress.history}
        for rung, margin in RUNGS:
            reached = [step for step in own if step >= rung * self.leader.progress.best_step and step in theirs]
            if reached and own[min(reached)] > theirs[min(reached)] * (1 + margin):
                return True
        return False

    def _refit_steps(self, run: Run) -> int:
        return run.config.refit_steps(len(self.runner.runs.data.train), run.progress.best_step)

    def _better(self, run: Run) -> bool:
        valid, shard = self.runner.runs.valid, run.model.graph.shard
        assert valid is not None
        gain = valid.errors(self.leader.model) - valid.errors(run.model)
        mean, square = mean_of(run.model, gain), mean_of(run.model, gain**2)
        return bool(mean > SURE * np.sqrt(max(square - mean**2, 0) / shard.total(len(gain))))


def _changed(config: TrainConfig, name: str, factor: float, fixed: frozenset[str]) -> TrainConfig:
    low, high = LIMITS.get(name, (0.0, np.inf))
    value = type(getattr(config, name))(min(max(getattr(config, name) * factor, low), high))
    update = {name: value}
    if name == "dim" and config.l2 is not None and "l2" not in fixed:
        update["l2"] = config.l2 * WIDER_L2 ** np.log2(value / config.dim)
    return config.model_copy(update=update)


def _cost(config: TrainConfig) -> float:
    """The cost of a step relative to 32 dimensions; measured on ML-100K and ML-1M."""
    return 0.4 + 0.6 * config.dim / 32


def _trial(change: str, run: Run, outcome: str) -> Trial:
    best = run.progress.best_evaluation.error if run.progress.history else float("nan")
    return Trial(change, best, run.progress.step, outcome)

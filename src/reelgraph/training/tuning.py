"""The search for settings: one change at a time against the best run so far.

`quick` probes: it continues the fit for a few steps, once with its own settings and once with each change, all with the
same random numbers. The effect of a setting shows long before a run has converged, because all of them start from the
same weights. `full` repeats the whole fit with each change. A run that is significantly better is the new leader; the
leader's run is the fit. Nothing depends on time, so the same data and seed give the same choice on every machine.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from reelgraph.config import LIMITS, PROBE_STEPS, TRIALS, TrainConfig
from reelgraph.errors import StoppedError
from reelgraph.training.runner import Run, Runner
from reelgraph.training.validation import mean_of

SURE = 1.0  # standard errors by which a challenger must be better
WIDER_L2 = 1.2  # factor on the L2 strength where the dimension is doubled


@dataclass(frozen=True)
class Trial:
    """One run of the search."""

    change: str  # such as "l2 0.00041 -> 0.00027"; "start" for the first run, "more steps" for the same settings
    valid_error: float | None  # the best: RMSE in the data's scale, or 1 - nDCG at 10 of the ranking head
    steps: int
    outcome: str  # "kept", "no better" or "interrupted"


@dataclass(frozen=True)
class Search:
    """The result of a search: the leader's run and all trials in order."""

    run: Run
    trials: list[Trial]
    interrupted: bool


def search(runner: Runner, config: TrainConfig, fixed: frozenset[str] = frozenset()) -> Search:
    """Fit with the settings that validate best, among as many as `config.tune` allows; `fixed` ones stay."""
    config = config.model_copy(update=config.rates(len(runner.runs.data.train))._asdict())
    race = _Race(runner, runner.fit("fit", config), fixed)
    quick = config.tune == "quick"
    moves = [(name, factors) for name, factors in runner.runs.moves(config, quick) if name not in fixed]
    if moves and quick:
        race.probe()
    for name, factors in moves:
        race.move(name, factors)
    return Search(race.leader, race.trials, race.interrupted)


class _Race:
    """The leader, and the run that probes continue."""

    def __init__(self, runner: Runner, leader: Run, fixed: frozenset[str]) -> None:
        self.runner, self.leader, self.fixed, self.interrupted = runner, leader, fixed, leader.progress.interrupted
        self.trials = [_trial("start", leader, "kept")]
        self.start: Run | None = None

    def probe(self) -> None:
        """Continue the fit with its own settings, and let changes continue it, too."""
        if self.leader.progress.history:
            self.start = self.leader
            self._run(self.leader.config, "more steps")

    def move(self, name: str, factors: tuple[float, ...]) -> None:
        """Multiply a setting by the first factor that helps, as often as it helps."""
        for factor in factors:
            if self.challenge(name, factor):
                while self.challenge(name, factor):
                    pass
                return

    def challenge(self, name: str, factor: float) -> bool:
        """Run the leader's settings with one changed; returns whether that run is the new leader."""
        old, changed = self.leader.config, _changed(self.leader.config, name, factor, self.fixed)
        return changed != old and self._run(changed, f"{name} {getattr(old, name):.3g} -> {getattr(changed, name):.3g}")

    def _run(self, config: TrainConfig, change: str) -> bool:
        if self.interrupted or not self.leader.progress.history or len(self.trials) > TRIALS[config.tune]:
            return False
        phase = f"tune {len(self.trials)}"
        try:
            steps = config.max_steps if self.start is None else PROBE_STEPS
            run = self.runner.fit(phase, config.model_copy(update={"max_steps": steps}), self.start)
        except StoppedError:  # The leader is complete and worth keeping.
            self.interrupted = True
            return False
        self.interrupted = run.progress.interrupted
        if self.interrupted:
            outcome = "interrupted"
        elif self._better(run, 0 if config == self.leader.config else SURE):
            outcome, self.leader = "kept", replace(run, config=config)
        else:
            outcome = "no better"
        self.trials.append(_trial(change, run, outcome))
        return outcome == "kept"

    def _better(self, run: Run, sure: float) -> bool:
        """Whether the validation error is lower than the leader's by more than `sure` standard errors."""
        valid, shard = self.runner.runs.valid, run.model.graph.shard
        assert valid is not None
        gain = valid.errors(self.leader.model) - valid.errors(run.model)
        mean, square = mean_of(run.model, gain), mean_of(run.model, gain**2)
        return bool(mean > sure * np.sqrt(max(square - mean**2, 0) / shard.total(len(gain))))


def _changed(config: TrainConfig, name: str, factor: float, fixed: frozenset[str]) -> TrainConfig:
    low, high = LIMITS.get(name, (0.0, np.inf))
    value = type(getattr(config, name))(min(max(getattr(config, name) * factor, low), high))
    update = {name: value}
    if name == "dim" and config.l2 is not None and "l2" not in fixed:
        update["l2"] = config.l2 * WIDER_L2 ** np.log2(value / config.dim)
    return config.model_copy(update=update)


def _trial(change: str, run: Run, outcome: str) -> Trial:
    best = run.progress.best_evaluation.error if run.progress.history else math.nan
    return Trial(change, best if math.isfinite(best) else None, run.progress.step, outcome)

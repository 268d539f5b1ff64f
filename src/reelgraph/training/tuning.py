"""The search for settings: one change at a time against the best run so far.

`quick` compares runs of a few steps from the start, all with the same random numbers, and the fit goes on from the best
of them; it leaves large data to the rules. `full` repeats the whole fit with each change, and the best of these is the
fit. A run must be significantly better to be the new leader. Nothing depends on time, so the same data and seed give
the same choice on every machine.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from reelgraph.config import LIMITS, RACE_RATINGS, RACE_STEPS, TRIALS, TrainConfig
from reelgraph.errors import StoppedError
from reelgraph.training.loop import as_good
from reelgraph.training.runner import Run, Runner
from reelgraph.training.validation import mean_of

SURE = 1.0  # standard errors by which a challenger must be better
WIDER_L2 = 1.2  # factor on the L2 strength where the dimension is doubled


@dataclass(frozen=True)
class Trial:
    """One run of the search."""

    change: str  # such as "l2 0.00041 -> 0.00027"; "start" for the first run
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
    num_ratings = len(runner.runs.data.train)
    rates = config.rates(num_ratings)
    config = config.model_copy(update=rates._asdict())
    quick = config.tune == "quick"
    moves = [(name, factors) for name, factors in runner.runs.moves(config, quick) if name not in fixed]
    if quick and num_ratings >= RACE_RATINGS:
        moves = []
    short = quick and bool(moves) and runner.runs.valid is not None and rates.max_steps > RACE_STEPS
    race = _Race(runner, config, fixed, RACE_STEPS if short else rates.max_steps)
    for name, factors in moves:
        race.move(name, factors)
    if short:
        race.finish(rates.max_steps)
    return Search(race.leader, race.trials, race.interrupted)


class _Race:
    """The leader of runs that take at most `steps` each."""

    def __init__(self, runner: Runner, config: TrainConfig, fixed: frozenset[str], steps: int) -> None:
        self.runner, self.fixed, self.steps = runner, fixed, steps
        self.leader = self._fit("fit" if steps == config.max_steps else "tune 0", config, steps)
        self.interrupted = self.leader.progress.interrupted
        self.trials = [_trial("start", self.leader, "kept")]

    def finish(self, most: int) -> None:
        """Go on from the leader until patience runs out or `most` steps are taken, where neither has happened."""
        first = self.leader
        if self.interrupted or first.progress.step < self.steps:
            return
        try:
            run = self._fit("fit", first.config, most - first.steps, first)
        except StoppedError:  # The leader is complete and worth keeping.
            self.interrupted = True
            return
        self.interrupted = run.progress.interrupted
        if as_good(run.progress.best_evaluation.error, first.progress.best_evaluation.error, first.config):
            self.leader = run

    def _fit(self, phase: str, config: TrainConfig, steps: int, start: Run | None = None) -> Run:
        run = self.runner.fit(phase, config.model_copy(update={"max_steps": steps}), start)
        return replace(run, config=config)

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
        try:
            run = self._fit(f"tune {len(self.trials)}", config, self.steps)
        except StoppedError:
            self.interrupted = True
            return False
        self.interrupted = run.progress.interrupted
        if self.interrupted:
            outcome = "interrupted"
        elif self._better(run):
            outcome, self.leader = "kept", run
        else:
            outcome = "no better"
        self.trials.append(_trial(change, run, outcome))
        return outcome == "kept"

    def _better(self, run: Run) -> bool:
        """Whether the validation error is lower than the leader's by more than `SURE` standard errors."""
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


def _trial(change: str, run: Run, outcome: str) -> Trial:
    best = run.progress.best_evaluation.error if run.progress.history else math.nan
    return Trial(change, best if math.isfinite(best) else None, run.progress.step, outcome)

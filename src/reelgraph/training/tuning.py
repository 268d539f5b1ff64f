"""The search for settings: one change at a time against the best run so far.

`quick` compares runs of a few steps from the start, all with the same random numbers, and the fit goes on from the best
of them; it leaves large data to the rules. Its first challengers may run in another thread beside the start. `full`
repeats the whole fit with each change, and the best of these is the fit. A run must be significantly better to be the
new leader. Nothing depends on time, so the same data and seed give the same choice on every machine.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from reelgraph.config import LIMITS, RACE_RATINGS, RACE_STEPS, TRIALS, TrainConfig
from reelgraph.errors import StoppedError
from reelgraph.training.runner import Run, Runner
from reelgraph.training.runs import Moves
from reelgraph.training.validation import mean_of

SURE = 1.0  # standard errors by which a challenger must be better
WIDER_L2 = 1.2  # factor on the L2 strength where the dimension is doubled
Challengers = dict[tuple[str, float], Callable[[], Run]]  # by setting and factor; each waits for its run


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


def search(
    runner: Runner, config: TrainConfig, fixed: frozenset[str] = frozenset(), ahead: Challengers | None = None
) -> Search:
    """Fit with the settings that validate best, among as many as `config.tune` allows; `fixed` ones stay."""
    plan = _plan(runner, config, fixed)
    race = _Race(runner, plan, ahead or {})
    for name, factors in plan.moves:
        race.move(name, factors)
    if plan.short:
        race.finish(plan.most)
    return Search(race.leader, race.trials, race.interrupted)


def challenge_ahead(
    runner: Runner, config: TrainConfig, fixed: frozenset[str], submit: Callable[[Callable[[], Run]], Callable[[], Run]]
) -> Challengers:
    """Hand the first challengers of a quick search over to `submit`; each by its setting and factor."""
    plan = _plan(runner, config, fixed)
    if not plan.short:
        return {}
    own = replace(runner)  # with a graph of its own, whose random numbers no other thread draws
    changes = [(name, factor) for name, factors in plan.moves for factor in factors]
    fits = [
        partial(_fit, own, f"tune {number}", _changed(plan.config, *change, fixed), plan.steps)
        for number, change in enumerate(changes, 1)
    ]
    return dict(zip(changes, map(submit, fits), strict=True))


@dataclass(frozen=True)
class _Plan:
    """What a search does."""

    config: TrainConfig  # with all settings that depend on the number of ratings
    fixed: frozenset[str]
    moves: Moves
    steps: int  # of each run, at most
    most: int  # of the whole fit

    @property
    def short(self) -> bool:
        """Whether the runs are shorter than the fit."""
        return self.steps < self.most


def _plan(runner: Runner, config: TrainConfig, fixed: frozenset[str]) -> _Plan:
    num_ratings = len(runner.runs.data.train)
    rates = config.rates(num_ratings)
    config = config.model_copy(update=rates._asdict())
    quick = config.tune == "quick"
    moves = tuple((name, factors) for name, factors in runner.runs.moves(config, quick) if name not in fixed)
    if quick and num_ratings >= RACE_RATINGS:
        moves = ()
    short = quick and bool(moves) and runner.runs.valid is not None
    return _Plan(config, fixed, moves, min(RACE_STEPS, rates.max_steps) if short else rates.max_steps, rates.max_steps)


def _fit(runner: Runner, phase: str, config: TrainConfig, steps: int, start: Run | None = None) -> Run:
    run = runner.fit(phase, config.model_copy(update={"max_steps": steps}), start)
    return replace(run, config=config)


class _Race:
    """The leader of runs that take at most `steps` each; the first challengers may be running already."""

    def __init__(self, runner: Runner, plan: _Plan, ahead: Challengers) -> None:
        self.runner, self.fixed, self.steps, self.ahead = runner, plan.fixed, plan.steps, ahead
        self.fits = len(ahead)  # beside the first one
        self.leader = _fit(runner, "tune 0" if plan.short else "fit", plan.config, plan.steps)
        self.interrupted = self.leader.progress.interrupted
        self.trials = [_trial("start", self.leader, "kept")]

    def finish(self, most: int) -> None:
        """Go on from the leader until patience runs out or `most` steps are taken, where neither has happened."""
        first = self.leader
        if self.interrupted or first.progress.step < self.steps:
            return
        try:
            run = _fit(self.runner, "fit", first.config, most - first.steps, first)
        except StoppedError:  # The leader is complete and worth keeping.
            self.interrupted = True
            return
        self.interrupted = run.progress.interrupted
        if run.progress.best_evaluation.error < first.progress.best_evaluation.error:
            self.leader = run

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
        if changed == old:
            return False
        change = f"{name} {getattr(old, name):.3g} -> {getattr(changed, name):.3g}"
        first = all(trial.outcome != "kept" for trial in self.trials[1:])  # The leader is still the start.
        return self._run(changed, change, self.ahead.get((name, factor)) if first else None)

    def _run(self, config: TrainConfig, change: str, ahead: Callable[[], Run] | None) -> bool:
        if self.interrupted or not self.leader.progress.history or len(self.trials) > TRIALS[config.tune]:
            return False
        if ahead is None:
            self.fits += 1
        try:
            run = _fit(self.runner, f"tune {self.fits}", config, self.steps) if ahead is None else ahead()
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

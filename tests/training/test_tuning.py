"""The search for settings: its length, its choices, and interruption."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelgraph.config import RACE_STEPS, TRIALS, TrainConfig, l2_rule
from reelgraph.data.dataset import Dataset
from reelgraph.training.fit import fit
from reelgraph.training.loop import Progress
from reelgraph.training.runner import Checkpoints, Runner
from reelgraph.training.runs import RatingRuns
from reelgraph.training.tuning import Search, search
from tests.support.worlds import checkerboard, dataset, interactions, settings


def tastes(seed: int = 0) -> Dataset:
    """80 users with three tastes and noise, on which a far too strong L2 hurts."""
    rng = np.random.default_rng(seed)
    user, item = rng.normal(0, 1, (80, 3)), rng.normal(0, 1, (50, 3))
    cells = [(u, i) for u in range(80) for i in range(50) if rng.random() < 0.5]
    stars = [float(np.clip(3 + user[u] @ item[i] * 0.6 + rng.normal(0, 0.3), 1, 5)) for u, i in cells]
    part = rng.random(len(cells))
    splits = []
    for low, high in ((0.3, 1.0), (0.1, 0.3), (0.0, 0.1)):
        rows = [(u, i, r) for (u, i), r, p in zip(cells, stars, part, strict=True) if low <= p < high]
        splits.append(interactions(*(list(column) for column in zip(*rows, strict=True))))
    return dataset(splits[0], splits[1], splits[2], 80, 50)


def quick(**changes: Any) -> TrainConfig:
    base: dict[str, Any] = {
        "max_steps": 80, "eval_every": 4, "patience": 5, "decay_steps": 100.0, "average": 0.9, "min_improvement": 0.0,
    }  # fmt: skip
    return TrainConfig.model_validate(base | {"checkpoint_seconds": 0.0} | changes)


def steps_of(config: TrainConfig, data: Dataset) -> tuple[Any, int]:
    seen: dict[str, int] = {}

    def observe(phase: str, progress: Progress, config: TrainConfig) -> None:
        seen[phase] = progress.step

    result = search(Runner(RatingRuns(data), observe), config)
    return result, sum(seen.values())


@pytest.fixture(scope="module")
def searched() -> Search:
    """The result of a quick search that nothing interrupted."""
    return search(Runner(RatingRuns(tastes()), lambda *_: None), quick())


@pytest.mark.parametrize("tune", TRIALS)
def test_the_search_makes_a_limited_number_of_trials(tune: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRIALS, "full", 4)
    result, _ = steps_of(quick(tune=tune), tastes())
    assert result.trials[0].change == "start"
    assert len(result.trials) - 1 <= TRIALS[tune]
    assert (len(result.trials) > 1) == (tune != "none")


def test_a_quick_search_compares_short_runs_and_goes_on_from_the_best() -> None:
    taken: dict[str, list[int]] = {}

    def observe(phase: str, progress: Progress, config: TrainConfig) -> None:
        taken.setdefault(phase, []).append(progress.step)

    result = search(Runner(RatingRuns(tastes()), observe), quick(max_steps=200, patience=40))
    start, *changes = result.trials
    assert changes
    assert all(trial.change.startswith("l2 ") for trial in changes)
    for number in range(len(result.trials)):
        assert taken[f"tune {number}"] == list(range(1, RACE_STEPS + 1))
    leader = [trial for trial in result.trials if trial.outcome == "kept"][-1]
    history = result.run.history
    early = [row for row in history if row["step"] <= result.run.before]
    assert min(row["valid_rmse"] for row in early) == leader.valid_error
    assert [row["step"] for row in history] == list(range(4, history[-1]["step"] + 1, 4))
    best = min(history, key=lambda row: row["valid_rmse"])
    assert best["step"] == result.run.steps
    assert best["valid_rmse"] < leader.valid_error
    assert start.steps == RACE_STEPS


@pytest.mark.parametrize("tune", ["quick", "full"])
def test_the_search_leaves_a_bad_start(monkeypatch: pytest.MonkeyPatch, tune: str) -> None:
    data = tastes()
    monkeypatch.setattr("reelgraph.config.l2_rule", lambda number: 8 * l2_rule(number))
    result, _ = steps_of(quick(tune=tune), data)
    start, kept = result.trials[0], [trial for trial in result.trials if trial.outcome == "kept"]
    assert result.run.config.l2 < 0.8 * quick().rates(len(data.train)).l2, [trial.change for trial in result.trials]
    assert kept[-1].valid_error < start.valid_error
    best = result.run.progress.best_evaluation.valid_rmse
    assert best <= kept[-1].valid_error, "the leader's run, or one that continues it, is the result"


def test_a_quick_search_leaves_large_data_to_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    data, config = tastes(), quick(tune="quick")
    monkeypatch.setattr("reelgraph.training.tuning.RACE_RATINGS", len(data.train))
    result, steps = steps_of(config, data)
    _, alone = steps_of(config.model_copy(update={"tune": "none"}), data)
    assert [trial.change for trial in result.trials] == ["start"]
    assert steps == alone


def test_settings_of_the_user_are_not_changed() -> None:
    config = quick(tune="full", dim=6, l2=0.001, hide=0.3, max_steps=8)
    model = fit(tastes(), config)
    changed = {trial["change"].split()[0] for trial in model.artifact.manifest["tuning"]}
    assert changed == {"start", "huber_delta"}
    final = model.artifact.manifest["config"]
    assert (final["dim"], final["l2"], final["hide"]) == (6, 0.001, 0.3)


def test_the_refit_uses_the_l2_rule_for_its_number_of_ratings() -> None:
    data = tastes()
    final = fit(data, quick(tune="none")).artifact.manifest["config"]["l2"]
    assert final == pytest.approx(quick().rates(len(data.train) + len(data.valid)).l2)


def test_side_features_are_tuned_only_where_there_are_some() -> None:
    trials = search(Runner(RatingRuns(tastes()), lambda *_: None), quick(tune="full", max_steps=8)).trials
    names = {trial.change.split()[0] for trial in trials}
    assert "side_l2" not in names
    assert {"l2", "dim", "hide"} <= names


def test_without_validation_ratings_nothing_is_searched() -> None:
    data = checkerboard()
    nothing = interactions([], [], [])
    model = fit(dataset(data.train, nothing, data.test, 40, 30), settings(tune="full"))
    assert [trial["change"] for trial in model.artifact.manifest["tuning"]] == ["start"]
    assert model.artifact.manifest["intervals"] == {}


def test_the_same_seed_makes_the_same_choices(searched: Search) -> None:
    result, second = searched, search(Runner(RatingRuns(tastes()), lambda *_: None), quick())
    assert result.trials == second.trials
    assert result.run.config == second.run.config


def test_an_interrupted_search_resumes_to_the_same_result(searched: Search, tmp_path: Path) -> None:
    class Cut(Exception):  # noqa: N818
        pass

    def cut(phase: str, progress: Progress, config: TrainConfig) -> None:
        if phase == "tune 2" and progress.step == 6:
            raise Cut

    with pytest.raises(Cut):
        search(Runner(RatingRuns(tastes()), cut, Checkpoints(tmp_path / "c")), quick())
    done: dict[str, int] = {}

    def count(phase: str, progress: Progress, config: TrainConfig) -> None:
        done[phase] = done.get(phase, 0) + 1

    again = search(Runner(RatingRuns(tastes()), count, Checkpoints(tmp_path / "c", resume=True)), quick())
    assert again.trials == searched.trials
    assert "tune 0" not in done, "a finished phase is not repeated"
    assert "tune 1" not in done


@pytest.mark.parametrize("at", [("tune 1", 1), ("tune 2", 5), ("fit", 9)])
def test_an_interrupt_keeps_the_leader(at: tuple[str, int]) -> None:
    def observe(phase: str, progress: Progress, config: TrainConfig) -> None:
        if (phase, progress.step) == at:
            signal.raise_signal(signal.SIGINT)

    model = fit(tastes(), quick(), observe=observe)
    manifest = model.artifact.manifest
    assert manifest["interrupted"]
    assert not manifest["refitted"]
    assert np.isfinite(manifest["metrics"]["test"]["model"]["rmse"])

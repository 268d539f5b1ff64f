"""Training as a whole: fit, refit, rating scales, side features and test errors."""

import math
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reelgraph.config import DataConfig, Rates, TrainConfig
from reelgraph.data import sources
from reelgraph.data.dataset import Interactions, merge
from reelgraph.data.load import load
from reelgraph.data.prepare.prepare import prepare
from reelgraph.errors import ConfigError
from reelgraph.metrics.baselines import baselines
from reelgraph.training.fit import fit
from reelgraph.training.loop import Progress
from reelgraph.training.runner import Runner
from reelgraph.training.runs import RatingRuns
from tests.support.worlds import checkerboard, dataset, interactions, noisy, settings, write_files


def test_refit_uses_validation_ratings_and_test_ratings_change_nothing() -> None:
    data = checkerboard()
    model = fit(data, settings()).artifact
    assert model.seen.num_rows == len(data.train) + len(data.valid)
    assert model.manifest["steps"] <= 24
    lied = replace(data, test=replace(data.test, rating=6 - data.test.rating))
    other = fit(lied, settings()).artifact
    assert all(model.weights[name].tobytes() == other.weights[name].tobytes() for name in model.weights)
    assert model.manifest["metrics"]["test"] != other.manifest["metrics"]["test"]
    alone = fit(data, settings(refit=False)).artifact
    assert alone.seen.num_rows == len(data.train)
    assert not alone.manifest["refitted"]


def test_few_ratings_are_fitted_with_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    seen: set[int] = set()
    torch.set_num_threads(2)
    try:
        for variables, expected in (({}, 1), ({"OMP_NUM_THREADS": "2"}, 2)):
            monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            seen.clear()
            model = fit(checkerboard(), settings(), observe=lambda *_: seen.add(torch.get_num_threads()))
            assert seen == {expected}
            assert model.artifact.manifest["machine"]["threads"] == expected
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def on_processors(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("reelgraph.training.loop.processors", lambda: number)


def test_the_ranking_head_is_fitted_beside_the_rating_model_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = []
    for number in (1, 2):
        on_processors(number, monkeypatch)
        threads: dict[str, int] = {}

        def note(phase: str, progress: Progress, config: TrainConfig, threads: dict[str, int] = threads) -> None:
            threads[phase] = threading.get_ident()

        artifact = fit(checkerboard(), settings(ranking=True, tune="quick"), observe=note).artifact
        results.append(artifact)
        here = threading.get_ident()
        assert {phase for phase, thread in threads.items() if thread != here} == (
            {"rank fit", "rank refit"} if number > 1 else set()
        )
    alone, beside = results
    assert alone.weights.keys() == beside.weights.keys()
    assert all(alone.weights[name].tobytes() == beside.weights[name].tobytes() for name in alone.weights)
    assert alone.manifest["metrics"] == beside.manifest["metrics"]


@pytest.mark.parametrize("phase", ["fit", "rank fit", "refit", "rank refit"])
def test_ctrl_c_in_either_thread_keeps_a_model(phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_processors(2, monkeypatch)
    steps: dict[str, int] = {}

    def press(name: str, progress: Progress, _: TrainConfig) -> None:
        steps[name] = progress.step
        if name == phase and progress.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    # The rating model has a first evaluation when the ranking head is interrupted.
    manifest = fit(checkerboard(), settings(ranking=True, eval_every=1, patience=24), observe=press).artifact.manifest
    assert manifest["interrupted"]
    assert not manifest["refitted"]
    assert math.isfinite(manifest["metrics"]["test"]["model"]["rmse"])
    assert steps[phase] < 24


def test_an_error_in_one_fit_ends_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    on_processors(2, monkeypatch)
    last: dict[str, int] = {}

    def fail(phase: str, progress: Progress, _: TrainConfig) -> None:
        last[phase] = progress.step
        if phase == "fit" and progress.step == 2:
            raise KeyError("observer")

    with pytest.raises(KeyError, match="observer"):
        fit(checkerboard(), settings(ranking=True, rank_max_steps=100_000, patience=100_000), observe=fail)
    assert threading.active_count() == 1 or last.get("rank fit", 0) < 100_000


def without(part: Interactions, other: Interactions) -> Interactions:
    """The ratings of pairs that `other` does not have."""
    there = set(zip(other.user_index.tolist(), other.item_index.tolist(), strict=True))
    rows = zip(part.user_index.tolist(), part.item_index.tolist(), part.rating.tolist(), strict=True)
    left = [row for row in rows if row[:2] not in there]
    return interactions(*(list(column) for column in zip(*left, strict=True)))


def test_refit_takes_the_steps_of_the_best_evaluation() -> None:
    steps: dict[str, int] = {}

    def count(phase: str, progress: Progress, _: TrainConfig) -> None:
        steps[phase] = progress.step

    # The ratings are random, so fitting them increases the validation error and the best step is an early one.
    nothing = interactions([], [], [])
    train, valid = noisy(seed=1, share=0.5), noisy(seed=2, share=0.4)
    valid = without(valid, train)
    data = dataset(train, valid, nothing, 30, 25)
    config = settings(learning_rate=0.1, max_steps=60, l2=0.0, min_improvement=0.0)
    artifact = fit(data, config, observe=count).artifact
    best = min(artifact.history, key=lambda row: row["valid_rmse"])["step"]
    assert best < steps["fit"]
    assert artifact.manifest["steps"] == best
    assert steps["refit"] == best


@pytest.mark.parametrize("model", ["residual", "gcn"])
def test_a_refit_starts_from_the_weights_of_the_fit(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    data, config, steps = checkerboard(), settings(model=model, average=0.0), dict[str, int]()

    def count(phase: str, progress: Progress, _: TrainConfig) -> None:
        steps[phase] = progress.step

    runner = Runner(RatingRuns(data), count)
    run = runner.fit("fit", config)
    best = run.progress.best_step
    again = runner.refit(run, rescale=False)
    assert steps["refit"] == {"residual": best, "gcn": math.ceil(best / 2)}[model]
    assert again.config == config
    assert len(again.train) == len(data.train) + len(data.valid)
    # Without a step between them, the two differ by what rounding does.
    monkeypatch.setattr(TrainConfig, "rates", lambda *_: Rates(0.0, 1e-12, 0.0, 3, 1, 4))
    still = runner.refit(run, rescale=False)
    for old, new in zip(run.model.parameters(), still.model.parameters(), strict=True):
        torch.testing.assert_close(new, old, atol=1e-6, rtol=0)


def test_validation_errors_are_those_of_the_first_fit() -> None:
    data = checkerboard()
    artifact = fit(data, settings()).artifact
    best = min(row["valid_rmse"] for row in artifact.history)
    assert artifact.manifest["metrics"]["valid"]["model"]["rmse"] == pytest.approx(best)


@pytest.mark.parametrize("model", ["residual", "gcn"])
def test_without_validation_and_test_ratings_all_steps_are_taken(tables: Path, model: str) -> None:
    data = load(tables / "ratings.csv", valid_share=0, test_share=0)
    assert (len(data.valid), len(data.test)) == (0, 0)
    artifact = fit(data, settings(model=model)).artifact
    assert (artifact.manifest["steps"], artifact.manifest["metrics"], artifact.history) == (24, {}, [])
    assert artifact.seen.num_rows == len(data.train)
    assert not artifact.manifest["refitted"]


@pytest.mark.parametrize("model", ["residual", "gcn"])
def test_a_file_of_four_ratings_makes_a_model(tmp_path: Path, model: str) -> None:
    (tmp_path / "four.csv").write_text("userId,movieId,rating\na,x,5\na,y,1\nb,x,2\nb,y,4\n")
    fitted = fit(load(tmp_path / "four.csv"), settings(model=model))
    prediction = fitted.predict([(user, movie) for user in "abc" for movie in "xyz"])
    assert np.isfinite(prediction).all()
    assert prediction.min() >= 1
    assert prediction.max() <= 5


def test_ctrl_c_in_the_refit_keeps_the_model_of_the_first_fit() -> None:
    def press(phase: str, progress: Progress, _: TrainConfig) -> None:
        if phase == "refit" and progress.step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    data = checkerboard()
    stopped = fit(data, settings(), observe=press).artifact
    alone = fit(data, settings(refit=False)).artifact
    assert stopped.manifest["interrupted"]
    assert not stopped.manifest["refitted"]
    assert stopped.seen.num_rows == len(data.train)
    assert all(alone.weights[name].tobytes() == stopped.weights[name].tobytes() for name in alone.weights)


def test_errors_of_baselines_are_those_of_their_clipped_predictions() -> None:
    # Some people like everything and everyone likes some movies: the biases of both add up to more than 5 stars.
    split = np.random.default_rng(0).choice(3, (40, 40), p=(0.8, 0.1, 0.1))
    parts = [np.argwhere(split == part).tolist() for part in range(3)]
    train, valid, test = (
        interactions([u for u, _ in cells], [i for _, i in cells], [5 if u < 10 or i < 10 else 1 for u, i in cells])
        for cells in parts
    )
    data = dataset(train, valid, test, 40, 40)
    assert baselines(train, 40, 40)[-1].predict(valid).max() > 5
    metrics = fit(data, settings()).artifact.manifest["metrics"]
    for part, train, pairs in (
        ("valid", data.train, data.valid),
        ("test", merge(data.train, data.valid), data.test),
    ):
        for line in baselines(train, len(data.users), len(data.items)):
            error = np.clip(line.predict(pairs), 1, 5) - pairs.rating
            assert metrics[part][line.name]["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
            assert metrics[part][line.name]["mae"] == pytest.approx(np.mean(np.abs(error)))


@pytest.mark.parametrize(("low", "high"), [(0.5, 5.0), (1.0, 10.0), (1.0, 100.0)])
def test_other_scales_train_and_stay_in_their_range(tmp_path: Path, low: float, high: float) -> None:
    folder = write_files(tmp_path)
    lines = (folder / "ratings.csv").read_text().splitlines()
    with (folder / "ratings.csv").open("w") as file:
        file.write(lines[0] + "\n")
        for line in lines[1:]:
            user, movie, stars, time = line.split(",")
            file.write(f"{user},{movie},{low + (float(stars) - 1) / 4 * (high - low):g},{time}\n")
    data = load(folder)
    assert data.scale == (low, high)
    model = fit(data, settings(max_steps=100))
    errors = model.artifact.manifest["metrics"]["test"]
    assert errors["model"]["rmse"] < 0.95 * errors["bias"]["rmse"], "tastes by genre are more than biases"
    prediction = model.predict([(user, movie) for user in range(1, 20) for movie in range(10, 200, 10)])
    assert prediction.min() >= low
    assert prediction.max() <= high
    assert np.ptp(prediction) > 0.3 * (high - low)


def test_side_features_reach_the_model(tmp_path: Path) -> None:
    folder = write_files(tmp_path)
    data = load(folder / "ratings.csv", items=folder / "movies.csv")
    with_side, without = fit(data, settings()).artifact, fit(data, settings(side_features=False)).artifact
    assert np.abs(with_side.weights["item.side"]).max() > 0
    assert np.abs(with_side.weights["user.side"]).max() == 0, "no user table was given in this call"
    assert np.abs(without.weights["item.side"]).max() == 0


def test_a_prepared_directory_takes_no_other_tables(tmp_path: Path) -> None:
    folder = write_files(tmp_path)
    prepared = prepare(sources.find(folder), DataConfig(), tmp_path / "p", lambda line: None)
    first, second = load(prepared), load(folder)
    assert first.manifest["split"] == second.manifest["split"]
    with pytest.raises(ConfigError, match="prepared directory"):
        load(prepared, items=folder / "movies.csv")

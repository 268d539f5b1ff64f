"""A fit as a whole: checkpoints, refit, and what it may not see."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import checkerboard, write_files

from reelgraph.artifact import Artifact
from reelgraph.config import TrainConfig
from reelgraph.errors import ArtifactError, ConfigError, OutputError
from reelgraph.pipeline import Checkpoints, fit, load
from reelgraph.training import Progress


def settings(**changes: Any) -> TrainConfig:
    base = {"max_steps": 24, "eval_every": 4, "patience": 3, "checkpoint_seconds": 0.0, "dim": 4}
    return TrainConfig.model_validate(base | changes)


def same(one: Artifact, other: Artifact) -> bool:
    def lines(artifact: Artifact) -> list[dict[str, Any]]:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in artifact.history]

    return (
        one.weights.keys() == other.weights.keys()
        and all(one.weights[name].tobytes() == other.weights[name].tobytes() for name in one.weights)
        and lines(one) == lines(other)
        and one.manifest["metrics"] == other.manifest["metrics"]
    )


@pytest.mark.parametrize("model", ["residual", "gcn"])
@pytest.mark.parametrize(("phase", "step"), [("fit", 5), ("fit", 10), ("refit", 2)])
def test_an_interrupted_fit_resumes_to_the_same_result(tmp_path: Path, model: str, phase: str, step: int) -> None:
    config, data = settings(model=model, patience=20), checkerboard()
    whole = fit(data, config).artifact
    folder = tmp_path / "m.checkpoint"

    def press(now: str, progress: Progress, _: TrainConfig) -> None:
        if now == phase and progress.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    stopped = fit(data, config, observe=press, checkpoints=Checkpoints(folder)).artifact
    assert stopped.manifest["interrupted"]
    assert not same(stopped, whole)
    assert (folder / f"{phase}.safetensors").is_file()
    resumed = fit(data, config, checkpoints=Checkpoints(folder, resume=True)).artifact
    assert same(resumed, whole)
    assert not resumed.manifest["interrupted"]
    assert not folder.exists(), "a whole fit needs no checkpoint any more"


def leave_a_checkpoint(tmp_path: Path) -> Path:
    def press(phase: str, progress: Progress, _: TrainConfig) -> None:
        if progress.step == 9:
            os.kill(os.getpid(), signal.SIGINT)

    fit(checkerboard(), settings(), observe=press, checkpoints=Checkpoints(tmp_path / "c"))
    return tmp_path / "c"


def test_a_checkpoint_of_other_settings_or_data_is_refused(tmp_path: Path) -> None:
    folder = leave_a_checkpoint(tmp_path)
    with pytest.raises(ArtifactError, match="expected the same settings"):
        fit(checkerboard(), settings(seed=5), checkpoints=Checkpoints(folder, resume=True))
    data = checkerboard()
    other = data.manifest | {"split": data.manifest["split"] | {"fingerprints": {"train": "x"}}}
    with pytest.raises(ArtifactError, match="expected the same data"):
        fit(replace(data, manifest=other), settings(), checkpoints=Checkpoints(folder, resume=True))


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    file = leave_a_checkpoint(tmp_path) / "fit.safetensors"
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"nonsense"):
        file.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="expected a checkpoint, found a damaged file"):
            fit(checkerboard(), settings(), checkpoints=Checkpoints(file.parent, resume=True))


def test_without_resume_an_old_checkpoint_plays_no_part(tmp_path: Path) -> None:
    folder = leave_a_checkpoint(tmp_path)
    assert same(
        fit(checkerboard(), settings(), checkpoints=Checkpoints(folder)).artifact,
        fit(checkerboard(), settings()).artifact,
    )


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        fit(checkerboard(), settings(), checkpoints=Checkpoints(tmp_path / "c"))
    assert list(tmp_path.iterdir()) == []


def test_refit_learns_from_validation_too_and_test_ratings_change_nothing() -> None:
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


def test_validation_errors_are_those_of_the_first_fit() -> None:
    data = checkerboard()
    artifact = fit(data, settings()).artifact
    best = min(row["valid_rmse"] for row in artifact.history)
    assert artifact.manifest["metrics"]["valid"]["model"]["rmse"] == pytest.approx(best)


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
    from reelgraph.config import DataConfig  # noqa: PLC0415
    from reelgraph.data import sources  # noqa: PLC0415
    from reelgraph.data.prepare import prepare  # noqa: PLC0415

    folder = write_files(tmp_path)
    prepared = prepare(sources.find(folder), DataConfig(), tmp_path / "p", lambda line: None)
    one, two = load(prepared), load(folder)
    assert one.manifest["split"] == two.manifest["split"]
    shutil.rmtree(tmp_path / "p" / "users.parquet", ignore_errors=True)
    with pytest.raises(ConfigError, match="prepared directory"):
        load(prepared, items=folder / "movies.csv")

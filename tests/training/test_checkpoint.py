"""Resumed fits end with the same weights, and checkpoints that do not fit are refused."""

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from reelgraph.artifact import Artifact
from reelgraph.config import TrainConfig
from reelgraph.data.dataset import Dataset
from reelgraph.errors import ArtifactError, OutputError, TrainingError
from reelgraph.training.fit import fit
from reelgraph.training.loop import Progress
from reelgraph.training.runner import Checkpoints
from tests.support.worlds import checkerboard, interactions, settings

MODELS = ("residual", "gcn")
STEPS = 10
Observe = Callable[[str, Progress, TrainConfig], None]


def result(artifact: Artifact) -> tuple[dict[str, bytes], list[dict[str, Any]], Any, Any]:
    """Everything in a model that does not depend on the time."""
    history = [{key: value for key, value in row.items() if key != "seconds"} for row in artifact.history]
    weights = {name: array.tobytes() for name, array in artifact.weights.items()}
    return weights, history, artifact.manifest["metrics"], artifact.manifest["steps"]


def ctrl_c(phase: str, *steps: int) -> Observe:
    """An observer that sends SIGINT during the given steps of a phase."""

    def press(now: str, progress: Progress, _: TrainConfig) -> None:
        if now == phase and progress.step in steps:
            os.kill(os.getpid(), signal.SIGINT)

    return press


def some_data() -> Dataset:
    """A checkerboard with side features, so that every kind of weight is trained, without test ratings."""
    data = checkerboard(users=16, items=14)
    genres = pa.array(["Drama|War" if index % 3 else "Comedy" for index in range(len(data.items))])
    return replace(data, test=interactions([], [], []), item_table=data.item_table.append_column("genres", genres))


def short(model: str, **changes: Any) -> TrainConfig:
    return settings(model=model, **({"max_steps": STEPS, "eval_every": 2, "patience": 20} | changes))


@cache
def whole(model: str) -> Artifact:
    """A fit that was not stopped."""
    return fit(some_data(), short(model)).artifact


def some_steps(number: int) -> list[int]:
    """The first two and the last two of the steps, one of them with an evaluation, and one between."""
    between = random.Random(0).randrange(3, number - 1) if number > 4 else 1
    return sorted({1, 2, between, number - 1, number})


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("phase", ["fit", "refit"])
def test_a_fit_stopped_at_any_step_resumes_to_the_same_result(
    tmp_path: Path, model: str, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # Steps are drawn ahead where processors are idle.
    data, config, folder = some_data(), short(model), tmp_path / "c"
    steps = STEPS if phase == "fit" else config.refit_steps(whole(model).manifest["steps"], len(data.train))
    assert steps > 3
    for step in some_steps(steps - 1):
        stopped = fit(data, config, observe=ctrl_c(phase, step), checkpoints=Checkpoints(folder)).artifact
        assert stopped.manifest["interrupted"]
        assert result(stopped) != result(whole(model))
        with safe_open(folder / f"{phase}.safetensors", framework="pt") as file:
            assert json.loads(file.metadata()["state"])["step"] == step + 1, "the key is looked at between two steps"
        resumed = fit(data, config, checkpoints=Checkpoints(folder, resume=True)).artifact
        assert result(resumed) == result(whole(model)), f"stopped in step {step + 1}"
        assert not resumed.manifest["interrupted"]
        assert not folder.exists(), "a whole fit needs no checkpoint any more"


@pytest.mark.parametrize("model", MODELS)
def test_a_fit_stopped_repeatedly_resumes_to_the_same_result(tmp_path: Path, model: str) -> None:
    data, config = some_data(), short(model)
    checkpoints = Checkpoints(tmp_path / "c", resume=True)
    for step in (2, 3, 6):
        fit(data, config, observe=ctrl_c("fit", step), checkpoints=checkpoints)
    fit(data, config, observe=ctrl_c("refit", 1), checkpoints=checkpoints)
    assert result(fit(data, config, checkpoints=checkpoints).artifact) == result(whole(model))


PHASES = ("tune 0", "tune 1", "fit", "rank fit", "refit", "rank refit")
RACE = 8  # steps of a trial of the search
BOTH = TrainConfig(
    dim=4, max_steps=RACE + STEPS, eval_every=2, rank_dim=5, rank_max_steps=40, checkpoint_seconds=0.0, tune="quick",
    use_all=False,  # or nothing would be left to recommend
)  # fmt: skip


@pytest.fixture(scope="module")
def short_race() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reelgraph.training.tuning.RACE_STEPS", RACE)
        yield


@pytest.fixture(scope="module")
def both(short_race: None) -> Artifact:
    """A training of both heads that was not stopped."""
    seen: set[str] = set()
    model = fit(some_data(), BOTH, observe=lambda now, progress, config: seen.add(now)).artifact
    assert seen >= set(PHASES)
    return model


@pytest.mark.parametrize("phase", PHASES)
def test_a_training_of_both_heads_stopped_in_any_phase_resumes_to_the_same_result(
    tmp_path: Path, both: Artifact, phase: str
) -> None:
    """A training stopped in any phase leaves a usable model marked as interrupted, and resumes to the same result."""
    folder = tmp_path / "checkpoints"
    stopped = fit(some_data(), BOTH, observe=ctrl_c(phase, 4, 24), checkpoints=Checkpoints(folder))
    assert stopped.artifact.manifest["interrupted"]
    assert np.isfinite(stopped.scores(np.arange(16, dtype=np.int32))).all()
    assert len(stopped.recommend("u1", k=3)) == 3
    resumed = fit(some_data(), BOTH, checkpoints=Checkpoints(folder, resume=True)).artifact
    assert result(resumed) == result(both)
    assert resumed.manifest["ranking"] == both.manifest["ranking"]
    assert not folder.exists()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("phase", ["fit", "refit"])
def test_a_crashed_fit_resumes_from_the_last_checkpoint(tmp_path: Path, model: str, phase: str) -> None:
    def crash(now: str, progress: Progress, _: TrainConfig) -> None:
        if now == phase and progress.step == 3:
            raise MemoryError

    data, config, seen = some_data(), short(model), []
    with pytest.raises(MemoryError):
        fit(data, config, observe=crash, checkpoints=Checkpoints(tmp_path / "c"))
    resumed = fit(
        data,
        config,
        observe=lambda now, progress, _: seen.append((now, progress.step)),
        checkpoints=Checkpoints(tmp_path / "c", resume=True),
    )
    assert seen[0] == (phase, 3), "two steps were kept, nothing is done twice"
    assert result(resumed.artifact) == result(whole(model))


def test_a_fit_stopped_before_the_first_evaluation_can_resume(tmp_path: Path) -> None:
    data, config, folder = some_data(), short("residual", eval_every=5), tmp_path / "c"
    with pytest.raises(TrainingError, match="before its first evaluation"):
        fit(data, config, observe=ctrl_c("fit", 1), checkpoints=Checkpoints(folder))
    resumed = fit(data, config, checkpoints=Checkpoints(folder, resume=True)).artifact
    assert result(resumed) == result(fit(data, config).artifact)


def test_patience_runs_out_at_the_same_step_after_a_stop(tmp_path: Path) -> None:
    data, folder = some_data(), tmp_path / "c"
    # No step is better than the first by half, so that patience runs out after 1 + 3 evaluations.
    config = short("residual", max_steps=50, patience=3, min_improvement=0.5, tune="none")
    whole = fit(data, config).artifact
    assert [row["step"] for row in whole.history] == [2, 4, 6, 8]
    fit(data, config, observe=ctrl_c("fit", 4), checkpoints=Checkpoints(folder))
    assert result(fit(data, config, checkpoints=Checkpoints(folder, resume=True)).artifact) == result(whole)


def test_a_fit_without_validation_ratings_can_resume(tmp_path: Path) -> None:
    data, folder = some_data(), tmp_path / "c"
    data, config = replace(data, valid=interactions([], [], [])), short("residual")
    fit(data, config, observe=ctrl_c("fit", 4), checkpoints=Checkpoints(folder))
    resumed = fit(data, config, checkpoints=Checkpoints(folder, resume=True)).artifact
    assert result(resumed) == result(fit(data, config).artifact)
    assert resumed.manifest["steps"] == STEPS


def test_max_steps_may_be_raised_on_resume(tmp_path: Path) -> None:
    data, folder = some_data(), tmp_path / "c"
    fit(data, short("residual"), observe=ctrl_c("fit", 4), checkpoints=Checkpoints(folder))
    longer = short("residual", max_steps=STEPS + 6)
    resumed = fit(data, longer, checkpoints=Checkpoints(folder, resume=True)).artifact
    assert result(resumed) == result(fit(data, longer).artifact)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with the checkpoint of a fit stopped in its fifth step."""
    fit(some_data(), short("residual"), observe=ctrl_c("fit", 4), checkpoints=Checkpoints(tmp_path / "c"))
    return tmp_path / "c"


@pytest.mark.parametrize(
    "change", [{"seed": 5}, {"dim": 5}, {"l2": 0.5}, {"eval_every": 1}, {"refit": False}, {"model": "gcn"}]
)
def test_other_settings_are_refused(folder: Path, change: dict[str, Any]) -> None:
    config = TrainConfig.model_validate(short("residual").model_dump() | change)
    with pytest.raises(ArtifactError, match="expected the same settings as this run's, found others; remove"):
        fit(some_data(), config, checkpoints=Checkpoints(folder, resume=True))


def other_ratings(data: Dataset) -> Dataset:
    split = data.manifest["split"] | {"fingerprints": {"train": "x", "valid": "b", "test": "c"}}
    return replace(data, manifest=data.manifest | {"split": split})


def other_genres(data: Dataset) -> Dataset:
    genres = pa.array(["Comedy" if index % 3 else "Drama|War" for index in range(len(data.items))])
    return replace(data, item_table=data.item_table.set_column(1, "genres", genres))


def no_genres(data: Dataset) -> Dataset:
    return replace(data, item_table=data.item_table.drop_columns(["genres"]))


def other_scale(data: Dataset) -> Dataset:
    return replace(data, scale=(0.0, 6.0))


def more_users(data: Dataset) -> Dataset:
    return replace(data, user_table=pa.table({"userId": [*data.user_table["userId"].to_pylist(), "new"]}))


@pytest.mark.parametrize("change", [other_ratings, other_genres, no_genres, other_scale, more_users])
def test_other_data_is_refused(folder: Path, change: Callable[[Dataset], Dataset]) -> None:
    with pytest.raises(ArtifactError, match="expected the same data as this run's, found others; remove"):
        fit(change(some_data()), short("residual"), checkpoints=Checkpoints(folder, resume=True))


def test_a_damaged_file_is_refused(folder: Path) -> None:
    file = folder / "fit.safetensors"
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-1], whole[:4], b"", b"nonsense"):
        file.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="expected a checkpoint, found a damaged file"):
            fit(some_data(), short("residual"), checkpoints=Checkpoints(folder, resume=True))


@pytest.mark.parametrize("header", [None, {"other": "1"}, {"state": "not JSON"}, {"state": "[]"}, {"state": "{}"}])
def test_a_file_of_another_program_is_refused(folder: Path, header: dict[str, str] | None) -> None:
    save_file({}, folder / "fit.safetensors", header)
    with pytest.raises(ArtifactError, match="expected a checkpoint, found a damaged file"):
        fit(some_data(), short("residual"), checkpoints=Checkpoints(folder, resume=True))


def test_another_version_is_refused(folder: Path) -> None:
    save_file({}, folder / "fit.safetensors", {"state": json.dumps({"version": 99})})
    with pytest.raises(ArtifactError, match="expected checkpoint version 2, found 99"):
        fit(some_data(), short("residual"), checkpoints=Checkpoints(folder, resume=True))


def test_without_resume_an_old_checkpoint_is_ignored(folder: Path) -> None:
    data, config = some_data(), short("residual", seed=3)
    anew = fit(data, config, checkpoints=Checkpoints(folder)).artifact
    assert result(anew) == result(fit(data, config).artifact)


def test_a_checkpoint_that_cannot_be_written_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        fit(some_data(), short("residual"), checkpoints=Checkpoints(tmp_path / "c"))
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_cannot_be_replaced_stays_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = (folder / "fit.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left on device"):
            fit(some_data(), short("residual"), checkpoints=Checkpoints(folder, resume=True))
    assert (folder / "fit.safetensors").read_bytes() == before
    assert [file.name for file in folder.iterdir()] == ["fit.safetensors"]

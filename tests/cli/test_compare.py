"""The commands `diff` and `rerun`: the same training gives the same model."""

import json
import shutil
from pathlib import Path

import pytest

from reelgraph.artifact import SUM, read_artifact, sum_of
from tests.support.commands import CommandLine

QUICK = ("--max-steps", 10, "--rank-max-steps", 10)


@pytest.fixture(scope="module")
def trained(tables: Path, command: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the ratings and a model of them that was tuned."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("ratings.csv", "movies.csv"):
        shutil.copy(tables / name, folder)
    done = command(
        "train", folder / "ratings.csv", "--items", "movies.csv", "--seed", 3, *QUICK, "--out", folder / "model"
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_a_rerun_gives_identical_weights(trained: Path, command: CommandLine, tmp_path: Path) -> None:
    done = command("rerun", trained / "model", "--out", tmp_path / "again", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("distance")["overlap"] == 1.0
    assert found == {
        "data": {}, "settings": {}, "versions": {}, "metrics": {}, "weights": {}, "same_result": True,
    }  # fmt: skip
    first, second = (read_artifact(path) for path in (trained / "model", tmp_path / "again"))
    assert {name: array.tobytes() for name, array in first.weights.items()} == {
        name: array.tobytes() for name, array in second.weights.items()
    }
    assert first.manifest["given"] == second.manifest["given"] == {"seed": 3, "max_steps": 10, "rank_max_steps": 10}
    assert first.seen.equals(second.seen)


def test_a_model_of_prepared_ratings_is_the_same(trained: Path, command: CommandLine, tmp_path: Path) -> None:
    options = ("--items", trained / "movies.csv", "--out", tmp_path / "prepared")
    assert command("prepare", trained / "ratings.csv", *options).returncode == 0
    done = command("train", tmp_path / "prepared", "--seed", 3, *QUICK, "--out", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    done = command("diff", trained / "model", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert "Weights and metrics are identical." in done.stdout
    shutil.rmtree(tmp_path / "prepared")
    done = command("rerun", tmp_path / "model")
    assert done.returncode == 0, done.stderr


def test_changed_ratings_are_named_by_their_checksum(trained: Path, command: CommandLine, tmp_path: Path) -> None:
    text = (trained / "ratings.csv").read_text(encoding="utf-8")
    (tmp_path / "moved.csv").write_text(text + "1,20,5,1000000\n", encoding="utf-8")
    done = command("rerun", trained / "model", "--ratings", tmp_path / "moved.csv")
    assert done.returncode == 2
    assert "data.inputs.ratings.sha256" in done.stdout
    assert "expected the same weights and metrics again" in done.stderr


def test_diff_shows_settings_and_metrics(trained: Path, model_dir: Path, command: CommandLine) -> None:
    done = command("diff", trained / "model", model_dir, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["settings"]["config.seed"] == [3, 0]
    assert "metrics.test.model.rmse" in found["metrics"]
    assert not found["same_result"]
    shown = command("diff", trained / "model", model_dir).stdout
    assert "config.seed" in shown
    assert "metrics.test.model.rmse" in shown
    assert "lists of 10 share" in shown


def test_what_cannot_be_repeated_is_refused(trained: Path, command: CommandLine, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained / "model", tmp_path / "copy"))
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    inputs = manifest["data"]["inputs"]
    missing = manifest["data"] | {"inputs": inputs | {"ratings": {"path": str(tmp_path / "gone.csv"), "sha256": "0"}}}
    older = {name: entry for name, entry in manifest.items() if name != "given"}
    for changed, problem in (
        (manifest | {"data": missing}, "gone.csv: expected the ratings of the training, found no such file"),
        (older, "found no record of its inputs and settings"),
        (manifest | {"interrupted": True}, "found an interrupted one"),
        (manifest | {"changes": {"updated": 1}}, "found a model that was updated"),
    ):
        (copy / "manifest.json").write_text(json.dumps(changed | {SUM: sum_of(changed)}), encoding="utf-8")
        done = command("rerun", copy)
        assert done.returncode == 2
        assert problem in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1

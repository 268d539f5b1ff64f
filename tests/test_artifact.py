"""Writing and reading model directories, and refusing damaged ones."""

import json
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from reelgraph.artifact import HISTORY, KIND, SUM, TABLES, WEIGHTS, read_artifact, write_artifact
from reelgraph.cli.main import main
from reelgraph.errors import ArtifactError, OutputError
from reelgraph.recommend.recommender import Recommender, open_model
from tests.support.mutations import (
    GONE,
    agree,
    answers,
    change_arrays,
    change_column,
    change_entry,
    change_table,
    mutations,
    try_change,
)  # fmt: skip


@pytest.fixture
def copy(model_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_dir, tmp_path / "copy"))


@pytest.mark.parametrize("error", [pa.ArrowMemoryError("malloc"), OSError("Resource temporarily unavailable")])
def test_a_lack_of_memory_is_no_damage(
    error: Exception, model_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("reelgraph.artifact._read_table", fail)
    with pytest.raises(ArtifactError, match=f"found too little .{error}.; allow more memory"):
        read_artifact(model_dir)
    with pytest.raises(SystemExit) as end:
        main(["search", str(model_dir), "movie"])
    assert (end.value.code, capsys.readouterr().err.count("\n")) == (2, 1)


def test_an_artifact_is_read_as_written(model_dir: Path, tmp_path: Path) -> None:
    first = read_artifact(model_dir)
    write_artifact(first, tmp_path / "again")
    second = read_artifact(tmp_path / "again")
    assert first.weights.keys() == second.weights.keys()
    for name, array in first.weights.items():
        np.testing.assert_array_equal(array, second.weights[name])
        assert array.shape == second.weights[name].shape
    for name in TABLES:
        assert getattr(first, name).equals(getattr(second, name))
    assert list(first.history) == list(second.history)
    assert {type(row["step"]) for row in first.history} == {int}
    assert all(row["valid_rmse"] is None or isinstance(row["valid_rmse"], float) for row in first.history)
    assert {**first.manifest, "files": None, SUM: None} == {**second.manifest, "files": None, SUM: None}


def test_lists_only_reads_less_and_gives_the_same_lists(model_dir: Path) -> None:
    whole, part = read_artifact(model_dir), read_artifact(model_dir, lists_only=True)
    assert part.seen.column_names == ["user_index", "item_index"]
    assert part.weights.keys() < whole.weights.keys()
    for name, array in part.weights.items():
        np.testing.assert_array_equal(array, whole.weights[name])
    tables = [pa.concat_tables(Recommender(artifact).recommend_all(k=5)) for artifact in (whole, part)]
    assert tables[0].equals(tables[1])
    assert "user.free" not in part.weights


def test_lists_only_checks_its_arrays(copy: Path) -> None:
    change_arrays(lambda arrays: arrays.pop("rank.item.bias"))(copy)
    agree(copy)
    with pytest.raises(ArtifactError, match=r"weights\.safetensors: expected an array 'rank\.item\.bias', found none"):
        read_artifact(copy, lists_only=True)


def test_the_directory_is_as_documented(model_dir: Path) -> None:
    names = {file.name for file in model_dir.iterdir()}
    assert names == {
        "manifest.json",
        "weights.safetensors",
        "users.parquet",
        "items.parquet",
        "seen.parquet",
        "history.csv",
    }
    manifest = json.loads((model_dir / "manifest.json").read_text())
    assert (manifest["kind"], manifest["version"]) == (KIND, 1)
    assert {"config", "libraries", "data", "metrics", "scale", "steps", "files"} <= manifest.keys()
    assert all(file.stat().st_mode & 0o444 == 0o444 for file in model_dir.iterdir()), "readable for every user"


@pytest.mark.parametrize("lists_only", [False, True])
@pytest.mark.parametrize("name", [WEIGHTS, HISTORY, "users.parquet", "items.parquet", "seen.parquet"])
def test_damaged_and_missing_files_are_refused(copy: Path, name: str, lists_only: bool) -> None:
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[:-3])
    size = rf"{name}: expected {len(whole):,} bytes .* found {len(whole) - 3:,} bytes"
    with pytest.raises(ArtifactError, match=size):
        read_artifact(copy, lists_only=lists_only)
    middle = len(whole) // 2
    (copy / name).write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(ArtifactError, match=rf"{name}: expected .* SHA-256 "):
        read_artifact(copy, lists_only=lists_only)
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: expected a file of the model, found none"):
        read_artifact(copy, lists_only=lists_only)


def change_manifest(copy: Path, *, whole: bool = True, **changes: object) -> None:
    for name, value in changes.items():
        change_entry((name,), value)(copy)
    agree(copy, whole=whole)


def test_other_versions_and_kinds_are_refused(copy: Path) -> None:
    change_manifest(copy, version=2)
    with pytest.raises(ArtifactError, match="expected format version 1, found 2"):
        read_artifact(copy)
    change_manifest(copy, version=1, kind="reelgraph-prepared")
    with pytest.raises(ArtifactError, match="expected kind 'reelgraph-artifact', found 'reelgraph-prepared'"):
        read_artifact(copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="found none"):
        read_artifact(copy)


def test_entries_of_newer_and_older_versions(copy: Path, model_dir: Path) -> None:
    expected = answers(open_model(model_dir))
    manifest = json.loads((copy / "manifest.json").read_text())
    change_manifest(copy, future={"x": [1]}, config=manifest["config"] | {"future": 1})
    assert answers(open_model(copy)) == expected
    tuning = [trial | {"valid_error": float("nan")} for trial in manifest["tuning"]]  # as long as nothing was validated
    change_manifest(copy, tuning=tuning)
    optional = ("created", "seconds", "tuning", "changes", "analysis", "metrics", "seen", "libraries", SUM)
    for name in set(optional) & manifest.keys():
        change_entry((name,), GONE)(copy)
    assert answers(open_model(copy)) == expected


def test_a_manifest_without_files_is_refused(copy: Path) -> None:
    change_entry(("files",), GONE)(copy)
    with pytest.raises(ArtifactError, match=r"manifest\.json: expected an entry for"):
        read_artifact(copy)


def test_an_edited_manifest_is_refused(copy: Path) -> None:
    ranking = json.loads((copy / "manifest.json").read_text())["ranking"]
    change_manifest(copy, whole=False, ranking=ranking | {"blend": ranking["blend"] + 0.5})
    with pytest.raises(ArtifactError, match=r"manifest\.json: expected entries of SHA-256"):
        read_artifact(copy)


def test_ratings_of_another_model_are_refused(copy: Path) -> None:
    change_table("seen", change_column("rating", lambda cells: pa.array(cells[::-1], pa.float32())))(copy)
    agree(copy)
    with pytest.raises(ArtifactError, match=r"weights\.safetensors: expected user\.bias of the ratings"):
        read_artifact(copy)


def test_what_would_not_open_is_not_written(model_dir: Path, tmp_path: Path) -> None:
    artifact = read_artifact(model_dir)
    large = artifact.weights | {"item.state": np.full_like(artifact.weights["item.state"], 1e30)}
    with pytest.raises(ArtifactError, match=r"expected float32 from -1e\+06 to 1e\+06 in item\.state"):
        write_artifact(replace(artifact, weights=large), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_changed_models_are_refused_or_right(model_dir: Path, tmp_path: Path) -> None:
    """A sample; `benchmarks/corpus.py` tries all."""
    expected, rng = answers(open_model(model_dir)), random.Random(0)
    for name, change in rng.sample(mutations(model_dir), 60):
        folder = Path(shutil.copytree(model_dir, tmp_path / "changed"))
        whole = not name.startswith("manifest") or rng.random() < 0.5
        judgement = try_change(folder, change, expected, whole=whole)
        assert judgement.startswith(("refused", "right")) or (whole and judgement == "another model"), (name, judgement)
        shutil.rmtree(folder)


def test_a_reader_meets_only_whole_models(model_dir: Path, other_dir: Path, tmp_path: Path) -> None:
    models = [read_artifact(path) for path in (model_dir, other_dir)]
    known, target = [model.weights["rank.item.bias"].tobytes() for model in models], tmp_path / "m"
    write_artifact(models[0], target)

    def replace_it() -> None:
        for number in range(50):
            write_artifact(models[number % 2], target)

    with ThreadPoolExecutor(1) as threads:
        writing, found = threads.submit(replace_it), set()
        while not writing.done():
            found.add(known.index(read_artifact(target).weights["rank.item.bias"].tobytes()))
        writing.result()
    assert found == {0, 1}


def test_an_artifact_replaces_only_an_artifact(model_dir: Path, tmp_path: Path) -> None:
    artifact = read_artifact(model_dir)
    target = tmp_path / "m"
    write_artifact(artifact, target)
    write_artifact(artifact, target)
    assert {path.name for path in tmp_path.iterdir()} == {"m", ".m.previous"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="found other files there"):
        write_artifact(artifact, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"

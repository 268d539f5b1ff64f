"""Writing and reading model directories, and refusing damaged ones."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from reelgraph.artifact import HISTORY, KIND, TABLES, WEIGHTS, read_artifact, write_artifact
from reelgraph.errors import ArtifactError, OutputError
from reelgraph.recommend.recommender import Recommender


@pytest.fixture
def copy(model_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_dir, tmp_path / "copy"))


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
    assert {**first.manifest, "files": None} == {**second.manifest, "files": None}


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
    weights = {name: array for name, array in load_file(copy / WEIGHTS).items() if name != "rank.item.bias"}
    save_file(weights, copy / WEIGHTS)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"][WEIGHTS] = {"bytes": (copy / WEIGHTS).stat().st_size}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"expected an array 'rank\.item\.bias', found none"):
        Recommender(read_artifact(copy, lists_only=True))


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


@pytest.mark.parametrize("name", [WEIGHTS, HISTORY, "users.parquet", "items.parquet", "seen.parquet"])
def test_missing_and_truncated_files_are_refused(copy: Path, name: str) -> None:
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[:-3])
    with pytest.raises(ArtifactError, match=rf"{name}: expected {len(whole):,} bytes, found {len(whole) - 3:,}"):
        read_artifact(copy)
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: expected a file of the artifact, found none"):
        read_artifact(copy)


def change_manifest(copy: Path, **changes: object) -> None:
    file = copy / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_other_versions_and_kinds_are_refused(copy: Path) -> None:
    change_manifest(copy, version=2)
    with pytest.raises(ArtifactError, match="expected format version 1, found 2"):
        read_artifact(copy)
    change_manifest(copy, version=1, kind="reelgraph-prepared")
    with pytest.raises(ArtifactError, match="expected kind 'reelgraph-artifact', found 'reelgraph-prepared'"):
        read_artifact(copy)
    for text in ("{", "[]", ""):
        (copy / "manifest.json").write_text(text)
        with pytest.raises(ArtifactError, match=r"manifest\.json"):
            read_artifact(copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="found none"):
        read_artifact(copy)


def test_damaged_files_of_the_same_size_are_refused(copy: Path) -> None:
    data = bytearray((copy / "seen.parquet").read_bytes())
    data[:4] = data[-4:] = b"XXXX"
    (copy / "seen.parquet").write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="damaged"):
        read_artifact(copy)


def test_inconsistent_arrays_and_tables_are_refused(copy: Path) -> None:
    weights = load_file(copy / WEIGHTS)
    weights["item.state"] = weights["item.state"][:-1]
    save_file(weights, copy / WEIGHTS)
    files = json.loads((copy / "manifest.json").read_text())["files"]
    change_manifest(copy, files=files | {WEIGHTS: {"bytes": (copy / WEIGHTS).stat().st_size}})
    with pytest.raises(ArtifactError, match=r"expected 80 rows in item\.state, found 79"):
        read_artifact(copy)
    table = pq.read_table(copy / "users.parquet").drop_columns(["userId"])
    pq.write_table(table, copy / "users.parquet")
    sizes = {name: {"bytes": (copy / name).stat().st_size} for name in (WEIGHTS, "users.parquet")}
    change_manifest(copy, files=files | sizes)
    with pytest.raises(ArtifactError, match=r"users\.parquet: expected a column userId"):
        read_artifact(copy)


@pytest.mark.parametrize("entry", ["config", "data", "scale", "standardise", "files"])
def test_a_manifest_without_an_entry_is_refused(copy: Path, entry: str) -> None:
    change_manifest(copy, **{entry: None})
    with pytest.raises(ArtifactError, match=rf"manifest\.json: expected an entry {entry}, found none"):
        read_artifact(copy)


@pytest.mark.parametrize(("column", "index"), [("user_index", 60), ("item_index", 80), ("item_index", -1)])
def test_ratings_with_invalid_indices_are_refused(copy: Path, column: str, index: int) -> None:
    seen = pq.read_table(copy / "seen.parquet")
    place = seen.column_names.index(column)
    cells = [*seen[column].to_pylist()[:-1], index]
    pq.write_table(seen.set_column(place, column, pa.array(cells, pa.int32())), copy / "seen.parquet")
    files = json.loads((copy / "manifest.json").read_text())["files"]
    change_manifest(copy, files=files | {"seen.parquet": {"bytes": (copy / "seen.parquet").stat().st_size}})
    with pytest.raises(ArtifactError, match=rf"seen\.parquet: expected {column} below \d+, found .*{index}"):
        read_artifact(copy)


def test_a_reader_meets_only_whole_models(
    model_dir: Path, other_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
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

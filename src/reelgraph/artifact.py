"""A trained model on disk: written atomically and checked when read."""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from reelgraph.arrays import Float32s
from reelgraph.data.dataset import Interactions
from reelgraph.errors import ArtifactError
from reelgraph.files import MANIFEST, new_directory, read_whole
from reelgraph.scoring.scorers import needed_for_lists

KIND = "reelgraph-artifact"
VERSION = 1
WEIGHTS, HISTORY = "weights.safetensors", "history.csv"
HISTORY_COLUMNS = ("phase", "step", "loss", "valid_rmse", "valid_mae", "valid_ndcg", "seconds")
TABLES = ("users", "items", "seen")
MAX_WEIGHT = 1e6  # weights of standardised ratings are small; products of larger ones overflow
_ENTRIES = ("config", "data", "scale", "standardise", "files")  # objects of the manifest
_REMEDY = "restore the directory from a copy or train again"


@dataclass(frozen=True)
class Artifact:
    """A trained model.

    `seen` holds the training ratings, sorted by user and movie: `user_index`, `item_index`, `rating`, with the time of
    rating also `timestamp` and `residual`.
    """

    manifest: dict[str, Any]  # format version, settings, library versions, data, fingerprints, metrics, rating scale
    weights: dict[str, Float32s]  # as exported by the model
    users: pa.Table  # `userId` and side columns, in index order
    items: pa.Table  # `movieId` and side columns, in index order
    seen: pa.Table
    history: Sequence[dict[str, Any]] = ()
    rejects: pa.Table | None = None  # rows refused by the preparation, with reasons
    lists_only: bool = False  # only the arrays and columns for lists of training users were read
    checksum: str = ""  # SHA-256 of the manifest that was read, which contains those of all other files

    @property
    def ratings(self) -> Interactions:
        """The training ratings."""
        columns = {name: numbers(self.seen, name) for name in self.seen.column_names}
        return Interactions(columns["user_index"], columns["item_index"], columns["rating"], columns.get("timestamp"))


def numbers(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """A numeric column without nulls as a read-only array, without pandas, which `to_numpy` would import."""
    try:
        return np.from_dlpack(table[name].combine_chunks())
    except pa.ArrowException as error:
        raise ArtifactError(f"seen.parquet: expected numbers in {name}, found others ({error})", _REMEDY) from None


def write_artifact(artifact: Artifact, path: Path, *, keep: bool = True) -> None:
    """Write an artifact directory; an earlier artifact at `path` is replaced once the new one is complete.

    `keep` keeps the earlier one beside it, see `files.previous_of`.
    """
    with new_directory(path, KIND, keep=keep) as directory:
        save_file({name: np.asarray(array, order="C") for name, array in artifact.weights.items()}, directory / WEIGHTS)
        for name in TABLES:
            pq.write_table(getattr(artifact, name), directory / f"{name}.parquet", compression="zstd")
        if artifact.rejects is not None and artifact.rejects.num_rows:
            pq.write_table(artifact.rejects, directory / "rejects.parquet", compression="zstd")
        with (directory / HISTORY).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, HISTORY_COLUMNS)
            writer.writeheader()
            writer.writerows(artifact.history)
        files = {file.name: _describe(file) for file in sorted(directory.iterdir())}
        manifest = {"kind": KIND, "version": VERSION} | artifact.manifest | {"files": files}
        (directory / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _history_row(cells: dict[str, str]) -> dict[str, Any]:
    """A row of `history.csv` with numbers as numbers and None for empty cells."""
    row: dict[str, Any] = {name: float(cell) if cell else None for name, cell in cells.items() if name != "phase"}
    return {"phase": cells["phase"]} | row | {"step": int(cells["step"])}


def read_artifact(path: Path, *, lists_only: bool = False) -> Artifact:
    """Read and check an artifact directory; `lists_only` skips what lists of training users do not need, most of it."""
    return read_whole(path, lambda: _read(path, lists_only))


def _read(path: Path, lists_only: bool) -> Artifact:
    manifest, checksum = _read_manifest(path)
    for name, facts in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise ArtifactError(f"{file}: expected a file of the artifact, found none", _REMEDY)
        if file.stat().st_size != facts["bytes"]:
            size = f"{file.stat().st_size:,}"
            raise ArtifactError(f"{file}: expected {facts['bytes']:,} bytes, found {size}", _REMEDY)
        if (found := _describe(file)["sha256"]) != facts.get("sha256", found):
            raise ArtifactError(f"{file}: expected SHA-256 {facts['sha256']}, found {found}", _REMEDY)
    try:
        with safe_open(path / WEIGHTS, "numpy") as file:
            names = [name for name in file.keys() if not lists_only or needed_for_lists(name)]  # noqa: SIM118 (no dict)
            weights = {name: file.get_tensor(name) for name in names}
        tables = {name: _table(path / f"{name}.parquet") for name in ("users", "items")}
        tables["seen"] = _read_seen(path / "seen.parquet", ("user_index", "item_index") if lists_only else None)
        with (path / HISTORY).open(newline="", encoding="utf-8") as file:
            history = tuple(_history_row(row) for row in csv.DictReader(file))
        rejects = _table(path / "rejects.parquet") if "rejects.parquet" in manifest["files"] else None
    except (OSError, SafetensorError, pa.ArrowException, KeyError, ValueError) as error:
        raise ArtifactError(f"{path}: expected a whole artifact, found a damaged file ({error})", _REMEDY) from None
    artifact = Artifact(
        manifest, weights, **tables, history=history, rejects=rejects, lists_only=lists_only, checksum=checksum
    )
    _check_shapes(artifact, path)
    return artifact


def _read_seen(path: Path, columns: Sequence[str] | None) -> pa.Table:
    """The training ratings, each column in one chunk, so that numpy needs no copy."""
    names = pq.read_schema(path).names if columns is None else columns
    return pa.table({name: _table(path, [name])[name].combine_chunks() for name in names})


def _table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read Parquet without pandas, which `pq.read_table` would import: 50 MB and a third of a second."""
    with pq.ParquetFile(path) as file:
        return file.read(columns)


def _read_manifest(path: Path) -> tuple[dict[str, Any], str]:
    """The manifest and its SHA-256."""
    file = path / MANIFEST
    if not file.is_file():
        problem = f"{path}: expected a model directory with {MANIFEST}, found none"
        raise ArtifactError(problem, "name the --out directory of a training")
    try:
        content = file.read_bytes()
        manifest = json.loads(content)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file}: expected JSON, found a damaged file ({error})", _REMEDY) from None
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        kind = manifest.get("kind") if isinstance(manifest, dict) else type(manifest).__name__
        raise ArtifactError(f"{file}: expected kind {KIND!r}, found {kind!r}", "name the directory of a trained model")
    if manifest.get("version") != VERSION:
        problem = f"{file}: expected format version {VERSION}, found {manifest.get('version')!r}"
        raise ArtifactError(problem, "open it with the version of reelgraph that wrote it, or train again")
    absent = [name for name in _ENTRIES if not isinstance(manifest.get(name), dict)]
    if absent:
        raise ArtifactError(f"{file}: expected an entry {absent[0]}, found none", _REMEDY)
    needed = (WEIGHTS, HISTORY, *(f"{name}.parquet" for name in TABLES))
    missing = [name for name in needed if name not in manifest["files"]]
    if missing:
        raise ArtifactError(f"{file}: expected an entry for {missing[0]}, found none", _REMEDY)
    return manifest, hashlib.sha256(content).hexdigest()


def _check_shapes(artifact: Artifact, path: Path) -> None:
    ratings = ["user_index", "item_index"] if artifact.lists_only else ["user_index", "item_index", "rating"]
    columns = {"users": ["userId"], "items": ["movieId"], "seen": ratings}
    for name, required in columns.items():
        absent = [column for column in required if column not in getattr(artifact, name).column_names]
        if absent:
            raise ArtifactError(f"{path / f'{name}.parquet'}: expected a column {absent[0]}, found none", _REMEDY)
    for side, rows in (("user", artifact.users.num_rows), ("item", artifact.items.num_rows)):
        index = numbers(artifact.seen, f"{side}_index")
        if len(index) and not 0 <= index.min() <= index.max() < rows:
            limits = f"{index.min()} to {index.max()}"
            raise ArtifactError(f"{path / 'seen.parquet'}: expected {side}_index below {rows}, found {limits}", _REMEDY)
        for name, array in artifact.weights.items():
            if name.removeprefix("rank.").startswith(f"{side}.") and len(array) != rows:
                raise ArtifactError(f"{path / WEIGHTS}: expected {rows} rows in {name}, found {len(array)}", _REMEDY)
            if array.size and not -MAX_WEIGHT <= array.min() <= array.max() <= MAX_WEIGHT:
                problem = f"expected finite numbers of at most {MAX_WEIGHT:g} in {name}, found others"
                raise ArtifactError(f"{path / WEIGHTS}: {problem}", _REMEDY)


def _describe(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}

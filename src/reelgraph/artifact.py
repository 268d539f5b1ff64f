"""A trained model on disk: written atomically and checked when read."""

import csv
import errno
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from reelgraph.arrays import USER_DAMPING, Float32s
from reelgraph.data.dataset import Interactions
from reelgraph.errors import ArtifactError
from reelgraph.files import MANIFEST, in_utf8, new_directory, read_whole
from reelgraph.scoring.scorers import check_arrays

KIND = "reelgraph-artifact"
VERSION = 1
SUM = "sha256"  # entry of the manifest
WEIGHTS, HISTORY, REJECTS = "weights.safetensors", "history.csv", "rejects.parquet"
HISTORY_COLUMNS = ("phase", "step", "loss", "valid_rmse", "valid_mae", "valid_ndcg", "seconds")
TABLES = ("users", "items", "seen")
LEARNED = "learned"  # entry of the manifest of a model that a round of learning has made
COLLECTED = "collected"  # column of `users`: whether a user is known by ratings given to a service only
_NEEDED = (WEIGHTS, HISTORY, *(f"{name}.parquet" for name in TABLES))
_TYPES = {
    "users": {"userId": pa.string()},
    "items": {"movieId": pa.string(), "title": pa.string(), "year": pa.int32(), "genres": pa.string()},
    "seen": {
        "user_index": pa.int32(), "item_index": pa.int32(), "rating": pa.float32(), "timestamp": pa.int64(),
        "residual": pa.float32(),
    },
}  # fmt: skip
_INDICES = ("user_index", "item_index")
_BLOCK = 1 << 20  # ratings checked at a time
_NEAR = 1e-2  # rounding of sums of float32, in standard deviations of the ratings
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
    lists_only: bool = False  # only the arrays and columns for lists of training users were kept
    checksum: str = ""  # SHA-256 of the manifest that was read, which contains those of all other files

    @property
    def has_stars(self) -> bool:
        """Whether it predicts ratings; a ranking head alone does not."""
        return bool(self.manifest["config"]["model"] != "ranking")

    @property
    def ratings(self) -> Interactions:
        """The training ratings."""
        columns = {name: numbers(self.seen, name) for name in self.seen.column_names}
        return Interactions(columns["user_index"], columns["item_index"], columns["rating"], columns.get("timestamp"))


def numbers(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """A numeric column without nulls as a read-only array, without pandas, which `to_numpy` would import."""
    return np.from_dlpack(table[name].combine_chunks())


def write_artifact(artifact: Artifact, path: Path, *, keep: bool = True) -> None:
    """Write an artifact directory; an earlier artifact at `path` is replaced once the new one is complete.

    `keep` keeps the earlier one beside it, see `files.previous_of`.

    Raises:
        ArtifactError: if `read_artifact` would refuse it.
    """
    text = json.dumps({"kind": KIND, "version": VERSION} | artifact.manifest)
    manifest = json.loads(text, parse_constant=_nothing)
    _check_manifest(manifest, path / MANIFEST)
    _check(replace(artifact, manifest=manifest), path, artifact.weights.items())
    with new_directory(path, KIND, keep=keep) as directory:
        save_file({name: np.asarray(array, order="C") for name, array in artifact.weights.items()}, directory / WEIGHTS)
        for name in TABLES:
            pq.write_table(getattr(artifact, name), directory / f"{name}.parquet", compression="zstd")
        if artifact.rejects is not None and artifact.rejects.num_rows:
            pq.write_table(artifact.rejects, directory / REJECTS, compression="zstd")
        with (directory / HISTORY).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, HISTORY_COLUMNS)
            writer.writeheader()
            writer.writerows(artifact.history)
        files = {file.name: _describe(file) for file in sorted(directory.iterdir())}
        manifest |= {"files": files}
        text = json.dumps(manifest | {SUM: sum_of(manifest)}, indent=2, ensure_ascii=False)
        (directory / MANIFEST).write_text(f"{text}\n", encoding="utf-8")


def read_artifact(path: Path, *, lists_only: bool = False) -> Artifact:
    """Read an artifact directory and check all of it.

    Args:
        path: the directory.
        lists_only: keep only what lists of training users need, in a fraction of the memory.

    Raises:
        ArtifactError: if a file is missing, has another checksum, or holds what no training writes.
    """
    if not in_utf8(path):
        raise ArtifactError(f"{path}: expected a name in UTF-8, found other bytes", "rename it")
    return read_whole(path, lambda: _read(path, lists_only))


def _read(path: Path, lists_only: bool) -> Artifact:
    manifest, checksum = _read_manifest(path / MANIFEST)
    for name, facts in manifest["files"].items():
        with _about(path / name):
            _expect((path / name).is_file(), "a file of the model", "none")
            found = _describe(path / name)
        if found != {fact: facts[fact] for fact in found}:
            expected, actual = (f"{each['bytes']:,} bytes of SHA-256 {each['sha256'][:12]}" for each in (facts, found))
            raise ArtifactError(f"{path / name}: expected {expected}, found {actual}", _REMEDY)
    tables = {}
    for name in TABLES:
        with _about(path / f"{name}.parquet"):
            tables[name] = _read_table(path / f"{name}.parquet", name == "seen")
    with _about(path / HISTORY):
        history = _read_history(path / HISTORY)
    rejects = None
    if REJECTS in manifest["files"]:
        with _about(path / REJECTS):
            rejects = _read_table(path / REJECTS)
            rejects.validate(full=True)
    whole = Artifact(manifest, {}, **tables, history=history, rejects=rejects, lists_only=lists_only, checksum=checksum)
    weights = _check(whole, path, _arrays(path / WEIGHTS))
    # Last, because the other checks say what is wrong. Earlier versions wrote no such entry.
    with _about(path / MANIFEST):
        _expect(manifest.get(SUM) in {None, sum_of(manifest)}, f"entries of SHA-256 {manifest.get(SUM)}")
    return replace(whole, weights=weights, seen=whole.seen.select(_INDICES) if lists_only else whole.seen)


def _check(artifact: Artifact, path: Path, arrays: Iterable[tuple[str, Float32s]]) -> dict[str, Float32s]:
    """Check tables and arrays against a checked manifest; returns the arrays, those of `lists_only` if it says so."""
    manifest, rows = artifact.manifest, {"u": artifact.users.num_rows, "i": artifact.items.num_rows}
    needed = {"users": 1, "items": 1, "seen": 5 if manifest.get("session") else 3}
    for name, types in _TYPES.items():
        with _about(path / f"{name}.parquet"):
            _check_columns(getattr(artifact, name), types, needed[name])
    for name, column in (("users", "userId"), ("items", "movieId")):
        ids = getattr(artifact, name)[column]
        with _about(path / f"{name}.parquet"):
            _expect(0 < len(ids) == len(ids.unique()) and not ids.null_count, f"one {column} a row, no two the same")
    with _about(path / "seen.parquet"):
        seen = {name: numbers(artifact.seen, name) for name in _TYPES["seen"] if name in artifact.seen.column_names}
        _check_ratings(seen, rows, manifest["scale"])
    with _about(path / WEIGHTS):
        weights = check_arrays(
            manifest["config"]["model"],
            arrays,
            rows,
            ranks=bool(manifest.get("ranking")),
            lists_only=artifact.lists_only,
        )
        if "user.bias" in weights:
            _check_biases(seen, weights, manifest["standardise"])
    return weights


def _check_columns(table: pa.Table, types: Mapping[str, pa.DataType], needed: int) -> None:
    """Check the types of known columns, the first of which are `needed`, and the encoding of all text."""
    _expect(len(set(table.column_names)) == table.num_columns, "different names of columns")
    for place, (name, kind) in enumerate(types.items()):
        if name in table.column_names:
            found = table.schema.field(name).type
            _expect(found == kind, f"{name} of type {kind}", found)
        else:
            _expect(place >= needed, f"a column {name}", "none")
    table.validate(full=True)


def _check_ratings(seen: Mapping[str, npt.NDArray[Any]], rows: Mapping[str, int], scale: Mapping[str, float]) -> None:
    """Check range and order of all ratings, in blocks to bound memory."""
    user, item = (seen[name] for name in _INDICES)
    low, high = np.float32(scale["low"]), np.float32(scale["high"])
    span = 1.001 * (high - low)
    for start in range(0, len(user), _BLOCK):
        block = slice(start, start + _BLOCK + 1)
        for side, index in (("u", user[block]), ("i", item[block])):
            first, last = index.min(), index.max()
            _expect(0 <= first <= last < rows[side], f"indices from 0 to {rows[side] - 1:,}", f"{first:,} to {last:,}")
        step, rating = np.diff(user[block]), seen["rating"][block]
        in_order = (step > 0) | ((step == 0) & (np.diff(item[block]) > 0))
        _expect(in_order.all(), "ratings sorted by user and movie, each pair once")
        _expect(low <= rating.min() <= rating.max() <= high, f"ratings from {low:g} to {high:g}")
        if "residual" in seen:
            residual = seen["residual"][block]
            _expect(-span <= residual.min() <= residual.max() <= span, f"residuals of at most {high - low:g}")


def _check_biases(
    seen: Mapping[str, npt.NDArray[Any]], weights: Mapping[str, Float32s], standardise: Mapping[str, float]
) -> None:
    """Check that the ratings are those that the model was computed from: they give the users' biases."""
    user, bias = seen["user_index"], weights["user.bias"]
    total, count = np.zeros((2, len(bias)))
    for start in range(0, len(user), _BLOCK):
        block = slice(start, start + _BLOCK)
        rating = (seen["rating"][block] - np.float32(standardise["mean"])) / np.float32(standardise["std"])
        deviation = rating - weights["mean"] - weights["item.bias"][seen["item_index"][block]]
        total += np.bincount(user[block], deviation, len(bias))
        count += np.bincount(user[block], minlength=len(bias))
    _expect(bool((np.abs(total / (count + USER_DAMPING) - bias) < _NEAR).all()), "user.bias of the ratings")


def _read_table(path: Path, one_by_one: bool = False) -> pa.Table:
    """Read Parquet without pandas, which `pq.read_table` would import: 50 MB and a third of a second.

    `one_by_one` gives each column in one chunk, so that numpy needs no copy.
    """
    with pq.ParquetFile(path) as file:
        if not one_by_one:
            return file.read()
        return pa.table({name: file.read([name])[name].combine_chunks() for name in file.schema_arrow.names})


def _read_history(path: Path) -> tuple[dict[str, Any], ...]:
    """The rows of `history.csv` with numbers as numbers and None for empty cells."""
    with path.open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file, strict=True)
    _expect(set(names) >= set(HISTORY_COLUMNS), f"the columns {', '.join(HISTORY_COLUMNS)}")
    history = []
    for cells in rows:
        row: dict[str, Any] = dict(zip(names, cells, strict=True))
        row |= {name: float(cell) if cell else None for name, cell in row.items() if name != "phase"}
        _expect(all(math.isfinite(row[name] or 0.0) for name in names if name != "phase"), "finite numbers")
        history.append(row | {"step": int(row["step"])})
    return tuple(history)


def _read_manifest(file: Path) -> tuple[dict[str, Any], str]:
    """The manifest and its SHA-256."""
    if not file.is_file():
        problem = f"{file.parent}: expected a model directory with {MANIFEST}, found none"
        raise ArtifactError(problem, "name the --out directory of a training")
    with _about(file):
        text = file.read_bytes()
        manifest = json.loads(text, parse_constant=_nothing)
    kind = manifest.get("kind") if isinstance(manifest, dict) else type(manifest).__name__
    if kind != KIND:
        raise ArtifactError(f"{file}: expected kind {KIND!r}, found {kind!r}", "name the directory of a trained model")
    if manifest.get("version") != VERSION:
        problem = f"{file}: expected format version {VERSION}, found {manifest.get('version')!r}"
        raise ArtifactError(problem, "open it with the version of reelgraph that wrote it, or train again")
    _check_manifest(manifest, file)
    missing = [name for name in _NEEDED if name not in manifest.get("files", {})]
    if missing:
        raise ArtifactError(f"{file}: expected an entry for {missing[0]}, found none", _REMEDY)
    return manifest, hashlib.sha256(text).hexdigest()


def _check_manifest(manifest: dict[str, Any], file: Path) -> None:
    from reelgraph.manifest import check_manifest  # noqa: PLC0415 (workers of a cluster lack pydantic)

    with _about(file):
        check_manifest(manifest)


def _nothing(_: str) -> None:
    """NaN and infinity in JSON are null: earlier versions wrote NaN for what was not measured."""


def _expect(holds: bool | np.bool_, what: str, found: object = "others") -> None:
    if not holds:
        raise ArtifactError(f"expected {what}, found {found}")


@contextmanager
def _about(file: Path) -> Iterator[None]:
    """Turn errors of reading and checking a file into an ArtifactError that names it."""
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(f"{file}: {error.problem}", error.remedy or _REMEDY) from None
    except (
        OSError, SafetensorError, pa.ArrowException, csv.Error, ArithmeticError, LookupError, TypeError, ValueError,
        RecursionError,
    ) as error:  # fmt: skip
        if isinstance(error, MemoryError) or os.strerror(errno.EAGAIN) in str(error):  # Arrow cannot start a thread.
            problem = f"{file}: expected enough memory to read it, found too little ({error})"
            raise ArtifactError(problem, f"allow more memory, or {_REMEDY}") from None
        raise ArtifactError(f"{file}: expected a whole file, found a damaged one ({error})", _REMEDY) from None


def _arrays(file: Path) -> Iterator[tuple[str, Float32s]]:
    with safe_open(file, "numpy") as opened:
        for name in sorted(opened.keys()):
            yield name, opened.get_tensor(name)


def sum_of(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest's entries but `SUM` as JSON, sorted by name."""
    entries = {name: value for name, value in manifest.items() if name != SUM}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def _describe(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}

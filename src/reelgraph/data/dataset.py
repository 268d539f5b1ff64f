"""A Prepared directory, loaded: the frozen value that graphs, models and evaluations are made from."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelgraph.atomic import MANIFEST
from reelgraph.data.vocabulary import Vocabulary
from reelgraph.errors import DataError

KIND = "reelgraph-prepared"
VERSION = 1
SPLITS = ("train", "valid", "test")
NO_TIME = np.iinfo(np.int64).min  # among timestamps: none


@dataclass(frozen=True)
class Interactions:
    """Ratings of one split, sorted by user and then by movie.

    Attributes:
        user_index: int32 of shape `(num_edges,)`.
        item_index: int32 of shape `(num_edges,)`.
        rating: float32 of shape `(num_edges,)`, in the data's own scale.
        timestamp: int64 of shape `(num_edges,)` in seconds since 1970, or None where the data has none.
    """

    user_index: npt.NDArray[np.int32]
    item_index: npt.NDArray[np.int32]
    rating: npt.NDArray[np.float32]
    timestamp: npt.NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.rating)

    def take(self, rows: Any) -> "Interactions":
        """The ratings at some rows: a mask of shape `(num_edges,)`, positions, or a slice."""
        times = None if self.timestamp is None else self.timestamp[rows]
        return Interactions(self.user_index[rows], self.item_index[rows], self.rating[rows], times)


@dataclass(frozen=True)
class Dataset:
    """Everything a fit needs.

    Attributes:
        train, valid, test: the three splits; valid and test may be empty.
        users, items: the two vocabularies.
        user_table, item_table: ids (`userId`, `movieId`) and side columns, one row an index, in index order.
        rejects: the rows that preparation refused, with row number, raw values and reason.
        scale: lowest and highest rating.
        manifest: the Prepared directory's manifest.
    """

    train: Interactions
    valid: Interactions
    test: Interactions
    users: Vocabulary
    items: Vocabulary
    user_table: pa.Table
    item_table: pa.Table
    rejects: pa.Table
    scale: tuple[float, float]
    manifest: dict[str, Any]

    def raw_ids(self, pairs: Interactions) -> tuple[list[str], list[str]]:
        """User ids and movie ids of pairs, one each a pair."""
        user, item = pa.array(pairs.user_index), pa.array(pairs.item_index)
        return self.users.ids.take(user).to_pylist(), self.items.ids.take(item).to_pylist()


def load_prepared(path: Path) -> Dataset:
    """Read a Prepared directory.

    Raises:
        DataError: if a file is missing or damaged, or the format version is not known.
    """
    manifest = read_manifest(path)
    users, items, rejects = (_read_table(path / f"{name}.parquet") for name in ("users", "items", "rejects"))
    splits = _splits(path)
    # Arrow keeps what it read for a next time that does not come: 40 bytes a rating.
    pa.default_memory_pool().release_unused()
    scale = manifest["scale"]
    return Dataset(
        **splits,
        users=Vocabulary.of(users, "user"),
        items=Vocabulary.of(items, "movie"),
        user_table=users.drop_columns(["user_index"]),
        item_table=items.drop_columns(["item_index"]),
        rejects=rejects,
        scale=(float(scale["low"]), float(scale["high"])),
        manifest=manifest,
    )


def _splits(path: Path) -> dict[str, Interactions]:
    ratings = _read_table(path / "ratings.parquet")
    return {name: _interactions(ratings, name) for name in SPLITS}


def describe_splits(path: Path) -> dict[str, Any]:
    """Counts and fingerprints of the ratings of a Prepared directory, from its Parquet files.

    Returns:
        `counts`: users, movies, ratings, train, valid, test, and how many users and movies of the test split have no
        training rating; `fingerprints`: one for each split.
    """
    users, items = (_read_table(path / f"{name}.parquet") for name in ("users", "items"))
    splits = _splits(path)
    vocabularies = (
        Vocabulary.of(users, "user"),
        Vocabulary.of(items, "movie"),
    )

    def strangers(column: str) -> int:
        return len(np.setdiff1d(getattr(splits["test"], column), getattr(splits["train"], column)))

    counts = {"users": users.num_rows, "movies": items.num_rows}
    counts |= {"ratings": sum(map(len, splits.values()))} | {name: len(part) for name, part in splits.items()}
    counts |= {"unknown_test_users": strangers("user_index"), "unknown_test_movies": strangers("item_index")}
    fingerprints = {name: fingerprint(part, *vocabularies) for name, part in splits.items()}
    return {"counts": counts, "fingerprints": fingerprints}


def merge(first: Interactions, second: Interactions) -> Interactions:
    """Two splits as one, sorted by user and then by movie."""

    def joined(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(first, name), getattr(second, name)])

    timed = first.timestamp is not None and second.timestamp is not None
    order = np.lexsort((joined("item_index"), joined("user_index")))
    return Interactions(
        joined("user_index")[order],
        joined("item_index")[order],
        joined("rating")[order],
        joined("timestamp")[order] if timed else None,
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """Read and check the manifest of a Prepared directory.

    Raises:
        DataError: if it is missing, damaged, or of another format version.
    """
    remedy = "run `reelgraph prepare` again"
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path / MANIFEST}: expected a prepared directory's manifest, found {error}", remedy) from None
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise DataError(f"{path / MANIFEST}: expected kind {KIND!r}, found another", remedy)
    if manifest.get("version") != VERSION:
        raise DataError(f"{path}: expected format version {VERSION}, found {manifest.get('version')!r}", remedy)
    return manifest


def is_prepared(path: Path) -> bool:
    """Whether a path looks like a Prepared directory (its files are checked when it is loaded)."""
    return (path / MANIFEST).is_file() and (path / "ratings.parquet").exists()


def fingerprint(part: Interactions, users: Vocabulary, items: Vocabulary) -> str:
    """A short name for a set of ratings, independent of row order, of engine and of how ids are indexed.

    The sum and the exclusive or, modulo 2**64, of one mixed 64-bit word a row (raw ids by MD5, then rating and
    timestamp), as 32 hex digits.
    """
    words = _words(users)[part.user_index]
    words = _mix(words ^ np.uint64(0x9E3779B97F4A7C15)) + _words(items)[part.item_index]
    words = _mix(words) + part.rating.astype(np.float32).view(np.uint32)
    if part.timestamp is not None:
        words = _mix(words) + part.timestamp.view(np.uint64)
    words = _mix(words)
    total = int(words.sum(dtype=np.uint64)) if len(words) else 0
    folded = int(np.bitwise_xor.reduce(words)) if len(words) else 0
    return f"{total:016x}{folded:016x}"


def _words(vocabulary: Vocabulary) -> npt.NDArray[np.uint64]:
    digests = b"".join(
        hashlib.md5(name.encode(), usedforsecurity=False).digest()[:8] for name in vocabulary.ids.to_pylist()
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _mix(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    # The finaliser of splitmix64 (Steele, Lea and Flood, 2014): every input bit reaches every output bit.
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _read_table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path}: expected a Parquet file of a prepared directory, found {error}", "run `reelgraph prepare` again"
        ) from None


def _interactions(ratings: pa.Table, split: str) -> Interactions:
    rows = ratings.filter(pc.equal(ratings["split"], split))
    user_index = rows["user_index"].to_numpy().astype(np.int32)
    item_index = rows["item_index"].to_numpy().astype(np.int32)
    timestamp = None
    if ratings["timestamp"].null_count < ratings.num_rows:
        # A single rating without a timestamp in a file that has them counts as the oldest.
        timestamp = pc.fill_null(rows["timestamp"], 0).to_numpy().astype(np.int64)
    rating = rows["rating"].to_numpy().astype(np.float32)
    code = user_index.astype(np.int64) << 32 | item_index
    if (code[1:] >= code[:-1]).all():  # as preparation writes them
        return Interactions(user_index, item_index, rating, timestamp)
    order = np.argsort(code, kind="stable")
    return Interactions(
        user_index[order], item_index[order], rating[order], None if timestamp is None else timestamp[order]
    )

"""Dataset, the ratings, ids and tables of a prepared directory."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelgraph.arrays import Float32s, Indices, Int64s
from reelgraph.data.parquet_files import parts_of
from reelgraph.data.vocabulary import Vocabulary
from reelgraph.errors import DataError
from reelgraph.files import MANIFEST, read_whole, recover
from reelgraph.tabular import Tabular, html_table

KIND = "reelgraph-prepared"
VERSION = 1
SPLITS = ("train", "valid", "test")
_BLOCK = 1 << 17  # rows read at a time
LIKED = 0.8  # a rating of at least this share of the scale's highest makes a movie relevant
NO_TIME = np.iinfo(np.int64).min  # the timestamp of a rating without one


@dataclass(frozen=True)
class Interactions:
    """Ratings of one split, sorted by user and then by movie.

    Attributes:
        user_index: int32 of shape `(num_edges,)`.
        item_index: int32 of shape `(num_edges,)`.
        rating: float32 of shape `(num_edges,)`, in the data's own scale.
        timestamp: int64 of shape `(num_edges,)` in seconds since 1970, or None where the data has none.
    """

    user_index: Indices
    item_index: Indices
    rating: Float32s
    timestamp: Int64s | None

    def __len__(self) -> int:
        return len(self.rating)

    def take(self, rows: Any) -> "Interactions":
        """The ratings at a mask of shape `(num_edges,)`, at positions, or in a slice."""
        times = None if self.timestamp is None else self.timestamp[rows]
        return Interactions(self.user_index[rows], self.item_index[rows], self.rating[rows], times)


@dataclass(frozen=True, repr=False)
class Dataset(Tabular):
    """Prepared ratings: everything that training needs.

    Attributes:
        train, valid, test: the splits; valid and test may be empty.
        user_table, item_table: ids (`userId`, `movieId`) and side columns in index order.
        rejects: the rows that preparation refused, with row number, raw values and reason.
        scale: lowest and highest rating.
        manifest: the manifest of the prepared directory.
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

    def to_arrow(self) -> pa.Table:
        """All ratings: `userId`, `movieId`, `rating`, `timestamp` (seconds since 1970, or null) and `split`."""
        parts = []
        for name in SPLITS:
            split: Interactions = getattr(self, name)
            users, movies = (
                ids.ids.take(pa.array(index))
                for ids, index in ((self.users, split.user_index), (self.items, split.item_index))
            )
            times = pa.nulls(len(split), pa.int64()) if split.timestamp is None else pa.array(split.timestamp)
            columns = [users, movies, pa.array(split.rating), times, pa.repeat(name, len(split))]
            parts.append(pa.table(columns, names=["userId", "movieId", "rating", "timestamp", "split"]))
        return pa.concat_tables(parts)

    @property
    def _facts(self) -> dict[str, str]:
        splits = {name: len(getattr(self, name)) for name in SPLITS}
        low, high = self.scale
        counts = {"users": len(self.users), "movies": len(self.items), "ratings": sum(splits.values())}
        return {name: f"{count:,}" for name, count in counts.items()} | {
            "scale": "views, likes or counts" if self.implicit else f"{low:g} to {high:g}",
            f"split ({self.manifest['split']['kind']})": " / ".join(
                f"{size:,} {name}" for name, size in splits.items()
            ),
        }

    def __repr__(self) -> str:
        users, movies, ratings, scale, split = self._facts.values()
        return f"<Dataset: {users} users, {movies} movies, {ratings} ratings, {scale}; {split}>"

    def _repr_html_(self) -> str:
        return html_table("Dataset", ["", ""], list(self._facts.items()))

    @property
    def implicit(self) -> bool:
        """Whether these are views, likes or counts rather than ratings; all of them are then 1."""
        return self.manifest.get("implicit") is not None

    @property
    def liked(self) -> float:
        """The lowest rating that makes a movie relevant to its user."""
        return LIKED * self.scale[1]

    def raw_ids(self, pairs: Interactions) -> tuple[list[str], list[str]]:
        """The user ids and the movie ids of ratings."""
        user, item = pa.array(pairs.user_index), pa.array(pairs.item_index)
        return self.users.ids.take(user).to_pylist(), self.items.ids.take(item).to_pylist()


def load_prepared(path: Path) -> Dataset:
    """Read a prepared directory.

    Raises:
        DataError: if a file is missing or damaged, or the format version is unknown.
    """
    return read_whole(path, lambda: _load(path))


def _load(path: Path) -> Dataset:
    manifest = read_manifest(path)
    users, items = read_nodes(path)
    rejects = _read_table(path / "rejects.parquet")
    splits = _read_splits(path)
    pa.default_memory_pool().release_unused()  # Arrow would keep 40 bytes per rating.
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


def merge(first: Interactions, second: Interactions) -> Interactions:
    """Join two splits, sorted by user and then by movie."""

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
    """Read and check the manifest of a prepared directory."""
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
    """Whether a path looks like a prepared directory; loading it checks the files."""
    recover(path)
    return (path / MANIFEST).is_file() and (path / "ratings.parquet").exists()


def read_nodes(path: Path) -> tuple[pa.Table, pa.Table]:
    """Read the tables of users and movies of a prepared directory."""
    return _read_table(path / "users.parquet"), _read_table(path / "items.parquet")


def _read_table(path: Path) -> pa.Table:
    with _undamaged(path):
        return pq.read_table(path)


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path}: expected a Parquet file of a prepared directory, found {error}", "run `reelgraph prepare` again"
        ) from None


def stream_ratings(path: Path) -> Iterator[tuple[Interactions, npt.NDArray[np.int8]]]:
    """Yield the ratings of a prepared directory in blocks, with the position of each split in `SPLITS` (int8)."""
    file = path / "ratings.parquet"
    timed = _is_timed(file)
    for block in _blocks(file, "user_index", "item_index", "rating", "timestamp", "split"):
        user_index, item_index, rating = (block[name].to_numpy() for name in ("user_index", "item_index", "rating"))
        # A rating without a timestamp in a file that has timestamps counts as the oldest.
        times = pc.fill_null(block["timestamp"], 0).to_numpy() if timed else None
        yield Interactions(user_index, item_index, rating, times), _places(file, block["split"])


def _is_timed(file: Path) -> bool:
    return any(block["timestamp"].null_count < block.num_rows for block in _blocks(file, "timestamp"))


def _blocks(file: Path, *names: str) -> Iterator[pa.RecordBatch]:
    for part in parts_of(file):
        with _undamaged(part), pq.ParquetFile(part, read_dictionary=["split"]) as opened:
            yield from opened.iter_batches(batch_size=_BLOCK, columns=list(names))


def _places(file: Path, splits: pa.DictionaryArray) -> npt.NDArray[np.int8]:
    words = splits.dictionary.to_pylist()
    if not set(words) <= set(SPLITS):
        raise DataError(f"{file}: expected splits {', '.join(SPLITS)}, found {words}", "run `reelgraph prepare` again")
    places = np.asarray([SPLITS.index(word) for word in words], np.int8).take(splits.indices.to_numpy())
    return np.asarray(places, np.int8)


def _read_splits(path: Path) -> dict[str, Interactions]:
    """Read the splits into preallocated arrays, so that memory holds one block besides them."""
    file = path / "ratings.parquet"
    splits = (_places(file, block["split"]) for block in _blocks(file, "split"))
    sizes = sum((np.bincount(part, minlength=len(SPLITS)) for part in splits), np.zeros(len(SPLITS), np.int64))
    timed = _is_timed(file)
    parts = [
        Interactions(
            np.empty(size, np.int32),
            np.empty(size, np.int32),
            np.empty(size, np.float32),
            np.empty(size, np.int64) if timed else None,
        )
        for size in sizes.tolist()
    ]
    filled = [0] * len(SPLITS)
    for block, places in stream_ratings(path):
        for place, part in enumerate(parts):
            chosen = block.take(np.flatnonzero(places == place))
            there = slice(filled[place], filled[place] + len(chosen))
            for name in ("user_index", "item_index", "rating", *(["timestamp"] if timed else [])):
                getattr(part, name)[there] = getattr(chosen, name)
            filled[place] += len(chosen)
    return {name: _in_order(part) for name, part in zip(SPLITS, parts, strict=True)}


def _in_order(part: Interactions) -> Interactions:
    for low in range(0, len(part), _BLOCK):
        users, items = part.user_index[low : low + _BLOCK + 1], part.item_index[low : low + _BLOCK + 1]
        behind = (users[1:] < users[:-1]) | ((users[1:] == users[:-1]) & (items[1:] < items[:-1]))
        if behind.any():  # preparation did not write this file
            return part.take(np.lexsort((part.item_index, part.user_index)))
    return part

"""Parquet files and directories of them, as Spark and others write tables; columns as the text they stand for."""

import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelgraph.data.text_files import check_file, check_names
from reelgraph.errors import DataError

Item = TypeVar("Item")

_ROWS = 1 << 20  # in a batch

_ENDINGS = {".parquet", ".pq"}


def is_parquet(path: Path) -> bool:
    """Whether a path is meant to be Parquet: by its ending, or as a directory with such files in it."""
    return path.suffix.lower() in _ENDINGS or (path.is_dir() and bool(parts_of(path)))


def parts_of(path: Path) -> list[Path]:
    """The files of a table: itself, or a directory's Parquet files in order of their names, hidden ones aside."""
    if not path.is_dir():
        return [path]
    files = (file for file in path.iterdir() if file.suffix.lower() in _ENDINGS and file.name[0] not in "._")
    return sorted(file for file in files if file.is_file())


def schemas_of(path: Path) -> list[pa.Schema]:
    """The schema of each part, at least one.

    Raises:
        DataError: if there is no part, one is damaged, two columns have one name, or parts differ in their columns.
    """
    schemas: list[pa.Schema] = []
    for part in parts_of(path):
        check_file(part)
        with _unharmed(part):
            schemas.append(pq.read_schema(part))
        names, first = schemas[-1].names, schemas[0].names
        check_names(part, names)
        if set(names) != set(first):
            raise DataError(
                f"{part}: expected the columns of the files beside it ({', '.join(first)}), found {', '.join(names)}",
                "name the file itself, or keep other tables elsewhere",
            )
    if not schemas:
        raise DataError(f"{path}: expected Parquet files in the directory, found none", "check how it was written")
    return schemas


def batches_of(path: Path, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Stream some columns of a table, part after part, at most a million rows at a time.

    Raises:
        DataError: if a part is damaged.
    """
    for part in parts_of(path):
        with _unharmed(part), pq.ParquetFile(part) as file:
            yield from file.iter_batches(batch_size=_ROWS, columns=list(names))


def read_parquet(path: Path) -> pa.Table:
    """A whole Parquet file or directory, every column as text.

    Raises:
        DataError: as `schemas_of` says.
    """
    names = schemas_of(path)[0].names
    batches = list(batches_of(path, names))
    columns = []
    for name in names:
        with _unharmed(path):
            columns.append(pa.chunked_array([as_text(batch[name]) for batch in batches], pa.string()))
    return pa.Table.from_arrays(columns, names=names)


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, the next one made in a second thread while one is in use."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


@contextmanager
def _unharmed(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: expected a Parquet file, found a damaged one ({error})", "write it again") from None


def as_text(column: pa.Array) -> pa.Array:
    """A typed Parquet column as strings: whole floats as integers, UUIDs in their usual form, times as seconds.

    A list, such as of genres, becomes its members with "|" between them.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        column, kind = column.storage, column.storage.type
    if pa.types.is_dictionary(kind):
        return as_text(column.dictionary).take(column.indices)
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16:
        return pa.array(
            [None if cell is None else str(uuid.UUID(bytes=cell)) for cell in column.to_pylist()], pa.string()
        )
    if is_time(kind):
        return pc.cast(as_seconds(column), pa.string())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pc.cast(pc.binary_join(pc.cast(column, pa.list_(pa.string())), "|"), pa.string())
    if pa.types.is_floating(kind):
        return _float_text(column)
    return pc.cast(column, pa.string())


def as_words(column: pa.Array) -> pa.Array:
    """The text of a column of numbers or text; where cells repeat, a dictionary array that holds each text once."""
    kind = column.type
    repeats = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_dictionary(kind)
    if not repeats:
        return as_text(column)
    encoded = column if pa.types.is_dictionary(kind) else column.dictionary_encode()
    words = as_text(encoded.dictionary)
    indices = pc.cast(encoded.indices, pa.int32())
    return pa.DictionaryArray.from_arrays(indices, words)


def is_time(kind: pa.DataType) -> bool:
    """Whether a type says that its cells are points in time."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def as_seconds(column: pa.Array) -> pa.Array:
    """Points in time as whole seconds since 1970, int64."""
    # By flooring: a cast would refuse fractions, or cut them towards zero.
    times = column if pa.types.is_timestamp(column.type) else pc.cast(column, pa.timestamp("ms"))
    whole = pc.cast(pc.floor_temporal(times, unit="second"), pa.timestamp("s", times.type.tz))
    return pc.cast(whole, pa.int64())


def _float_text(column: pa.Array) -> pa.Array:
    """Whole numbers as integers, as they were before a missing cell made pandas store the column as floats."""
    wide = pc.cast(column, pa.float64())
    whole = pc.and_(pc.is_finite(wide), pc.less(pc.abs(wide), 2.0**53))
    whole = pc.and_(whole, pc.equal(wide, pc.floor(wide)))
    integers = pc.cast(pc.cast(pc.if_else(whole, wide, 0.0), pa.int64()), pa.string())
    return pc.if_else(whole, integers, pc.cast(column, pa.string()))

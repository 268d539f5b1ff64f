"""Parquet files and directories of them, with typed columns as text."""

import json
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelgraph.data.rows import Block
from reelgraph.data.stored_files import archive_of, check_file, open_stored
from reelgraph.data.text_files import check_names
from reelgraph.errors import DataError

Item = TypeVar("Item")
_ROWS = 1 << 20  # in a batch
_ENDINGS = {".parquet", ".pq"}


def flattened(table: pa.Table) -> pa.Table:
    """A table with a column for each member of a struct, whose name is joined to that of the struct by a dot."""
    while any(pa.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    return table


def is_parquet(path: Path) -> bool:
    """Whether a path is a Parquet file by its ending, or a directory with such files."""
    return path.suffix.lower() in _ENDINGS or (path.is_dir() and bool(parts_of(path)))


def parts_of(path: Path) -> list[Path]:
    """The file itself, or the visible Parquet files of a directory in order of their names."""
    if not path.is_dir():
        return [path]
    files = (file for file in path.iterdir() if file.suffix.lower() in _ENDINGS and file.name[0] not in "._")
    return sorted(file for file in files if file.is_file())


def schemas_of(path: Path) -> list[pa.Schema]:
    """The schema of each part; all parts have the same columns, whose types may differ."""
    schemas: list[pa.Schema] = []
    for part in parts_of(path):
        check_file(part)
        with _damage_reported(part):
            schemas.append(flattened(pq.read_schema(_file_or_bytes(part)).empty_table()).schema)
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
    """Stream some columns of a table with their types, at most a million rows at a time."""
    for part in parts_of(path):
        with _damage_reported(part), pq.ParquetFile(_file_or_bytes(part)) as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=list(names)):
                nested = any(pa.types.is_struct(kind) for kind in batch.schema.types)
                yield flattened(pa.table(batch)).to_batches()[0] if nested and batch.num_rows else batch


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Compute the next item in a second thread while the current one is in use."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file or directory as a table of text cells; see `table_files.Table`."""

    path: Path
    files: tuple[Path, ...]
    format: str = "parquet"
    encoding: str = "utf-8"
    rows: tuple[tuple[str, ...], ...] = ()
    header: int = 1

    @property
    def parts(self) -> Sequence[Path]:
        """The files."""
        return [part for file in self.files for part in parts_of(file)]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(schemas_of(self.files[0])[0].names)

    def blocks(self, names: Sequence[str], wanted: Sequence[str], header: int) -> Iterator[Block]:  # noqa: ARG002
        """Read columns as text; see `TextTable.blocks`."""
        first = 1
        for batch in batches_of(self.files[0], list(dict.fromkeys(wanted))):
            with _damage_reported(self.path):
                columns = [pc.cast(as_text(batch[name]), pa.string()) for name in wanted]
            cells = pa.RecordBatch.from_arrays(columns, list(wanted))
            yield Block(cells, np.arange(first, first + batch.num_rows))
            first += batch.num_rows


def _file_or_bytes(part: Path) -> Any:
    if archive_of(part) is None:
        return part
    with open_stored(part) as stream:
        return pa.BufferReader(stream.read())


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: expected a Parquet file, found a damaged one ({error})", "write it again") from None


def as_text(column: pa.Array) -> pa.Array:
    """A typed column as strings: whole floats as integers, UUIDs in hex, times as seconds, lists in JSON."""
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
    if pa.types.is_nested(kind):
        texts = (
            None if cell is None else json.dumps(cell, ensure_ascii=False, default=str) for cell in column.to_pylist()
        )
        return pa.array(texts, pa.string())
    if pa.types.is_floating(kind):
        return _float_text(column)
    try:
        return pc.cast(column, pa.string())
    except pa.ArrowException as error:
        raise DataError(f"expected a column of text, numbers or times, found {kind} ({error})", "convert it") from None


def as_words(column: pa.Array) -> pa.Array:
    """A column as text; as a dictionary array where values repeat, so that each is converted once."""
    kind = column.type
    repeats = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_dictionary(kind)
    if not repeats:
        return as_text(column)
    encoded = column if pa.types.is_dictionary(kind) else column.dictionary_encode()
    words = as_text(encoded.dictionary)
    indices = pc.cast(encoded.indices, pa.int32())
    return pa.DictionaryArray.from_arrays(indices, words)


def is_time(kind: pa.DataType) -> bool:
    """Whether a type is a date or timestamp."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def as_seconds(column: pa.Array) -> pa.Array:
    """Dates and timestamps as whole seconds since 1970, int64."""
    # Floored, because a cast would refuse fractions or truncate them towards zero.
    times = column if pa.types.is_timestamp(column.type) else pc.cast(column, pa.timestamp("ms"))
    whole = pc.cast(pc.floor_temporal(times, unit="second"), pa.timestamp("s", times.type.tz))
    return pc.cast(whole, pa.int64())


def _float_text(column: pa.Array) -> pa.Array:
    """Whole floats as integers: pandas stores a column of integers with a missing cell as floats."""
    wide = pc.cast(column, pa.float64())
    whole = pc.and_(pc.is_finite(wide), pc.less(pc.abs(wide), 2.0**53))
    whole = pc.and_(whole, pc.equal(wide, pc.floor(wide)))
    integers = pc.cast(pc.cast(pc.if_else(whole, wide, 0.0), pa.int64()), pa.string())
    return pc.if_else(whole, integers, pc.cast(column, pa.string()))

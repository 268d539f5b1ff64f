"""Copies ratings files of any format into Parquet files of one schema, which both engines read alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelgraph.data import times
from reelgraph.data.parquet_files import ParquetTable, ahead, as_text, as_words, batches_of, is_time, schemas_of
from reelgraph.data.sources import CANONICAL, NEEDED, PAIR, Columns, choose_columns, read_columns
from reelgraph.data.stored_files import sha256_of, size_of
from reelgraph.data.table_files import Table, open_table
from reelgraph.data.vocabulary import spell_ids

_WORDS = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True)
class Staged:
    """A staged file: its size, format, and the columns chosen."""

    name: str
    bytes: int
    sha256: str
    form: str
    header: bool
    encoding: str
    columns: Mapping[str, str]
    id_types: Mapping[str, str]
    time_unit: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        """One line for the terminal."""
        roles = ", ".join(f"{role} = {column}" for role, column in self.columns.items())
        heading = "" if self.form == "parquet" else f"{', header' if self.header else ', no header'}, {self.encoding}"
        times = f", times in {self.time_unit}" if self.time_unit else ""
        return f"{self.name}: {self.form}{heading}; {roles}{times}"


def stage_ratings(
    path: Path, columns: Mapping[str, str], out: Path, name: str, *, matrix: bool = False, implicit: bool = False
) -> Staged:
    """Copy ratings into Parquet with numbered rows, canonical ids and parsed times.

    The columns are `row` (int64, from 1), `userId`, `movieId` and `rating` (text; a missing id is null or a null
    marker), `number`, `moment` and `time_text` (see `times.Times`), and `raw` and `malformed` for rows that cannot be
    split into cells.

    Args:
        path: a file, directory or archive; see `open_table`.
        columns: column names, or positions from 1 in a file without a header, by role; the others are inferred.
        out: the Parquet file to write.
        name: what the file is called in messages.
        matrix: whether the file has a row for each user and a column for each item.
        implicit: whether ratings are counts; a row of a file without a column of counts counts as 1.
    """
    table = open_table(path, matrix=matrix)
    chosen = choose_columns(table, columns, PAIR if implicit else NEEDED)
    id_types = {"user": "string", "item": "string"}
    if isinstance(table, ParquetTable):
        schemas = schemas_of(table.files[0])
        kinds = _parquet_kinds(schemas, chosen)
        unit = _write(out, _schema(kinds), _parquet_cells(table.files[0], chosen))
        id_types = {role: str(schemas[0].field(chosen.roles[role]).type) for role in id_types}
    else:
        unit = _write(out, _schema(dict.fromkeys(chosen.roles, pa.string())), _text_cells(table, chosen))
    size, checksum, header = sum(map(size_of, table.parts)), sha256_of(table.parts), bool(chosen.header)
    return Staged(name, size, checksum, table.format, header, table.encoding, dict(chosen.roles), id_types, unit)


def _schema(kinds: Mapping[str, pa.DataType]) -> pa.Schema:
    """The schema of a staged file, from the types of its ids and ratings by role."""
    cells = [(CANONICAL[role], kinds.get(role, pa.string())) for role in NEEDED]
    moments = [("number", pa.int64()), ("moment", pa.int64()), ("time_text", pa.string())]
    return pa.schema([("row", pa.int64()), *cells, *moments, ("raw", pa.string()), ("malformed", pa.string())])


def _parquet_kinds(schemas: Sequence[pa.Schema], chosen: Columns) -> dict[str, pa.DataType]:
    """Types of the staged columns by role: dictionaries for numbers, text for the rest."""
    kinds = {}
    for role in (role for role in NEEDED if role in chosen.roles):
        types = [schema.field(chosen.roles[role]).type for schema in schemas]
        numbers = all(_is_whole(kind) or pa.types.is_floating(kind) for kind in types)
        kinds[role] = _WORDS if numbers else pa.string()
    return kinds


def _is_time(kind: pa.DataType) -> bool:
    """Whether a column of times needs no text."""
    return _is_whole(kind) or is_time(kind)


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_null(kind) or (pa.types.is_integer(kind) and kind != pa.uint64()))


def _parquet_cells(path: Path, chosen: Columns) -> Iterator[dict[str, pa.Array]]:
    first = 1
    for batch in batches_of(path, list(dict.fromkeys(chosen.roles.values()))):
        cells = {"row": pa.array(np.arange(first, first + batch.num_rows))}
        first += batch.num_rows
        for role, name in chosen.roles.items():
            if role == "timestamp":
                cells["timestamp"] = batch[name] if _is_time(batch[name].type) else as_text(batch[name])
            else:
                cells[CANONICAL[role]] = _words(batch[name], is_id=role in ("user", "item"))
        yield cells


def _words(column: pa.Array, *, is_id: bool) -> pa.Array:
    words = as_words(column)
    if not pa.types.is_dictionary(words.type):
        return words
    texts = words.dictionary
    if is_id and pa.types.is_floating(column.type):
        # pandas stores a column of integers with a missing cell as floats, and the missing id as NaN.
        texts = pc.if_else(pc.equal(texts, "nan"), None, texts)
    # Parquet allows no null in a dictionary.
    return words if not texts.null_count else texts.take(words.indices).dictionary_encode()


def _text_cells(table: Table, chosen: Columns) -> Iterator[dict[str, pa.Array]]:
    """The cells of each block, malformed rows after the others."""
    wanted = list(dict.fromkeys(chosen.roles.values()))
    for block in read_columns(table, chosen, wanted):
        cells = {CANONICAL[role]: block.cells[name] for role, name in chosen.roles.items()}
        yield {"row": pa.array(block.rows)} | cells
        if block.malformed:
            yield {
                "row": pa.array([row.row for row in block.malformed], pa.int64()),
                "raw": pa.array([row.text for row in block.malformed], pa.string()),
                "malformed": pa.array([row.reason for row in block.malformed], pa.string()),
            }


def _write(out: Path, form: pa.Schema, parts: Iterator[dict[str, pa.Array]]) -> str | None:
    """Write the staged file; returns the unit of its times."""
    # Row numbers compress best as differences; times rarely repeat, so a dictionary would not pay.
    words, units = [CANONICAL[role] for role in NEEDED], np.zeros(len(times.UNITS), np.int64)
    with pq.ParquetWriter(
        out, form, use_dictionary=words, column_encoding={"row": "DELTA_BINARY_PACKED"}, store_schema=False
    ) as writer:
        for cells in ahead(parts):
            count = len(cells["row"])
            ids = {name: spell_ids(cells[name]) for name in ("userId", "movieId") if name in cells}
            moments = times.parse_times(cells.get("timestamp", pa.nulls(count)))
            units += times.count_units(moments.number)
            ones = {} if "malformed" in cells else {"rating": pa.repeat("1", count)}  # for views without counts
            checked = ones | cells | ids | moments._asdict()
            columns = [checked.get(field.name, pa.nulls(count, field.type)) for field in form]
            typed = [pc.cast(column, field.type) for column, field in zip(columns, form, strict=True)]
            writer.write_batch(pa.RecordBatch.from_arrays(typed, schema=form))
    return times.unit_of(units)

"""Ratings files of any form copied into Parquet of one form, which every engine reads alike."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelgraph.data.parquet_files import (
    ahead,
    as_seconds,
    as_words,
    batches_of,
    is_parquet,
    is_time,
    parts_of,
    schemas_of,
)
from reelgraph.data.sources import CANONICAL, NEEDED, Columns, choose_columns, roles_of
from reelgraph.data.text_files import SEPARATOR_NAMES, Malformed, layout_of, read_text

_WORDS = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True)
class Staged:
    """What was found in a staged file; JSON values but for the path."""

    name: str
    bytes: int
    sha256: str
    form: str
    header: bool
    encoding: str
    columns: Mapping[str, str]
    id_types: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        """One line for the terminal."""
        roles = ", ".join(f"{role} = {column}" for role, column in self.columns.items())
        heading = "" if self.form == "parquet" else f"{', header' if self.header else ', no header'}, {self.encoding}"
        return f"{self.name}: {self.form}{heading}; {roles}"


def stage_ratings(path: Path, columns: Mapping[str, str], out: Path, name: str) -> Staged:
    """Stream ratings into Parquet: rows numbered, every cell as text; only times may be whole numbers.

    The columns are `row` (int64, from 1), those of `CANONICAL`, `raw` and `malformed`. Where the times are integers or
    points in time, or there are none, `timestamp` is an int64, as text would have to be read again row by row.

    Args:
        path: CSV, TSV, `::`-separated, Parquet, or a directory of Parquet files.
        columns: column names, or positions from 1 in a file without a header, by role; the others are inferred.
        out: the Parquet file to write.
        name: what the file is called in messages.

    Raises:
        DataError: if the file cannot be read or a column is missing.
        ConfigError: if `columns` names a role or a column that is not there.
    """
    if is_parquet(path):
        schemas = schemas_of(path)
        names = tuple(schemas[0].names)
        chosen = Columns(names, roles_of(path, names, columns, NEEDED), 1)
        kinds = _parquet_kinds(schemas, chosen)
        _write(out, _form(kinds), _parquet_cells(path, chosen, kinds))
        id_types = {role: str(schemas[0].field(chosen.roles[role]).type) for role in ("user", "item")}
        form, header, encoding = "parquet", True, "utf-8"
    else:
        layout = layout_of(path)
        chosen = choose_columns(path, layout, columns, NEEDED)
        malformed: list[Malformed] = []
        texts = read_text(path, layout, chosen.names, list(chosen.roles.values()), chosen.header, malformed.append)
        _write(out, _form(dict.fromkeys(chosen.roles, pa.string())), _text_cells(texts, chosen, malformed))
        id_types = {"user": "string", "item": "string"}
        form = "::" if layout.separator == "::" else f"{SEPARATOR_NAMES[layout.separator]}-separated"
        header, encoding = bool(chosen.header), layout.encoding
    size = sum(part.stat().st_size for part in parts_of(path))
    return Staged(name, size, _sha256(parts_of(path)), form, header, encoding, dict(chosen.roles), id_types)


def _form(kinds: Mapping[str, pa.DataType]) -> pa.Schema:
    """The schema of a staged file, by the types of its columns' cells; a column that is not there is all null."""
    absent = {"timestamp": pa.int64()}
    cells = [(CANONICAL[role], kinds.get(role, absent.get(role, pa.string()))) for role in CANONICAL]
    return pa.schema([("row", pa.int64()), *cells, ("raw", pa.string()), ("malformed", pa.string())])


def _parquet_kinds(schemas: Sequence[pa.Schema], chosen: Columns) -> dict[str, pa.DataType]:
    """By role: words that stand once each where cells may repeat, whole numbers where times are such, else text."""
    kinds = {}
    for role, name in chosen.roles.items():
        found = [schema.field(name).type for schema in schemas]
        if role == "timestamp" and all(_is_whole(kind) or is_time(kind) for kind in found):
            kinds[role] = pa.int64()
        else:
            numbers = all(_is_whole(kind) or pa.types.is_floating(kind) for kind in found)
            kinds[role] = _WORDS if numbers else pa.string()
    return kinds


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_null(kind) or (pa.types.is_integer(kind) and kind != pa.uint64()))


def _parquet_cells(path: Path, chosen: Columns, kinds: Mapping[str, pa.DataType]) -> Iterator[dict[str, pa.Array]]:
    first = 1
    for batch in batches_of(path, list(dict.fromkeys(chosen.roles.values()))):
        cells = {"row": pa.array(np.arange(first, first + batch.num_rows))}
        first += batch.num_rows
        for role, name in chosen.roles.items():
            if kinds[role] == pa.int64():
                cells[CANONICAL[role]] = as_seconds(batch[name]) if is_time(batch[name].type) else batch[name]
            else:
                cells[CANONICAL[role]] = _words(batch[name], is_id=role in ("user", "item"))
        yield cells


def _words(column: pa.Array, *, is_id: bool) -> pa.Array:
    words = as_words(column)
    if not pa.types.is_dictionary(words.type):
        return words
    texts = words.dictionary
    if is_id and pa.types.is_floating(column.type):
        # pandas turns a column of whole ids with a gap into floats: its NaN is no id but a missing one.
        texts = pc.if_else(pc.equal(texts, "nan"), None, texts)
    # Parquet takes no null among the words, only among the cells.
    return words if not texts.null_count else texts.take(words.indices).dictionary_encode()


def _text_cells(
    batches: Iterator[pa.RecordBatch], chosen: Columns, malformed: list[Malformed]
) -> Iterator[dict[str, pa.Array]]:
    """The cells of the rows, and last the malformed rows, which `batches` adds to the list as it goes."""
    first, waiting = 1, 0
    for batch in batches:
        # A batch's rows are numbered past the malformed ones, which were reported before it came.
        while waiting < len(malformed) and malformed[waiting].row < first:
            waiting += 1
        rows = _numbers(first, batch.num_rows, [line.row for line in malformed[waiting:]])
        first = int(rows[-1]) + 1 if len(rows) else first
        yield {"row": pa.array(rows)} | {CANONICAL[role]: batch[name] for role, name in chosen.roles.items()}
    yield {
        "row": pa.array([line.row for line in malformed], pa.int64()),
        "raw": pa.array([line.text for line in malformed], pa.string()),
        "malformed": pa.array(
            [f"expected {len(chosen.names)} cells, found {line.found}" for line in malformed], pa.string()
        ),
    }


def _numbers(first: int, length: int, refused: Sequence[int]) -> Any:
    """`length` row numbers from `first` on that are none of the refused ones, int64."""
    numbers = np.arange(first, first + length + len(refused))
    return numbers[np.isin(numbers, refused, invert=True)][:length] if refused else numbers


def _write(out: Path, form: pa.Schema, parts: Iterator[dict[str, pa.Array]]) -> None:
    # Row numbers shrink to nothing as differences; what seldom repeats is not worth a dictionary.
    words = [name for name in CANONICAL.values() if name != "timestamp"]
    with pq.ParquetWriter(
        out, form, use_dictionary=words, column_encoding={"row": "DELTA_BINARY_PACKED"}, store_schema=False
    ) as writer:
        for cells in ahead(parts):
            count = len(cells["row"])
            columns = [cells.get(field.name, pa.nulls(count, field.type)) for field in form]
            typed = [pc.cast(column, field.type) for column, field in zip(columns, form, strict=True)]
            writer.write_batch(pa.RecordBatch.from_arrays(typed, schema=form))


def _sha256(parts: Sequence[Path]) -> str:
    """The checksum of a file, or of a directory's files one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()

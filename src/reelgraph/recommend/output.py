"""Predictions as CSV, everyone's lists as Parquet."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reelgraph.arrays import Float32s
from reelgraph.data.pair_files import Rows
from reelgraph.data.sources import CANONICAL
from reelgraph.files import new_file

GROUP_ROWS = 1 << 17  # of a file of lists are written at a time


def write_predictions(rows: Rows, found: Mapping[str, Float32s], path: Path) -> None:
    """The rows as CSV, with what was found for them, such as `prediction`, in the last columns."""
    kept = rows.table.drop_columns([name for name in found if name in rows.table.column_names])
    columns = [column.to_pylist() for column in kept.columns]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*kept.column_names, *found])
        texts = [[f"{stars:.6g}" for stars in numbers.tolist()] for numbers in found.values()]
        writer.writerows(zip(*columns, *texts, strict=True))


def write_lists(lists: Iterable[pa.Table], id_types: Mapping[str, str], path: Path) -> int:
    """Everyone's lists as Parquet, ids in the type they came in; returns the number of rows.

    Raises:
        OutputError: if the file cannot be written; it is then as it was before.
    """
    count = 0
    with new_file(path) as temporary, ExitStack() as stack:
        writer = None
        for table in _grouped(lists):
            for role in ("user", "item"):
                place = table.column_names.index(CANONICAL[role])
                cells = as_type(table[CANONICAL[role]], id_types.get(role, "string"))
                table = table.set_column(place, CANONICAL[role], cells)  # noqa: PLW2901 (the same table, retyped)
            writer = writer or stack.enter_context(pq.ParquetWriter(temporary, table.schema, compression="zstd"))
            writer.write_table(table)
            count += table.num_rows
    return count


def _grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables joined until they are worth a row group of a Parquet file."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(part.num_rows for part in waiting) >= GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def as_type(ids: pa.ChunkedArray, name: str) -> Any:
    """Ids as text in the Arrow type they had in the file they came from, where that is a number; text otherwise."""
    numbers = {str(kind): kind for kind in (*_integers(), pa.float32(), pa.float64())}
    return ids.cast(numbers[name]) if name in numbers else ids


def _integers() -> tuple[pa.DataType, ...]:
    return (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())

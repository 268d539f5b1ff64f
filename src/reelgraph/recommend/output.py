"""Output files: predictions as CSV, lists of all users as Parquet."""

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

GROUP_ROWS = 1 << 17  # rows per row group of a Parquet file


def write_predictions(rows: Rows, results: Mapping[str, Float32s], path: Path) -> None:
    """Write the rows as CSV, followed by the result columns, such as `prediction`."""
    kept = rows.table.drop_columns([name for name in results if name in rows.table.column_names])
    columns = [column.to_pylist() for column in kept.columns]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*kept.column_names, *results])
        texts = [[f"{number:.6g}" for number in column.tolist()] for column in results.values()]
        writer.writerows(zip(*columns, *texts, strict=True))


def write_lists(lists: Iterable[pa.Table], id_types: Mapping[str, str], path: Path) -> int:
    """Write lists as Parquet, with ids in the Arrow types `id_types` of the source; returns the number of rows."""
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
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(part.num_rows for part in waiting) >= GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def as_type(ids: pa.ChunkedArray, name: str) -> Any:
    """Cast ids from text to a numeric Arrow type by its name; other types stay text."""
    integers = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
    numeric = {str(kind): kind for kind in (*integers, pa.float32(), pa.float64())}
    return ids.cast(numeric[name]) if name in numeric else ids

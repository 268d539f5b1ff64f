"""DataFrames, Arrow tables and lists of Python values as Arrow tables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelgraph.data.text_files import check_names
from reelgraph.errors import DataError

TableLike = Any  # a path as text or Path, a DataFrame, a mapping of columns, or a sequence of tuples or dicts

_INDEX = "__index_level_"  # how pandas names an index without a name


def is_frame(value: object) -> bool:
    """Whether a value is a DataFrame or table: pandas, polars, Arrow, DuckDB, Spark, or a mapping of columns."""
    if isinstance(value, type):
        return False
    if any(hasattr(value, name) for name in ("__arrow_c_stream__", "__dataframe__", "toArrow", "sink_parquet")):
        return not _is_series(value)
    if _fields(value):
        return True
    return isinstance(value, Mapping) and bool(value) and all(_is_column(column) for column in value.values())


def is_row(value: object) -> bool:
    """Whether an element of a list is a row rather than a single cell."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def as_arrow(value: object, names: Sequence[str], what: str) -> pa.Table:
    """A DataFrame, a mapping of columns, or a sequence of tuples or dicts as an Arrow table.

    Args:
        value: the rows.
        names: names for the cells of tuples, in order; trailing ones may be missing.
        what: the name of the argument, for messages.

    Raises:
        DataError: if the value is no table.
    """
    if is_frame(value):
        table = _frame(value, what)
        table = table.drop_columns([name for name in table.column_names if name.startswith(_INDEX)])
        check_names(Path(what), table.column_names)
        return pa.table([_storable(column) for column in table.columns], names=table.column_names)
    if isinstance(value, str | bytes | Path | Mapping) or not isinstance(value, Iterable):
        raise _no_table(what, type(value).__name__)
    try:
        rows = list(value)
    except TypeError:  # such as a sparse matrix
        raise _no_table(what, type(value).__name__) from None
    return _rows(rows, names, what)


def write_frame(value: object, names: Sequence[str], what: str, folder: Path) -> Path:
    """A table as a Parquet file in a folder, which is read like any other file."""
    path = folder / f"{what}.parquet"
    pq.write_table(as_arrow(value, names, what), path, compression="none")
    return path


def _is_series(value: object) -> bool:
    return hasattr(value, "to_frame") and not hasattr(value, "columns")


def _fields(value: object) -> tuple[str, ...]:
    """The names of the fields of a structured numpy array; empty for anything else."""
    return getattr(getattr(value, "dtype", None), "names", None) or ()


def _storable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column in a type that Parquet has: run-end encoded values and texts of polars' categories are written out."""
    if pa.types.is_run_end_encoded(column.type):
        return pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], column.type.value_type)
    if pa.types.is_dictionary(column.type) and pa.types.is_string_view(column.type.value_type):
        texts = [pc.cast(chunk.dictionary, pa.string()).take(chunk.indices) for chunk in column.chunks]
        return pa.chunked_array(texts, pa.string())
    return column


def _is_column(value: object) -> bool:
    return isinstance(value, list | tuple) or hasattr(value, "__array__") or hasattr(value, "__arrow_c_array__")


def _frame(value: Any, what: str) -> pa.Table:
    try:
        if isinstance(value, pa.Table):
            return value
        if hasattr(value, "sink_parquet"):  # lazy, of polars
            value = value.collect()
        value = {name: value[name] for name in _fields(value)} or value
        if isinstance(value, Mapping):
            return pa.table({str(name): _column(list(column)) for name, column in value.items()})
        if hasattr(value, "toArrow"):  # PySpark
            return value.toArrow()
        if hasattr(value, "__arrow_c_stream__"):
            return pa.table(value)
        return pa.interchange.from_dataframe(value)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        # A pandas column of mixed Python objects has no Arrow type; as text it has one.
        if hasattr(value, "columns") and hasattr(value, "dtypes"):
            check_names(Path(what), [str(name) for name in value.columns])
            return pa.table({str(name): _column(value[name].tolist()) for name in value.columns})
        raise DataError(f"{what}: expected a table, found {error}", "pass columns of equal length") from None


def _rows(rows: list[Any], names: Sequence[str], what: str) -> pa.Table:
    if rows and all(isinstance(row, Mapping) for row in rows):
        columns = dict.fromkeys(str(name) for row in rows for name in row)
        return pa.table({name: _column([row.get(name) for row in rows]) for name in columns})
    widths = set()
    for number, row in enumerate(rows, start=1):
        if isinstance(row, str | bytes | Mapping) or not isinstance(row, Iterable):
            raise DataError(
                f"{what}: expected tuples of {', '.join(names)}, found {row!r:.60} in row {number:,}",
                "pass a DataFrame or a list of tuples",
            )
        widths.add(len(tuple(row)))
    if len(widths) > 1 or (widths and not 1 <= max(widths) <= len(names)):
        raise DataError(
            f"{what}: expected tuples of {', '.join(names)}, found {' and '.join(map(str, sorted(widths)))} cells",
            "pass tuples of one length",
        )
    chosen = names[: max(widths)] if widths else names
    cells = list(zip(*rows, strict=True)) or [()] * len(chosen)
    return pa.table({name: _column(list(column)) for name, column in zip(chosen, cells, strict=True)})


def _column(cells: list[Any]) -> pa.Array:
    """Python values as an Arrow column; values of several types, or of none that Arrow knows, as their text."""
    try:
        return pa.array(cells, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.array([None if _is_missing(cell) else str(cell) for cell in cells], pa.string())


def _is_missing(cell: Any) -> bool:
    is_nan = isinstance(cell, float) and math.isnan(cell)
    return cell is None or is_nan or type(cell).__name__ in ("NaTType", "NAType")  # of pandas


def _no_table(what: str, kind: str) -> DataError:
    return DataError(f"{what}: expected a file, a DataFrame or a list of tuples, found {kind}", "pass one of them")

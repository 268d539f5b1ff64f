"""Files of a trained model's daily work: pairs to predict, ratings to judge by, a visitor's ratings, lists."""

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from reelgraph.atomic import new_file
from reelgraph.data.checks import DATE, MILLISECONDS, SECONDS_LIMIT
from reelgraph.data.dataset import NO_TIME
from reelgraph.data.parquet import is_parquet, read_parquet
from reelgraph.data.sources import CANONICAL, NEEDED, NUMBER, choose_columns, roles_of
from reelgraph.data.textfile import Malformed, layout_of, read_text
from reelgraph.errors import DataError

GROUP_ROWS = 1 << 17  # of a file of lists are written at a time
_FINITE = re.compile(NUMBER)


@dataclass(frozen=True)
class Rows:
    """A file's rows.

    Attributes:
        path: the file.
        table: every column as text, in the file's order, named as the file names them.
        columns: column name by role.
    """

    path: Path
    table: pa.Table
    columns: Mapping[str, str]

    @property
    def user_ids(self) -> list[str]:
        """User ids, one a row."""
        return self._ids("user")

    @property
    def movie_ids(self) -> list[str]:
        """Movie ids, one a row."""
        return self._ids("item")

    def _ids(self, role: str) -> list[str]:
        ids: list[str] = self.table[self.columns[role]].to_pylist()
        empty = next((row for row, cell in enumerate(ids, start=1) if cell is None), None)
        if empty is not None:
            raise DataError(
                f"{self.path}: expected a {CANONICAL[role]} in every row, found none in row {empty:,}",
                "fill it in or remove the row",
            )
        return ids

    @property
    def rating(self) -> npt.NDArray[np.float64]:
        """Ratings, float64 of shape `(num_rows,)`.

        Raises:
            DataError: if one is missing or not a finite number, naming its row.
        """
        cells = self.table[self.columns["rating"]].to_pylist()
        for row, cell in enumerate(cells, start=1):
            if cell is None or not _FINITE.fullmatch(cell.strip()) or not np.isfinite(float(cell)):
                raise DataError(
                    f"{self.path}: expected a number as rating, found {cell!r} in row {row:,}", "correct or remove it"
                )
        return np.asarray([float(cell) for cell in cells])

    @property
    def timestamps(self) -> npt.NDArray[np.int64] | None:
        """Seconds since 1970, int64 of shape `(num_rows,)`, `NO_TIME` where a cell has no time; None without times."""
        if "timestamp" not in self.columns:
            return None
        cells = self.table[self.columns["timestamp"]].to_pylist()
        return np.asarray([NO_TIME if cell is None else _seconds(cell.strip()) for cell in cells], np.int64)


def _seconds(cell: str) -> int:
    """A cell's time as preparation reads it (`checks`): seconds, milliseconds, a date, or a date and time in UTC."""
    if _FINITE.fullmatch(cell):
        number = float(cell)
        seconds = number if abs(number) <= MILLISECONDS else number / 1000
        return math.floor(seconds) if abs(seconds) < SECONDS_LIMIT else NO_TIME
    try:
        moment = datetime.fromisoformat(cell[:19]) if re.fullmatch(DATE, cell) else None
    except ValueError:  # such as a thirteenth month
        moment = None
    return NO_TIME if moment is None else int(moment.replace(tzinfo=UTC).timestamp())


def read_ratings(path: Path, columns: Mapping[str, str]) -> Rows:
    """Ratings to judge a model by: user, movie and rating."""
    return _read(path, columns, NEEDED)


def read_pairs(path: Path, columns: Mapping[str, str]) -> Rows:
    """Pairs to predict: user and movie; other columns are kept."""
    return _read(path, columns, ("user", "item"))


def read_visitor(path: Path) -> dict[str, float]:
    """A visitor's ratings by movie id; of several ratings of a movie the last counts."""
    rows = _read(path, {}, ("item", "rating"), empty=True)
    return dict(zip(rows.movie_ids, rows.rating.tolist(), strict=True))


def read_movies(path: Path) -> list[str]:
    """Movie ids, such as those of an allow list: a column `movieId`, or a file with one id a line."""
    return _read(path, {}, ("item",), empty=True).movie_ids


def _read(path: Path, columns: Mapping[str, str], needed: tuple[str, ...], *, empty: bool = False) -> Rows:
    if is_parquet(path):
        table = read_parquet(path)
        roles = roles_of(path, table.column_names, columns, needed)
        if not table.num_rows and not empty:
            raise DataError(f"{path}: expected rows, found none", "check the file")
        return Rows(path, table, roles)
    layout = layout_of(path, len(needed))
    chosen = choose_columns(path, layout, columns, needed)
    malformed: list[Malformed] = []
    batches = list(read_text(path, layout, chosen.names, chosen.names, chosen.header, malformed.append))
    if malformed:
        raise DataError(
            f"{path}: expected {len(chosen.names)} columns in every row, found {malformed[0].found} in row "
            f"{malformed[0].row:,}: {malformed[0].text[:60]!r}",
            "correct or remove the row",
        )
    table = pa.Table.from_batches(batches, pa.schema([(name, pa.string()) for name in chosen.names]))
    if not table.num_rows and not empty:
        raise DataError(f"{path}: expected rows below the header, found none", "check the file")
    if not chosen.header:
        named = {column: CANONICAL[role] for role, column in chosen.roles.items()}
        table = table.rename_columns([named.get(name, f"column{name}") for name in table.column_names])
        return Rows(path, table, {role: CANONICAL[role] for role in chosen.roles})
    return Rows(path, table, chosen.roles)


def write_predictions(rows: Rows, found: Mapping[str, npt.NDArray[np.float32]], path: Path) -> None:
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

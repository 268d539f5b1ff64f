"""Files of a trained model's daily work: pairs to predict, ratings to judge by, a visitor's ratings, lists."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from reelgraph.arrays import Float64s, Int64s
from reelgraph.data.dataset import NO_TIME
from reelgraph.data.parquet_files import is_parquet, read_parquet
from reelgraph.data.sources import (
    CANONICAL,
    DATE,
    MILLISECONDS,
    NEEDED,
    NUMBER,
    SECONDS_LIMIT,
    choose_columns,
    roles_of,
)
from reelgraph.data.text_files import Malformed, layout_of, read_text
from reelgraph.errors import DataError

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
    def rating(self) -> Float64s:
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
    def timestamps(self) -> Int64s | None:
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

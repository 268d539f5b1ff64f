"""Files and tables given to a trained model: pairs, test ratings, a visitor's ratings, lists of movie ids."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from reelgraph.arrays import Float64s, Int64s
from reelgraph.data.frames import TableLike, as_arrow
from reelgraph.data.parquet_files import as_text
from reelgraph.data.rows import NUMBER
from reelgraph.data.sources import CANONICAL, NEEDED, PAIR, choose_columns, read_all, roles_of
from reelgraph.data.table_files import open_table
from reelgraph.data.times import read_seconds
from reelgraph.data.vocabulary import require_ids
from reelgraph.errors import DataError

_FINITE = re.compile(NUMBER)


@dataclass(frozen=True)
class Rows:
    """The rows of a file.

    Attributes:
        path: the file.
        table: all columns of the file as text.
        columns: column name by role.
    """

    path: Path
    table: pa.Table
    columns: Mapping[str, str]

    @property
    def user_ids(self) -> list[str]:
        """The user id of each row."""
        return self._ids("user")

    @property
    def movie_ids(self) -> list[str]:
        """The movie id of each row."""
        return self._ids("item")

    def _ids(self, role: str) -> list[str]:
        what = "user" if role == "user" else "movie"
        return require_ids(self.table[self.columns[role]].to_pylist(), what, f"{self.path}: row")

    @property
    def rating(self) -> Float64s:
        """Ratings, float64 of shape `(num_rows,)`; every one must be a finite number."""
        cells = self.table[self.columns["rating"]].to_pylist()
        for row, cell in enumerate(cells, start=1):
            if cell is None or not _FINITE.fullmatch(cell.strip()) or not np.isfinite(float(cell)):
                raise DataError(
                    f"{self.path}: expected a number as rating, found {cell!r} in row {row:,}", "correct or remove it"
                )
        return np.asarray([float(cell) for cell in cells])

    @property
    def timestamps(self) -> Int64s | None:
        """Seconds since 1970, int64 of shape `(num_rows,)`, `NO_TIME` in rows without one; None without a column."""
        if "timestamp" not in self.columns:
            return None
        return read_seconds(self.table[self.columns["timestamp"]].combine_chunks())


def rows_of(value: TableLike, needed: Sequence[str], what: str, order: Sequence[str] = ()) -> Rows:
    """The rows of a file, a DataFrame, a mapping of columns, or a sequence of tuples or dicts.

    Args:
        value: the rows.
        needed: roles that must be there.
        what: name of the argument, for messages.
        order: roles of the cells of tuples; `needed` if not given.
    """
    if isinstance(value, str | Path):
        return _read(Path(value), {}, tuple(needed), empty=True)
    table = as_arrow(value, [CANONICAL[role] for role in order or needed], what)
    columns = [as_text(column.combine_chunks()) for column in table.columns]
    return Rows(
        Path(what), pa.table(columns, names=table.column_names), roles_of(Path(what), table.column_names, {}, needed)
    )


def read_ratings(path: Path, columns: Mapping[str, str]) -> Rows:
    """Read test ratings: user, movie and rating."""
    return _read(path, columns, NEEDED)


def read_pairs(path: Path, columns: Mapping[str, str]) -> Rows:
    """Read pairs to predict: user and movie; other columns are kept."""
    return _read(path, columns, PAIR)


def read_visitor(path: Path) -> dict[str, float]:
    """Read a visitor's ratings by movie id; the last rating of a movie counts."""
    rows = _read(path, {}, ("item", "rating"), empty=True)
    return dict(zip(rows.movie_ids, rows.rating.tolist(), strict=True))


def read_movies(path: Path) -> list[str]:
    """Read movie ids, such as an allow list, from a column `movieId` or a file with one id per line."""
    return _read(path, {}, ("item",), empty=True).movie_ids


def _read(path: Path, columns: Mapping[str, str], needed: tuple[str, ...], *, empty: bool = False) -> Rows:
    file = open_table(path, fewest=len(needed))
    chosen = choose_columns(file, columns, needed)
    table, malformed = read_all(file, chosen)
    if malformed:
        raise DataError(
            f"{path}: {malformed[0].reason} in row {malformed[0].row:,}: {malformed[0].text[:60]!r}",
            "correct or remove the row",
        )
    if not table.num_rows and not empty:
        raise DataError(f"{path}: expected rows below the header, found none", "check the file")
    if not chosen.header:
        named = {column: CANONICAL[role] for role, column in chosen.roles.items()}
        table = table.rename_columns([named.get(name, f"column{name}") for name in table.column_names])
        return Rows(path, table, {role: CANONICAL[role] for role in chosen.roles})
    return Rows(path, table, chosen.roles)

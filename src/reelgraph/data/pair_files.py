"""Files and tables given to a trained model: pairs, test ratings, a visitor's ratings, lists of movie ids."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelgraph.arrays import Float64s, Int64s
from reelgraph.data.dataset import NO_TIME
from reelgraph.data.frames import TableLike, as_arrow
from reelgraph.data.parquet_files import as_text, flattened
from reelgraph.data.prepare.clean import CODE, EXPECTED, NEGATIVE, NOT_LIKED
from reelgraph.data.prepare.clean import NO_TIME as UNREADABLE_TIME
from reelgraph.data.rows import NUMBER, Malformed, describe_refused
from reelgraph.data.sources import CANONICAL, NEEDED, NO, PAIR, YES, choose_columns, read_all, roles_of
from reelgraph.data.table_files import open_table
from reelgraph.data.times import read_seconds
from reelgraph.data.vocabulary import BLANKS, NULL_MARKERS, canonical_ids, nulls_for_markers
from reelgraph.errors import DataError

if TYPE_CHECKING:
    from reelgraph.config import DataConfig

_FINITE = re.compile(NUMBER)
_LIKES = dict.fromkeys(YES, "1") | dict.fromkeys(NO, "0")


@dataclass(frozen=True)
class Rows:
    """The usable rows of a file.

    Attributes:
        name: the file or argument, for messages.
        table: all columns of these rows as text.
        columns: column name by role.
        numbers: their numbers in the file, from 1, int64 `(num_rows,)`.
        refused: the other rows.
    """

    name: str
    table: pa.Table
    columns: Mapping[str, str]
    numbers: Int64s
    refused: Sequence[Malformed] = ()

    @cached_property
    def user_ids(self) -> list[str]:
        """The user id of each row."""
        return list(self._ids("user").to_pylist())

    @cached_property
    def movie_ids(self) -> list[str]:
        """The movie id of each row."""
        return list(self._ids("item").to_pylist())

    def _ids(self, role: str) -> pa.Array:
        return canonical_ids(self.table[self.columns[role]].combine_chunks())

    @cached_property
    def rating(self) -> Float64s:
        """Ratings, float64 of shape `(num_rows,)`."""
        cells = self.table[self.columns["rating"]].combine_chunks().dictionary_encode()
        numbers = [float(cell.strip(BLANKS)) for cell in cells.dictionary.to_pylist()]
        return np.asarray(numbers, np.float64).take(np.asarray(cells.indices))

    @cached_property
    def timestamps(self) -> Int64s | None:
        """Seconds since 1970, int64 of shape `(num_rows,)`, `NO_TIME` in rows without one; None without a column."""
        if "timestamp" not in self.columns:
            return None
        return read_seconds(self.table[self.columns["timestamp"]].combine_chunks())

    def report(self) -> list[str]:
        """A line for each reason for which rows are refused, and one on unreadable times."""
        lines = describe_refused(self.name, self.refused, len(self.refused) + self.table.num_rows)
        if self.timestamps is not None:
            cells = nulls_for_markers(self.table[self.columns["timestamp"]].combine_chunks())
            lost = np.flatnonzero((self.timestamps == NO_TIME) & cells.is_valid().to_numpy(zero_copy_only=False))
            if len(lost):
                first = f"first row {self.numbers[lost[0]]:,}: {cells[int(lost[0])]}"
                lines.append(
                    f"{self.name}: {UNREADABLE_TIME} in {len(lost):,} rows ({first}); they are kept without one"
                )
        return lines


def rows_of(
    value: TableLike, needed: Sequence[str], what: str, order: Sequence[str] = (), *, implicit: bool = False
) -> Rows:
    """The rows of a file, a DataFrame, a mapping of columns, or a sequence of tuples or dicts; all must be usable.

    Args:
        value: the rows.
        needed: roles that must be there.
        what: name of the argument, for messages.
        order: roles of the cells of tuples; `needed` if not given.
        implicit: whether they are views, likes or counts, of which those of 0 are left out.
    """
    from reelgraph.config import DataConfig  # noqa: PLC0415 (workers of a cluster lack pydantic)

    config = DataConfig(strict=True, implicit=implicit)
    if isinstance(value, str | Path):
        return _read(Path(value), config, tuple(needed), empty=True)
    table = flattened(as_arrow(value, [CANONICAL[role] for role in order or needed], what))
    columns = [as_text(column.combine_chunks()) for column in table.columns]
    table = pa.table(columns, names=table.column_names)
    rows = Rows(what, table, roles_of(Path(what), table.column_names, {}, needed), np.arange(1, table.num_rows + 1))
    return _checked(rows, config, needed, None)


def read_ratings(path: Path, config: "DataConfig", scale: tuple[float, float] | None) -> Rows:
    """Read test or new ratings: user, movie, and a rating within the scale; see `DataConfig` for how.

    Without a scale, they are views, likes or counts; those of 0 are refused.
    """
    if scale is None:
        return _read(path, config.model_copy(update={"implicit": True}), PAIR)
    return _read(path, config, NEEDED, scale=scale)


def read_pairs(path: Path, config: "DataConfig") -> Rows:
    """Read pairs to predict: user and movie; other columns are kept."""
    return _read(path, config, PAIR)


def read_visitor(path: Path, config: "DataConfig") -> Rows:
    """Read a visitor's ratings: movie and rating, or with `implicit` movie and perhaps a count."""
    return _read(path, config, ("item",) if config.implicit else ("item", "rating"), empty=True)


def read_movies(path: Path, config: "DataConfig") -> Rows:
    """Read movie ids, such as an allow list, from a column `movieId` or a file with one id per line."""
    return _read(path, config, ("item",), empty=True)


def _read(
    path: Path, config: "DataConfig", needed: tuple[str, ...], *, scale: tuple[float, float] | None = None,
    empty: bool = False,
) -> Rows:  # fmt: skip
    file = open_table(path, fewest=len(needed), matrix=config.matrix)
    columns: Mapping[str, str] = config.columns
    if needed == ("item",):  # the columns may be those of another file of the command
        columns = {role: name for role, name in columns.items() if name in (file.names or file.rows[0])}
    chosen = choose_columns(file, columns, needed)
    table, numbers, malformed = read_all(file, chosen)
    if not table.num_rows and not malformed and not empty:
        raise DataError(f"{path}: expected rows below the header, found none", "check the file")
    roles = chosen.roles
    if not chosen.header:
        named = {column: CANONICAL[role] for role, column in roles.items()}
        table = table.rename_columns([named.get(name, f"column{name}") for name in table.column_names])
        roles = {role: CANONICAL[role] for role in roles}
    refused = [Malformed(row.row, row.text, f"malformed row: {row.reason}") for row in malformed]
    return _checked(Rows(str(path), table, roles, numbers, refused), config, needed, scale)


def _checked(rows: Rows, config: "DataConfig", needed: Sequence[str], scale: tuple[float, float] | None) -> Rows:
    """The rows that can be used.

    Raises:
        DataError: if these are fewer than the others, or not all with `strict`.
    """
    reasons: pa.Array = pa.nulls(rows.table.num_rows, pa.string())
    for role, what in (("user", "user"), ("item", "movie")):
        if role in needed:
            missing = pc.is_null(rows._ids(role))
            reasons = pc.coalesce(reasons, pc.if_else(missing, f"{what} id is missing", None))
    if "rating" in rows.columns and ("rating" in needed or config.missing or config.implicit):
        cells = rows.table[rows.columns["rating"]].combine_chunks().dictionary_encode("encode")
        faults = [_fault(cell, config, scale) for cell in cells.dictionary.to_pylist()]
        if "rating" not in needed and not config.implicit:
            faults = [fault if fault and fault.startswith(CODE) else None for fault in faults]
        reasons = pc.coalesce(reasons, pa.array(faults, pa.string()).take(cells.indices))
    places = pc.indices_nonzero(pc.is_valid(reasons))
    texts = [",".join(cell or "" for cell in row.values()) for row in rows.table.take(places).to_pylist()]
    numbers = rows.numbers[places.to_numpy()].tolist()
    found = map(Malformed, numbers, texts, reasons.take(places).to_pylist())
    refused = sorted([*rows.refused, *found], key=lambda row: row.row)
    usable = pc.is_null(reasons)
    kept = Rows(rows.name, rows.table.filter(usable), rows.columns, rows.numbers[usable.to_numpy(False)], refused)
    wrong = [row for row in refused if not row.reason.startswith(EXPECTED)]
    if wrong and (config.strict or len(wrong) > kept.table.num_rows):
        expected, total = "only" if config.strict else "mostly", len(refused) + kept.table.num_rows
        raise DataError(
            f"{rows.name}: expected {expected} usable rows, found {len(wrong):,} of {total:,} refused, "
            f"the first in row {wrong[0].row:,}: {wrong[0].reason}: {wrong[0].text[:60]!r}",
            "correct the rows, or check which columns are read",
        )
    return kept


def _fault(cell: str | None, config: "DataConfig", scale: tuple[float, float] | None) -> str | None:
    """Why a rating cannot be used, in the words of `prepare`; None if it can."""
    text, codes = (cell or "").strip(BLANKS), config.missing
    if config.implicit:
        text = _LIKES.get(text.lower(), text)
    if text in NULL_MARKERS:
        return "rating is NaN" if "nan" in text.lower() else "rating is missing"
    is_infinite = text.lower().lstrip("+-") in {"inf", "infinity"}
    if not is_infinite and not _FINITE.fullmatch(text):
        return "rating is not a number"
    value = float(text)
    if not math.isfinite(value):
        return "rating is infinite"
    if value in codes:
        return f"{CODE} ({', '.join(f'{code:g}' for code in codes)})"
    if config.implicit:
        return NEGATIVE if value < 0 else None if value else NOT_LIKED
    outside = scale is not None and not np.float32(scale[0]) <= np.float32(value) <= np.float32(scale[1])
    return f"rating is outside the scale {scale[0]:g}-{scale[1]:g} of the model" if scale and outside else None

"""Rating matrices, such as Jester's: a row for each user, a column for each item."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelgraph.data.rows import NUMBER, Block
from reelgraph.data.text_files import TextTable
from reelgraph.errors import DataError

NAMES = ("userId", "movieId", "rating")
NOT_RATED = "99"  # Jester's code
_RATING = re.compile(NUMBER)


@dataclass(frozen=True)
class MatrixTable:
    """A text file with a row for each user and a column for each item, as one row for each rating.

    Empty cells and 99 are no rating. A first column that counts the ratings of the row, as in Jester's files, is
    skipped. A first column of user ids is recognised by its header or by text; otherwise users are numbered by row.
    """

    table: TextTable
    names: tuple[str, ...] = NAMES
    rows: tuple[tuple[str, ...], ...] = ()
    header: int = 0

    @property
    def path(self) -> Path:
        """The file."""
        return self.table.path

    @property
    def parts(self) -> Sequence[Path]:
        """The file's parts."""
        return self.table.parts

    @property
    def encoding(self) -> str:
        """The codec of the text."""
        return self.table.encoding

    @property
    def format(self) -> str:
        """The format for messages."""
        return f"{self.table.format} matrix"

    def blocks(self, names: Sequence[str], wanted: Sequence[str], header: int) -> Iterator[Block]:  # noqa: ARG002
        """Read columns; see `TextTable.blocks`."""
        rows = self.table.rows
        labels, body = rows[0], rows[1:]
        has_header = sum(not _is_rating(cell) for cell in labels[1:]) > 0.5 * (len(labels) - 1)
        if not has_header:
            labels, body = tuple(str(place) for place in range(len(labels))), rows
        has_users = not all(_is_rating(row[0]) for row in body) or (has_header and not _is_count(body))
        first = 1 if has_users or _is_count(body) else 0
        items = (
            [label.strip() for label in labels[first:]]
            if has_header
            else [str(n) for n in range(1, len(labels) - first + 1)]
        )
        columns = [str(place) for place in range(len(labels))]
        if len(items) < 2:
            raise DataError(f"{self.path}: expected a column for each item, found {len(labels)}", "leave out --matrix")
        count, user = 0, 0
        for block in self.table.blocks(columns, columns, int(has_header)):
            size = len(block.rows)
            users = block.cells["0"] if has_users else pa.array(map(str, range(user + 1, user + size + 1)), pa.string())
            user += size
            cells = pa.concat_arrays([block.cells[column] for column in columns[first:]])
            rated = pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(cells), NOT_RATED), False)
            places = np.flatnonzero(rated.to_numpy(zero_copy_only=False))
            order = places[np.argsort(places % size, kind="stable")] if size else places
            ratings = {
                "userId": users.take(pa.array(order % max(size, 1))),
                "movieId": pa.array(items, pa.string()).take(pa.array(order // max(size, 1))),
                "rating": cells.take(pa.array(order)),
            }
            batch = pa.RecordBatch.from_arrays([ratings[name] for name in wanted], list(wanted))
            numbers = np.arange(count + 1, count + len(order) + 1)
            count += len(order) + len(block.malformed)
            yield Block(batch, numbers, block.malformed)


def _is_rating(cell: str) -> bool:
    return not cell.strip() or _RATING.fullmatch(cell.strip()) is not None


def _is_count(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first cell of every row is the number of ratings in the others."""
    return all(
        row[0].strip() == str(sum(bool(cell.strip()) and cell.strip() != NOT_RATED for cell in row[1:])) for row in rows
    )

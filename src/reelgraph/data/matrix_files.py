"""Rating matrices, such as Jester's: a row for each user, a column for each item."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelgraph.data.rows import NUMBER, Block
from reelgraph.data.text_files import TextTable
from reelgraph.errors import DataError

NAMES = ("userId", "movieId", "rating")
NOT_RATED = "99"  # Jester's code


@dataclass(frozen=True)
class MatrixTable:
    """A text file with a row for each user and a column for each item, as one row for each rating.

    Empty cells and 99 are no rating. A first column that counts the ratings of its row, as in Jester's files, is
    skipped. A first column of user ids is recognised by its name or by text; otherwise users are numbered by row.
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
        has_header = _has_header(rows)
        labels, body = [cell.strip() for cell in rows[0]], rows[1:] if has_header else rows
        is_count = all(row[0].strip() == str(sum(map(_is_rated, row[1:]))) for row in body)
        has_users = not all(_is_number(row[0]) for row in body)
        if has_header and not is_count:
            has_users = has_users or "user" in labels[0].casefold() or labels[0].casefold() in {"", "id", "index"}
        first = int(has_users or is_count)
        items = labels[first:] if has_header else [str(number) for number in range(1, len(labels) - first + 1)]
        columns = [str(place) for place in range(len(labels))]
        if len(items) < 2:
            raise DataError(f"{self.path}: expected a column for each item, found {len(labels)}", "leave out --matrix")
        count, user = 0, 0
        for block in self.table.blocks(columns, columns, int(has_header)):
            size = len(block.rows)
            users = block.cells["0"] if has_users else pa.array(map(str, range(user + 1, user + size + 1)), pa.string())
            user += size
            cells = pa.concat_arrays([block.cells[column] for column in columns[first:]])
            cells = pc.replace_substring_regex(cells, r"^(\s*[+-]?\d*),(\d+\s*)$", r"\1.\2")
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


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the items: by text, or by increasing numbers behind the name of the users."""
    first, *body = rows
    if not all(_is_number(cell) for cell in first[1:]):
        return True
    if not first[0].strip():
        return any(row[0].strip() for row in body)
    numbers = [float(cell.replace(",", ".")) for cell in first[1:] if cell.strip()]
    increasing = all(one < other for one, other in pairwise(numbers))
    return not _is_number(first[0]) and increasing and len(numbers) == len(first) - 1


def _is_number(cell: str) -> bool:
    return not cell.strip() or re.fullmatch(NUMBER, cell.strip().replace(",", ".")) is not None


def _is_rated(cell: str) -> bool:
    return cell.strip() not in {"", NOT_RATED}

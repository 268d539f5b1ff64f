"""Splits delimited text into rows of cells, exactly, whatever quotes and line breaks the cells hold.

A cell in quotes may hold separators and line breaks. A quote that opens no such cell, because what would close it is
followed by more text, is a character; so is one that would swallow whole rows. pyarrow reads the blocks whose quotes
are regular, the code here all others, with the same result.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from reelgraph.arrays import Int64s

NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
LONGEST_CELL = 1 << 26  # bytes; a quote that is closed later is a character
_NUMBER = re.compile(rb"\s*" + NUMBER.encode() + rb"\s*")
_CODE = re.compile(rb"\s*[\w.:-]*\d[\w.:-]*\s*")

_QUOTED_TEXT = re.compile(rb'(?:[^"]++|"")*+')
_ESCAPED_TEXT = re.compile(rb'(?:[^"\\]++|""|\\.|\\\n)*+')

_UNDECIDED = re.compile(rb'\\?"? *\r?\Z')
_PIECE = 1 << 17  # bytes of text with irregular quotes between two attempts to go on with pyarrow


@dataclass(frozen=True)
class Malformed:
    """A row that cannot be split into the right cells: its number in the file, from 1, its text, and why."""

    row: int
    text: str
    reason: str


def describe_refused(name: str, refused: Sequence[Malformed], total: int | None = None) -> list[str]:
    """A line for each reason, with the number of rows and the first ones.

    Args:
        name: the table, for messages.
        refused: the rows.
        total: how many rows the table has, if known.
    """
    by_reason: dict[str, list[Malformed]] = {}
    for row in refused:
        by_reason.setdefault(row.reason, []).append(row)
    lines = []
    for reason, rows in by_reason.items():
        numbers = ", ".join(f"{row.row:,}" for row in rows[:3]) + (", ..." if len(rows) > 3 else "")
        count = f"{len(rows):,}" if total is None else f"{len(rows):,} of {total:,}"
        first = " ".join(rows[0].text[:80].split())
        lines.append(f"{name}: refused {count} rows: {reason} (row {numbers}; first: {first})")
    return lines


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a file.

    Attributes:
        cells: the wanted columns of the well-formed rows, as strings; empty cells are null.
        rows: their numbers in the file, from 1, increasing.
        malformed: the other rows.
    """

    cells: pa.RecordBatch
    rows: Int64s
    malformed: Sequence[Malformed] = ()


@dataclass(frozen=True)
class Dialect:
    r"""How rows are written.

    Attributes:
        separator: one byte.
        quoted: whether cells may be in quotes.
        escaped: whether a quote within them is written \" rather than "".
        width: cells in a row; 0 if unknown.
        numeric: columns that hold numbers.
        codes: other columns that hold ids such as B000123 or 2018-01-02: a word with a digit.
    """

    separator: bytes
    quoted: bool = True
    escaped: bool = False
    width: int = 0
    numeric: tuple[int, ...] = ()
    codes: tuple[int, ...] = ()

    @cached_property
    def _unquoted(self) -> re.Pattern[bytes]:
        return re.compile(rb"[^\n" + re.escape(self.separator) + rb"]*")

    @cached_property
    def _opening(self) -> re.Pattern[bytes]:
        return re.compile(rb'"' if self.separator == b" " else rb' *"')

    @cached_property
    def _closing(self) -> re.Pattern[bytes]:
        blanks = rb"" if self.separator == b" " else rb" *+"
        return re.compile(rb'"' + blanks + rb"(?:" + re.escape(self.separator) + rb"|(\r?\n|\Z))")

    def row_at(self, text: bytes, start: int, *, final: bool) -> tuple[int, list[bytes]] | None:
        """Split one row.

        Args:
            text: bytes of a file.
            start: where the row begins.
            final: whether the file ends with `text`.

        Returns:
            Where the next row begins, and the cells; None if the row may go on beyond `text`.
        """
        stop = text.find(b"\n", start)
        if stop < 0:
            if not final:
                return None
            stop = len(text)
        if not self.quoted or text.find(b'"', start, stop) < 0:
            return stop + 1, text[start:stop].removesuffix(b"\r").split(self.separator)
        row = self._split(text, start, final=final)
        if row is not None and row[0] <= stop + 1 and len(row[1]) != self.width:
            plain = text[start:stop].removesuffix(b"\r").split(self.separator)
            least = 1 if self.separator == b"\t" else 2
            return (row[0], plain) if self._num_patterns >= least and self._is_row(plain) else row
        if row is None or row[0] <= stop + 1:
            return row
        line = self._split(text[start:stop], 0, final=True)
        is_row = line is not None and len(line[1]) == self.width
        if line is not None and is_row and (len(row[1]) != self.width or self._holds_rows(text[start : row[0]])):
            return stop + 1, line[1]
        return row

    def _split(self, text: bytes, at: int, *, final: bool) -> tuple[int, list[bytes]] | None:
        cells: list[bytes] = []
        while True:
            opening = self._opening.match(text, at)
            if opening:
                limit = opening.end() + LONGEST_CELL
                inside = (_ESCAPED_TEXT if self.escaped else _QUOTED_TEXT).match(text, opening.end(), limit)
                assert inside is not None  # The pattern matches nothing, too.
                if not final and len(text) < limit and _UNDECIDED.match(text, inside.end()):
                    return None
                closing = self._closing.match(text, inside.end(), limit)
                if closing and (closing[1] != b"" or closing.end() == len(text)):
                    cell_text = inside[0].replace(b'\\"', b'"') if self.escaped else inside[0]
                    cells.append(cell_text.replace(b'""', b'"'))
                    at = closing.end()
                    if closing[1] is not None:
                        return at, cells
                    continue
            cell = self._unquoted.match(text, at)
            assert cell is not None
            at = cell.end() + 1
            if cell.end() == len(text) and not final:
                return None
            if cell.end() == len(text) or text[cell.end()] == 10:
                cells.append(cell[0].removesuffix(b"\r"))
                return at, cells
            cells.append(cell[0])

    def _holds_rows(self, text: bytes) -> bool:
        """Whether every line of a quoted cell's row looks like a row of its own: the same cells, numbers in place."""
        lines = text.rstrip(b"\r\n").split(b"\n")
        if self._num_patterns < (1 if len(lines) > 2 else 2):
            return False
        rows = (self._split(line, 0, final=True) for line in lines)
        return all(row is not None and self._is_row(row[1]) for row in rows)

    def _is_row(self, cells: Sequence[bytes]) -> bool:
        return (
            len(cells) == self.width
            and all(_NUMBER.fullmatch(cells[column]) for column in self.numeric)
            and all(_CODE.fullmatch(cells[column]) for column in self.codes)
        )

    @property
    def _num_patterns(self) -> int:
        """The number of columns that show whether cells are a row."""
        return len(self.numeric) + len(self.codes)

    def regular_part(self, text: bytes, *, final: bool) -> tuple[int, int] | None:
        """How far the text consists of whole rows whose quotes are regular.

        Returns:
            Where the last whole row ends, and the number of rows until there; None if a quote is irregular.
        """
        raw = np.frombuffer(text, np.uint8)
        quotes = np.flatnonzero(raw == 34) if self.quoted else np.empty(0, np.int64)
        if not len(quotes):
            end = len(text) if final else text.rfind(b"\n") + 1
            lines = text.count(b"\n", 0, end) + (end > 0 and text[end - 1] != 10)
            return end, lines - _blank_lines(text, end)
        if len(text) > LONGEST_CELL or (self.escaped and b'\\"' in text) or not self._is_regular(raw, quotes):
            return None
        breaks = np.flatnonzero(raw == 10)
        outside = np.searchsorted(quotes, breaks) % 2 == 0
        if final and text[-1] != 10:
            if len(quotes) % 2:
                return None
            breaks, outside = np.append(breaks, len(text)), np.append(outside, True)
        ends = breaks[outside]
        if not len(ends):
            return 0, 0
        inner = breaks[: np.flatnonzero(outside)[-1] + 1]
        if len(inner) > len(ends) and not self._are_whole(raw, quotes, inner, outside[: len(inner)]):
            return None
        starts = np.concatenate([[0], ends[:-1] + 1])
        blank = (ends == starts) | ((ends == starts + 1) & (raw[np.minimum(starts, len(raw) - 1)] == 13))
        return min(int(ends[-1]) + 1, len(text)), int(len(ends) - blank.sum())

    def _is_regular(self, raw: Any, quotes: Any) -> bool:
        """Whether quotes open where a cell begins and close where one ends, as writers of CSV have it."""
        edge = np.zeros(256, bool)
        edge[[10, 34, self.separator[0]]] = True
        opening, closing = quotes[::2], quotes[1::2]
        before = np.where(opening > 0, raw[opening - 1], 10)
        if not edge[before].all():
            return False
        edge[13] = True
        after = np.where(closing + 1 < len(raw), raw[np.minimum(closing + 1, len(raw) - 1)], 10)
        return bool(edge[after].all())

    def _are_whole(self, raw: Any, quotes: Any, breaks: Any, outside: Any) -> bool:
        """Whether each row of several lines has the right number of cells, and not every line of one has."""
        separators = np.flatnonzero(raw[: breaks[-1]] == self.separator[0])
        per_line = np.diff(np.searchsorted(separators, breaks), prepend=0)
        unquoted = separators[np.searchsorted(quotes, separators) % 2 == 0]
        per_row = np.diff(np.searchsorted(unquoted, breaks[outside]), prepend=0)
        first = np.concatenate([[0], np.flatnonzero(outside)[:-1] + 1])
        several = ~outside[first]
        looks_like_rows = np.logical_and.reduceat(per_line == self.width - 1, first)
        return not (several & (looks_like_rows | (per_row != self.width - 1))).any()


def _blank_lines(text: bytes, end: int) -> int:
    """The number of empty lines in text without quotes."""
    if b"\n\n" not in text and b"\n\r\n" not in text and text[:1] not in {b"\n", b"\r"}:
        return 0
    return len(re.findall(rb"^\r?\n", text[:end], re.M))


@dataclass(frozen=True)
class RowReader:
    """Reads the rows of a table.

    Attributes:
        dialect: how rows are written, with the width.
        names: a name for each column.
        wanted: the columns to read.
        shown: what the separator is written as in messages.
    """

    dialect: Dialect
    names: Sequence[str]
    wanted: Sequence[str]
    shown: str

    def read(self, chunks: Iterator[bytes], skip: int, first: int = 1) -> Iterator[Block]:
        """Read all rows; every byte belongs to one, so that none is lost.

        Args:
            chunks: the text, in UTF-8, in parts of any size.
            skip: rows of the header.
            first: the number of the first row after it.
        """
        text, final = b"", False
        while not final:
            size = len(text)
            parts = [text]
            while size <= 2 * len(text) and not final:  # A row longer than a chunk is tried again at twice the size.
                chunk = next(chunks, None)
                final = chunk is None
                parts.append(chunk or b"")
                size += len(parts[-1])
            text = b"".join(parts)
            while skip and (row := self.dialect.row_at(text, 0, final=final)) and text:
                skip -= row[1] != [b""]
                text = text[row[0] :]
            if not skip:
                at = 0
                for end, block in self._blocks(text, first, final=final):
                    at = end
                    first += len(block.rows) + len(block.malformed)
                    yield block
                text = text[at:]
        assert not text

    def _blocks(self, text: bytes, first: int, *, final: bool) -> Iterator[tuple[int, Block]]:
        """The whole rows of a text in blocks, each with the place where it ends."""
        at, size = 0, len(text)
        while at < len(text):
            piece = text[at : at + size]
            is_last = final and at + size >= len(text)
            part = self.dialect.regular_part(piece, final=is_last)
            cells = self._parse(piece[: part[0]], part[1]) if part is not None and part[0] else None
            if part is not None and cells is not None:
                at += part[0]
                block = Block(cells, np.arange(first, first + cells.num_rows))
            elif size > _PIECE:
                if part == (0, 0) and not final:
                    return
                size = _PIECE
                continue
            else:
                end, block = self._exact(text, at, first, final=final)
                if end == at:
                    return
                at = end
            first += len(block.rows) + len(block.malformed)
            yield at, block

    def _parse(self, text: bytes, count: int) -> pa.RecordBatch | None:
        """The cells of rows as pyarrow reads them; None if they are not `count` whole ones."""
        malformed = []

        def skip(row: pacsv.InvalidRow) -> str:
            malformed.append(row)
            return "skip"

        if not count:
            return pa.RecordBatch.from_arrays([pa.nulls(0, pa.string()) for _ in self.wanted], list(self.wanted))
        table = pacsv.read_csv(
            pa.BufferReader(text),
            pacsv.ReadOptions(column_names=list(self.names), use_threads=False, block_size=len(text) + 1),
            pacsv.ParseOptions(
                delimiter=self.dialect.separator.decode(),
                quote_char='"' if self.dialect.quoted else False,
                newlines_in_values=True,
                invalid_row_handler=skip,
            ),
            pacsv.ConvertOptions(
                column_types={name: pa.string() for name in self.names},
                include_columns=list(self.wanted),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        if malformed or table.num_rows != count:
            return None
        return table.combine_chunks().to_batches()[0]

    def _exact(self, text: bytes, start: int, first: int, *, final: bool) -> tuple[int, Block]:
        """The rows that begin within `_PIECE` bytes, split one by one, and where they end."""
        width, at = len(self.names), start
        rows: list[int] = []
        kept: list[list[bytes]] = []
        malformed: list[Malformed] = []
        while at < min(len(text), start + _PIECE) and (row := self.dialect.row_at(text, at, final=final)):
            line, cells = text[at : row[0]], row[1]
            number = first + len(rows) + len(malformed)
            at = row[0]
            if not line.strip(b"\r\n" if width == 1 else b" \r\n"):
                continue
            if len(cells) == width:
                rows.append(number)
                kept.append(cells)
            else:
                shown = line.decode("utf-8", "replace").rstrip("\r\n").replace("\x1f", self.shown)
                malformed.append(Malformed(number, shown, f"expected {width} cells, found {len(cells)}"))
        places = [self.names.index(name) for name in self.wanted]
        columns = [pa.array([row[place].decode() or None for row in kept], pa.string()) for place in places]
        block = Block(pa.RecordBatch.from_arrays(columns, list(self.wanted)), np.array(rows, np.int64), malformed)
        return min(at, len(text)), block


def with_columns(dialect: Dialect, rows: Sequence[Sequence[bytes]]) -> Dialect:
    """The dialect with the width of the first row, and the columns with numbers or codes in 90 % of the others."""
    width = len(rows[0]) if rows else 0
    body = [row for row in rows[1:] if len(row) == width]

    def columns(pattern: re.Pattern[bytes]) -> list[int]:
        matches = [sum(pattern.fullmatch(row[column]) is not None for row in body) for column in range(width)]
        return [column for column in range(width) if len(body) > 2 and matches[column] >= 0.9 * len(body)]

    numeric = columns(_NUMBER)
    codes = [column for column in columns(_CODE) if column not in numeric]
    return replace(dialect, width=width, numeric=tuple(numeric), codes=tuple(codes))

"""Delimited text files, read as they stand: every cell a string, malformed rows kept aside."""

import codecs
import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from reelgraph.errors import DataError

SEPARATORS = ("::", "\t", "|", ";", ",")

SEPARATOR_NAMES = {"::": "::", "\t": "tab", "|": "|", ";": ";", ",": "comma"}

_QUOTED = {"\t", ";", ","}  # MovieLens' | and :: files hold bare quotes in titles

_UNIT = "\x1f"  # stands for "::", since pyarrow takes one character

_SAMPLE = 1 << 16

_BLOCK = 1 << 23  # bytes of text that become one batch


@dataclass(frozen=True)
class Layout:
    """How a text file is written.

    Attributes:
        separator: one of `SEPARATORS`.
        encoding: "utf-8" or "latin-1".
        rows: the first rows' cells, the first line included.
        blank: number of blank lines before them.
    """

    separator: str
    encoding: str
    rows: tuple[tuple[str, ...], ...]
    blank: int = 0

    @property
    def first(self) -> tuple[str, ...]:
        """The cells of the first line."""
        return self.rows[0]


@dataclass(frozen=True)
class Malformed:
    """A row with another number of cells than the others: its place among the data rows, from 1, and its text."""

    row: int
    found: int
    text: str


def check_file(path: Path) -> None:
    """Refuse a path that is no file, or an empty one.

    Raises:
        DataError: naming what was found.
    """
    if not path.exists():
        raise DataError(f"{path}: expected a file, found none", "check the path")
    if not path.is_file():
        raise DataError(f"{path}: expected a file, found a directory", "name a file in it")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: expected a file that you may read, found no permission", "change its permissions")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: expected rows, found an empty file", "check how it was written")


def check_names(path: Path, names: Sequence[str]) -> None:
    """Refuse columns that cannot be told apart.

    Raises:
        DataError: naming the first name that is there twice.
    """
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise DataError(f"{path}: expected columns of different names, found {twice!r} twice", "rename one of them")


def layout_of(path: Path, fewest: int = 2) -> Layout:
    """Find separator and encoding from the file itself.

    Args:
        path: the file.
        fewest: columns that it has at least; only where that is 1 may it have no separator.

    Raises:
        DataError: if it is missing, empty, binary, or has no separator.
    """
    check_file(path)
    with pa.input_stream(path) as stream:
        head = stream.read(_SAMPLE)
    if head.startswith(b"PAR1"):
        raise DataError(f"{path}: expected text, found a Parquet file", "name it .parquet")
    if b"\0" in head:
        raise DataError(f"{path}: expected text in UTF-8 or Latin-1, found binary data", "export it as CSV or Parquet")
    encoding = _encoding_of(path)
    text = head.decode(encoding, errors="ignore").removeprefix("\ufeff")
    every = text.splitlines()
    lines = [line for line in every if line.strip()]
    lines = (lines[:-1] if len(head) == _SAMPLE else lines)[:100]
    if not lines:
        raise DataError(f"{path}: expected rows, found blank lines", "check how it was written")
    separator = max(SEPARATORS, key=lambda candidate: _agreement(lines, candidate))
    rows = tuple(tuple(_cells(line, separator)) for line in lines)
    if len(rows[0]) == 1 and fewest == 1:  # One column has no separator, but may have quotes.
        separator, rows = ",", tuple(tuple(_cells(line, ",")) for line in lines)
    if len(rows[0]) < fewest:
        raise DataError(
            f"{path}: expected cells separated by comma, tab, semicolon, | or ::, found {lines[0][:60]!r}",
            "export it as CSV",
        )
    return Layout(separator, encoding, rows, blank=every.index(lines[0]))


def _encoding_of(path: Path) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with pa.input_stream(path) as stream:
        try:
            while chunk := stream.read(1 << 22):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8"


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator)) if separator in _QUOTED else line.split(separator)


def _agreement(lines: Sequence[str], separator: str) -> tuple[float, int]:
    """How many lines have as many cells as the first one, and how many that is; more is better."""
    try:
        counts = [len(_cells(line, separator)) for line in lines]
    except csv.Error:
        return (0.0, 0)
    if counts[0] < 2:
        return (0.0, 0)
    return (sum(count == counts[0] for count in counts) / len(counts), counts[0])


def read_text(
    path: Path,
    layout: Layout,
    names: Sequence[str],
    wanted: Sequence[str],
    skip: int,
    keep: Callable[[Malformed], None],
) -> Iterator[pa.RecordBatch]:
    """Stream some columns of a text file as strings; empty cells are null.

    Args:
        path: the file.
        layout: how it is written.
        names: a name for every column.
        wanted: the columns to read.
        skip: number of header lines.
        keep: takes each malformed row; it is called before the batch that the row would have been in.

    Raises:
        DataError: if a line cannot be read at all.
    """

    def refuse(row: pacsv.InvalidRow) -> str:
        keep(Malformed(row.number - before, row.actual_columns, row.text.replace(_UNIT, "::")))
        return "skip"

    before = layout.blank + skip
    delimiter: str = layout.separator
    source: Any = path
    if layout.separator == "::":
        with pa.input_stream(path) as stream:
            source = io.BytesIO(stream.read().replace(b"::", _UNIT.encode()))
        delimiter = _UNIT
    try:
        with pacsv.open_csv(
            source,
            pacsv.ReadOptions(
                column_names=list(names),
                skip_rows=before,
                use_threads=False,
                encoding=layout.encoding,
                block_size=_BLOCK,
            ),
            pacsv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if layout.separator in _QUOTED else False,
                invalid_row_handler=refuse,
            ),
            pacsv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                include_columns=list(wanted),
                null_values=[""],
                strings_can_be_null=True,
            ),
        ) as reader:
            yield from reader
    except pa.ArrowInvalid as error:
        if "Empty CSV file" not in str(error):
            raise DataError(f"{path}: expected delimited text, found {error}", "check the file") from None

"""Delimited text files of any dialect and encoding as tables of text cells."""

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reelgraph.data.rows import LONGEST_CELL, Block, Dialect, RowReader, with_columns
from reelgraph.data.stored_files import check_file, open_file
from reelgraph.errors import DataError

SEPARATORS = ("::", "\t", "|", ";", ",")
BLANKS = " "  # any run of them
_NAMES = {"::": "::", "\t": "tab-separated", BLANKS: "blank-separated", ",": "comma-separated"}
_UNIT = b"\x1f"  # stands for separators that are longer than a byte
_SAMPLE = 1 << 18  # bytes
SAMPLE_ROWS = 1000
_CHUNK = 1 << 23  # bytes
_NETFLIX = re.compile(rb"\d+:\r?\n\d+,\d,\d{4}-\d\d-\d\d\s")
_TITLES = re.compile(rb"\d+,(\d{4}|NULL),")
_TYPED = re.compile(r"(.+):(token|token_seq|float|float_seq)")


@dataclass(frozen=True)
class Layout:
    """How a text file is written.

    Attributes:
        separator: one of `SEPARATORS`, or `BLANKS`.
        encoding: a codec of Python.
        dialect: how rows are split.
        rows: the cells of the first rows, a header included.
        preamble: number of lines before them that hold no row.
        names: the names of the columns, if the format determines them.
        header: number of header rows; None if the cells have to tell.
        format: the format for messages.
    """

    separator: str
    encoding: str
    dialect: Dialect
    rows: tuple[tuple[str, ...], ...]
    preamble: int = 0
    names: tuple[str, ...] | None = None
    header: int | None = None
    format: str = ""
    mac: bool = False

    @property
    def first(self) -> tuple[str, ...]:
        """The cells of the first row."""
        return self.rows[0]


def check_names(path: Path, names: Sequence[str]) -> None:
    """Refuse two columns of one name."""
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise DataError(f"{path}: expected columns of different names, found {twice!r} twice", "rename one of them")


def layout_of(path: Path, fewest: int = 2) -> Layout:
    """Detect how a file is written.

    Args:
        path: the file.
        fewest: the least number of columns; a file of one column has no separator.
    """
    check_file(path)
    encoding, size = encoding_of(path), _SAMPLE
    while True:
        sample, whole = _sample_of(path, encoding, size)
        whole = whole or size > 2 * LONGEST_CELL
        layout = _detect(path, sample, encoding, fewest, whole=whole)
        if layout is not None:
            return layout
        size *= 4  # The first row is longer than the sample.


def _sample_of(path: Path, encoding: str, size: int) -> tuple[bytes, bool]:
    """The beginning of a file in UTF-8, and whether that is all of it."""
    with open_file(path) as stream:
        head = stream.read(size + 1)
    text = head[:size].decode(encoding, "ignore").removeprefix("\ufeff")
    return text.encode(), len(head) <= size


def encoding_of(path: Path) -> str:
    """UTF-8 if all of a text file is, else UTF-16 or Latin-1."""
    with open_file(path) as stream:
        head = stream.read(_SAMPLE)
        if head.startswith(b"PAR1"):
            raise DataError(f"{path}: expected text, found a Parquet file", "name it .parquet")
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        for encoding, filled, empty in (("utf-16-le", head[::2], head[1::2]), ("utf-16-be", head[1::2], head[::2])):
            if empty and empty.count(0) > 0.5 * len(empty) and not filled.count(0):
                return encoding
        if b"\0" in head:
            raise DataError(
                f"{path}: expected text in UTF-8, UTF-16 or Latin-1, found binary data", "export it as CSV or Parquet"
            )
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while head:
                decoder.decode(head)
                head = stream.read(1 << 22)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8"


def _detect(path: Path, sample: bytes, encoding: str, fewest: int, *, whole: bool) -> Layout | None:
    """The layout of a file by its beginning; None if that holds no whole row."""
    mac = b"\n" not in sample and b"\r" in sample
    sample = sample.replace(b"\r", b"\n") if mac else sample
    if not sample.strip():
        raise DataError(f"{path}: expected rows, found blank lines", "check how it was written")
    preamble = re.match(rb"(?:[ \t]*\r?\n)*(?:sep=(.)\r?\n)?", sample, re.I)
    assert preamble is not None  # The pattern matches nothing, too.
    body, given = sample[preamble.end() :], preamble[1]
    base = Layout(",", encoding, Dialect(b","), (), preamble[0].count(b"\n"), mac=mac)
    if _NETFLIX.match(body):
        names: tuple[str, ...] = ("movieId", "userId", "rating", "timestamp")
        base = replace(base, dialect=Dialect(b",", quoted=False), names=names, header=0, format="Netflix Prize")
        return _sampled(base, body, whole)
    if path.name.casefold().startswith("movie_titles") and _TITLES.match(body):
        names = ("movieId", "year", "title")
        base = replace(base, dialect=Dialect(_UNIT, quoted=False), names=names, header=0, format="Netflix titles")
        return _sampled(base, body, whole)
    candidates = [given.decode()] if given else SEPARATORS
    layouts = [_sampled(_separated(base, separator), body, whole) for separator in candidates]
    if None in layouts:
        return None
    best = max(filter(None, layouts), key=_agreement)
    best = best if len(best.first) > 1 else layouts[-1] or best
    if _agreement(best)[0] < 0.9 and given is None and fewest > 1:
        layouts = [best, _sampled(_separated(base, BLANKS), body, whole)]
        best = max(filter(None, layouts), key=_agreement)
    if b'\\"' in body and best.dialect.quoted:
        escaped = _sampled(
            replace(best, dialect=replace(best.dialect, escaped=True, width=0, numeric=(), codes=())), body, whole
        )
        best = max(filter(None, [best, escaped]), key=_agreement)
    if len(best.first) < fewest:
        line = body.splitlines()[0].decode()[:60]
        raise DataError(
            f"{path}: expected cells separated by comma, tab, semicolon, |, :: or blanks, found {line!r}",
            "export it as CSV",
        )
    typed = [_TYPED.fullmatch(cell) for cell in best.first]
    if all(typed):
        best = replace(best, names=tuple(name[1] for name in typed if name), header=1, format="RecBole")
    return best


def _separated(base: Layout, separator: str) -> Layout:
    byte = _UNIT if separator == "::" else separator.encode()
    name = _NAMES.get(separator, f"{separator}-separated")
    return replace(base, separator=separator, dialect=Dialect(byte, quoted=separator != "::"), format=name)


def _sampled(layout: Layout, sample: bytes, whole: bool) -> Layout | None:
    """A layout with the rows of a sample; None if no row is whole."""
    text = b"".join(_transformed(layout, iter([sample])))
    rows = _rows(layout.dialect, text, whole)
    if not rows:
        return None
    dialect = with_columns(layout.dialect, rows)
    rows = _rows(dialect, text, whole)
    return replace(layout, dialect=dialect, rows=tuple(tuple(cell.decode() for cell in row) for row in rows))


def _rows(dialect: Dialect, text: bytes, whole: bool) -> list[list[bytes]]:
    rows: list[list[bytes]] = []
    at = 0
    while at < len(text) and len(rows) < SAMPLE_ROWS and (row := dialect.row_at(text, at, final=whole)):
        if text[at : row[0]].strip():
            rows.append(row[1])
        at = row[0]
    return rows


def _agreement(layout: Layout) -> tuple[float, int]:
    """The share of rows with as many cells as the first one, and that number; higher is better."""
    width = layout.dialect.width
    if width < 2:
        return (0.0, 0)
    return (sum(len(row) == width for row in layout.rows) / len(layout.rows), width)


def _transformed(layout: Layout, texts: Iterator[bytes]) -> Iterator[bytes]:
    """Text with one separator of one byte, from parts that end where lines do."""
    if layout.format == "Netflix Prize":
        return _with_movies(texts)
    if layout.format == "Netflix titles":
        return (re.sub(rb"(?m)^([^,\n]*),([^,\n]*),", b"\\1\x1f\\2\x1f", text) for text in texts)
    if layout.separator == "::":
        return (text.replace(b"::", _UNIT) for text in texts)
    if layout.separator == BLANKS:
        return (re.sub(rb"(?m)^ | $", b"", re.sub(rb"[ \t\r]+", b" ", text)) for text in texts)
    return texts


def _with_movies(texts: Iterator[bytes]) -> Iterator[bytes]:
    """The ratings of the Netflix Prize, each line with its movie in front."""
    movie = b""
    for text in texts:
        before, *sections = re.split(rb"(?m)^(\d+):\r?\n", text)
        parts = [re.sub(rb"(?m)^(?=[^\r\n])", movie + b",", before)]
        for movie, lines in zip(sections[::2], sections[1::2], strict=True):
            parts.append(re.sub(rb"(?m)^(?=[^\r\n])", movie + b",", lines))
        yield b"".join(parts)


def _text_of(path: Path, layout: Layout) -> Iterator[bytes]:
    """A file's text in UTF-8, in parts that end where lines do."""
    decoder = codecs.getincrementaldecoder(layout.encoding)()
    rest, lines, first = b"", layout.preamble, True
    with open_file(path) as stream:
        while chunk := stream.read(_CHUNK):
            if layout.encoding != "utf-8":
                chunk = decoder.decode(chunk).encode()
            if first:
                chunk, first = chunk.removeprefix(codecs.BOM_UTF8), False
            rest += chunk.replace(b"\r", b"\n") if layout.mac else chunk
            while lines and b"\n" in rest:
                rest, lines = rest[rest.index(b"\n") + 1 :], lines - 1
            end = rest.rfind(b"\n") + 1
            if end:
                yield rest[:end]
                rest = rest[end:]
    if rest:
        yield rest


@dataclass(frozen=True)
class TextTable:
    """One or several text files with the same columns."""

    path: Path
    parts: tuple[Path, ...]
    layouts: tuple[Layout, ...]

    @classmethod
    def open(cls, path: Path, parts: Sequence[Path], fewest: int = 2) -> "TextTable":
        """Detect how the files of a table are written."""
        layouts = tuple(layout_of(part, fewest) for part in parts)
        for part, layout in zip(parts, layouts, strict=True):
            if layout.dialect.width != layouts[0].dialect.width:
                raise DataError(
                    f"{part}: expected {layouts[0].dialect.width} columns as in the files beside it, found "
                    f"{layout.dialect.width}",
                    "name the file itself, or keep other tables elsewhere",
                )
        return cls(path, tuple(parts), layouts)

    @property
    def layout(self) -> Layout:
        """The layout of the first file."""
        return self.layouts[0]

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the columns; None if the first row may or may not hold them."""
        return self.layout.names

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The cells of the first rows, a header included."""
        return self.layout.rows

    @property
    def header(self) -> int | None:
        """Number of header rows; None if the cells have to tell."""
        return self.layout.header

    @property
    def format(self) -> str:
        """The format for messages."""
        return self.layout.format

    @property
    def encoding(self) -> str:
        """The codec of the text."""
        return self.layout.encoding

    def blocks(self, names: Sequence[str], wanted: Sequence[str], header: int) -> Iterator[Block]:
        """Read columns.

        Args:
            names: a name for each column of the files.
            wanted: the columns to read.
            header: number of header rows of the first file.
        """
        first = 1
        for part, layout in zip(self.parts, self.layouts, strict=True):
            skip = header if layout.first == self.layout.first else 0
            shown = "::" if layout.separator == "::" else ","
            reader = RowReader(replace(layout.dialect, width=len(names)), names, wanted, shown)
            for block in reader.read(_transformed(layout, _text_of(part, layout)), skip, first):
                first += len(block.rows) + len(block.malformed)
                yield block

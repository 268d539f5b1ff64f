"""JSON arrays and JSON lines as tables of text cells."""

import ast
import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from reelgraph.data.rows import Block, Malformed
from reelgraph.data.stored_files import check_file, open_file
from reelgraph.data.text_files import SAMPLE_ROWS, encoding_of
from reelgraph.errors import DataError

_ROWS = 1 << 16  # in a block
_FIRST_LINES = 20
_CHARACTERS = 1 << 20
_BETWEEN = re.compile(r"[\s,\]]*")


def is_json(path: Path) -> bool:
    """Whether a file begins like a JSON object or an array of objects."""
    if not path.name or path.is_dir():
        return False
    check_file(path)
    with open_file(path) as stream:
        head = stream.read(1 << 12)
    start = head.decode("utf-16" if head[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8", "ignore").lstrip(
        "\ufeff \t\r\n"
    )
    return re.match(r"""\{\s*["'}]|\[\s*[{\]]""", start) is not None


@dataclass(frozen=True)
class JsonTable:
    """Files of JSON objects, an object a row.

    Attributes:
        path: what the user named.
        parts: the files.
        names: the keys of the first objects; those of an object within are joined to its own by a dot.
    """

    path: Path
    parts: tuple[Path, ...]
    encoding: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    format: str = "JSON"
    header: int = 1

    @classmethod
    def open(cls, path: Path, parts: Sequence[Path]) -> "JsonTable":
        """Find the names of the columns."""
        encoding = encoding_of(parts[0])
        sample: list[dict[str, str | None]] = []
        for record in _records(parts[0], encoding):
            if isinstance(record, dict):
                sample.append(record)
            if len(sample) == SAMPLE_ROWS:
                break
        found = {name: None for record in sample for name in record}
        # The null in place of an object is no column beside those of its members.
        heads = {name.rpartition(".")[0] for name in found if "." in name}
        names = tuple(name for name in found if name not in heads or any(record.get(name) for record in sample))
        if not names:
            raise DataError(f"{path}: expected JSON objects, found none", "write an object for each row")
        rows = tuple(tuple(record.get(name) or "" for name in names) for record in sample)
        return cls(path, tuple(parts), encoding, names, rows)

    def blocks(self, names: Sequence[str], wanted: Sequence[str], header: int) -> Iterator[Block]:  # noqa: ARG002
        """Read columns; see `TextTable.blocks`."""
        number = 0
        rows: list[int] = []
        kept: list[dict[str, str | None]] = []
        malformed: list[Malformed] = []
        for part in self.parts:
            for record in _records(part, self.encoding):
                number += 1
                if isinstance(record, dict):
                    rows.append(number)
                    kept.append(record)
                else:
                    malformed.append(Malformed(number, record, "expected a JSON object"))
                if len(rows) + len(malformed) == _ROWS:
                    yield _block(kept, rows, malformed, wanted)
                    rows, kept, malformed = [], [], []
        yield _block(kept, rows, malformed, wanted)


def _block(
    kept: Sequence[dict[str, str | None]], rows: list[int], malformed: list[Malformed], wanted: Sequence[str]
) -> Block:
    columns = [pa.array([record.get(name) or None for record in kept], pa.string()) for name in wanted]
    return Block(pa.RecordBatch.from_arrays(columns, list(wanted)), np.array(rows, np.int64), malformed)


def _records(path: Path, encoding: str) -> Iterator[dict[str, str | None] | str]:
    """Each object with its cells as text by key, or the text of what is not an object."""
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    with open_file(path) as stream, io.TextIOWrapper(stream, codec) as text:
        lines = [line for line in itertools.islice(text, _FIRST_LINES) if line.strip()]
        if len(lines) > 1 and any(isinstance(_parse(line), dict) for line in lines):
            yield from (_parse(line) for line in itertools.chain(lines, text) if line.strip())
            return
        head = "".join(lines).lstrip()
        values = _values(head, text, path)
        first = list(itertools.islice(values, 2))
        if len(first) == 1 and head.startswith("{"):
            first = _rows_of(first[0])
        for record in itertools.chain(first, values):
            yield _flat(record) if isinstance(record, dict) else json.dumps(record)


def _rows_of(value: dict[str, Any]) -> list[Any]:
    """The rows in an object that is a whole table: a member with objects, or columns as pandas writes them."""
    members = list(value.values())
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        return [dict(zip(value["columns"], row, strict=False)) for row in value["data"]]
    tables = [member for member in members if isinstance(member, list) and any(map(_is_object, member))]
    for kind in (list, dict):
        alike = len(members) > 1 and all(isinstance(member, kind) for member in members)
        if alike and len(tables) < len(members) and len({len(member) for member in members}) == 1:
            columns = [member if kind is list else member.values() for member in members]
            return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
    return tables[0] if len(tables) == 1 else [value]


def _values(rest: str, text: Any, path: Path) -> Iterator[Any]:
    """The members of an array, or JSON values one after the other, without reading all of them at once."""
    decoder, more = json.JSONDecoder(), True
    at = 1 if rest.startswith("[") else 0
    while True:
        match = _BETWEEN.match(rest, at)
        at = match.end() if match else at
        if not more and at == len(rest):
            return
        try:
            value, at = decoder.raw_decode(rest, at)
            yield value
        except ValueError as error:
            if not more:
                raise DataError(f"{path}: expected JSON objects, found {error}", "check the file") from None
            chunk = text.read(max(_CHARACTERS, len(rest)))
            rest, at, more = rest[at:] + chunk, 0, bool(chunk)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _parse(line: str) -> dict[str, str | None] | str:
    try:
        value = json.loads(line)
    except ValueError:
        try:
            value = ast.literal_eval(line.strip())  # Some exports hold Python dicts, a line each.
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return line.strip()
    return _flat(value) if isinstance(value, dict) else line.strip()


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, str | None]:
    cells: dict[str, str | None] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            # MongoDB writes a value of a type, such as {"$oid": "5a9427648b0beebeb69579e7"}.
            names = list(value)
            is_typed = len(names) == 1 and names[0].startswith("$")
            cells |= _flat({key: value[names[0]]}, prefix) if is_typed else _flat(value, f"{prefix}{key}.")
        else:
            cells[f"{prefix}{key}"] = _text(value)
    return cells


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)

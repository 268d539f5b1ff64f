"""Columns of lists, such as genres, in any usual form."""

import ast
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from reelgraph.data.vocabulary import NULL_MARKERS

_SEPARATORS = ("|", ";", ",", "/")

_NO_GENRES = {"(no genres listed)", "(no genre listed)", *NULL_MARKERS}

_BRACKETED = re.compile(r"\s*(\[.*\]|\{.*\}|\(.*\))\s*", re.S)

_STRING = r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\""

_QUOTED = re.compile(_STRING)

_MEMBER = re.compile(rf"(?:^|,)\s*(?:{_STRING}|([^\s,'\"][^,]*))")  # PostgreSQL quotes only what needs it

_JUXTAPOSED = re.compile(r"['\"]\s+['\"]")  # numpy writes lists without commas

_NAMES = ("name", "title", "genre", "label", "value")  # of the member of an object that holds its name


def is_genre(name: str) -> bool:
    """Whether a name is a genre to people: not a format as IMAX, nor a placeholder as "(no genres listed)"."""
    return bool(name) and name not in {"IMAX", "unknown"} and name not in _NO_GENRES


def split_genres(cells: Sequence[str | None], *, blanks: bool = False) -> list[str | None]:
    """Genres of each cell, joined by "|"; None for cells without any.

    The form is that of the column: Python or JSON lists, JSON objects with names, or text separated by "|", ";", ","
    or "/".

    Args:
        cells: the column.
        blanks: whether blanks separate genres if nothing else does.
    """
    split = _form_of([cell for cell in cells if cell is not None], blanks=blanks)
    known: dict[str, str | None] = {}
    for cell in cells:
        if cell is not None and cell not in known:
            known[cell] = None if cell.strip() in _NO_GENRES else _joined(split(cell))
    return [None if cell is None else known[cell] for cell in cells]


def is_bracketed(cells: Iterable[str | None]) -> bool:
    """Whether at least half of the cells are Python or JSON lists or objects."""
    filled = [cell for cell in cells if cell]
    return 0 < len(filled) <= 2 * sum(_BRACKETED.fullmatch(cell) is not None for cell in filled)


def _form_of(cells: Sequence[str], *, blanks: bool) -> Callable[[str], list[str]]:
    """The function that splits a cell of a column."""
    cells = [cell for cell in cells if cell.strip() not in _NO_GENRES]
    if is_bracketed(cells):
        return _members
    counts = {separator: sum(separator in cell for cell in cells) for separator in _SEPARATORS}
    if any(counts[other] for other in _SEPARATORS[:-1]) or not _are_lists(cells, "/"):
        counts["/"] = 0  # part of a name, as in "Sci-Fi/Fantasy"
    separator = max(_SEPARATORS, key=lambda one: counts[one])
    if counts[separator]:
        return lambda cell: cell.split(separator)
    return str.split if blanks else lambda cell: [cell]


def _are_lists(cells: Sequence[str], separator: str) -> bool:
    """Whether the separator splits cells into values that recur, unlike the "/" in the name of a single genre."""
    whole = {cell for cell in cells if separator in cell}
    parts = [part.strip() for cell in whole for part in cell.split(separator)]
    alone = {cell.strip() for cell in cells if separator not in cell}
    return len(set(parts)) < len(parts) or bool(alone & set(parts))


def _members(cell: str) -> list[str]:
    """The members of a Python or JSON list or object; a cell of another form is split at commas."""
    if not _JUXTAPOSED.search(cell):
        for parse in (json.loads, ast.literal_eval):
            try:
                return _names_in(parse(cell.strip()))
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
        inside = cell.strip().strip("[](){}")
        return [single or double or bare for single, double, bare in _MEMBER.findall(inside)]
    return [single or double for single, double in _QUOTED.findall(cell)]


def _names_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
        members = value.values() if name is None else [name]
        return [each for member in members if isinstance(member, str | dict | list) for each in _names_in(member)]
    if isinstance(value, list | tuple | set):
        return [name for member in value for name in _names_in(member)]
    return [] if value is None else [str(value)]


def _joined(names: Iterable[str]) -> str | None:
    plain = (name.strip().replace("|", "/") for name in names)
    return "|".join(dict.fromkeys(name for name in plain if name not in _NO_GENRES)) or None

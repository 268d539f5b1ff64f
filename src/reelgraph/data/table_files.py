"""Opens a file, directory or archive of any supported format as one table of text cells."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from reelgraph.data.json_files import JsonTable, is_json
from reelgraph.data.matrix_files import MatrixTable
from reelgraph.data.parquet_files import ParquetTable, is_parquet
from reelgraph.data.rows import Block
from reelgraph.data.stored_files import archive_of, is_archive, list_files
from reelgraph.data.text_files import TextTable
from reelgraph.errors import ConfigError, DataError

_ENDING = r"\.(csv|tsv|txt|dat|data|json|jsonl|ndjson|parquet|pq)"

_WORDS = {"ratings": "ratings?|reviews?|interactions?", "items": "movies?|films?|items?|titles?|books?|anime",
          "users": "users?|customers?"}  # fmt: skip

# Patterns of file names by role, the best first; case and endings of compression do not matter.
_PATTERNS = {
    "ratings": (
        r"ratings\.csv", r"ratings\.dat", r"u\.data", r"ratings\.parquet", r"ratings?" + _ENDING, r".*\.inter",
        r"combined_data_\d+\.txt", rf"(.*[-_. ])?({_WORDS['ratings']})([-_ ]\w+)?{_ENDING}",
    ),
    "items": (
        r"movies\.csv", r"movies\.dat", r"u\.item", r"movies\.parquet", r"movies?" + _ENDING, r".*\.item",
        r"movie_titles\.(csv|txt)", rf"(.*[-_. ])?({_WORDS['items']})([-_. ](metadata|titles|info|basics))?{_ENDING}",
    ),
    "users": (
        r"users\.csv", r"users\.dat", r"u\.user", r"users\.parquet", r"users?" + _ENDING, r".*\.user",
        rf"(.*[-_. ])?({_WORDS['users']}){_ENDING}",
    ),
}  # fmt: skip

_OTHER = re.compile(r"(links?|tags?|genome.*|readme.*|licen[cs]e.*|u\.(genre|info|occupation))(\..*)?")
_TABLE = re.compile(r".*\.(csv|tsv|dat|json|jsonl|ndjson|parquet|pq)|part-[^.]*(\.txt)?")


def files_by_role(folder: Path) -> dict[str, list[Path]]:
    """The files of a directory or archive that hold ratings, items and users, by their names.

    Several files have one role where they are the parts of one table.
    """
    files = [*list_files(folder), *_subdirectories(folder)]
    roles: dict[str, list[Path]] = {}
    for role, patterns in _PATTERNS.items():
        for pattern in patterns:
            matches = [file for file in files if re.fullmatch(pattern, _plain_name(file))]
            if matches:
                depth = min(len(file.parts) for file in matches)
                matches = [file for file in matches if len(file.parts) == depth]
                if role == "ratings":
                    _check_parts(folder, matches)
                roles[role] = sorted(matches) if role == "ratings" else matches[:1]
                break
    if "ratings" not in roles:
        taken = {file for chosen in roles.values() for file in chosen}
        others = [file for file in files if file not in taken and not _OTHER.fullmatch(_plain_name(file))]
        tables = [file for file in others if _TABLE.fullmatch(_plain_name(file))]
        if tables and len({re.sub(r"[^.]*", "", _plain_name(file), count=1) for file in tables}) == 1:
            roles["ratings"] = tables
    return roles


def _check_parts(folder: Path, files: Sequence[Path]) -> None:
    """Refuse several files of ratings unless they are parts, whose names differ in numbers alone."""
    if len({re.sub(r"[0-9]+", "0", _plain_name(file)) for file in files}) > 1:
        names = ", ".join(file.name for file in files[:4])
        raise DataError(f"{folder}: expected one file of ratings, found {names}", "name the ratings file itself")


def _subdirectories(folder: Path) -> list[Path]:
    """Directories that are tables of several parts, as Spark writes them."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and path.suffix and path.name[0] not in "._"]


def _plain_name(path: Path) -> str:
    return re.sub(r"\.(gz|bz2|xz|zst|zip)$", "", path.name.casefold())


class Table(Protocol):
    """A table of text cells.

    Attributes:
        path: what the user named.
        parts: its files.
        names: the names of its columns; None if the first row may or may not hold them.
        rows: the cells of the first rows, a header included.
        header: number of header rows; None if the cells have to tell.
        format: the format for messages.
        encoding: the codec of the text.
    """

    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def parts(self) -> Sequence[Path]: ...  # noqa: D102
    @property
    def names(self) -> tuple[str, ...] | None: ...  # noqa: D102
    @property
    def rows(self) -> tuple[tuple[str, ...], ...]: ...  # noqa: D102
    @property
    def header(self) -> int | None: ...  # noqa: D102
    @property
    def format(self) -> str: ...  # noqa: D102
    @property
    def encoding(self) -> str: ...  # noqa: D102

    def blocks(self, names: Sequence[str], wanted: Sequence[str], header: int) -> Iterator[Block]:
        """Read columns; see `TextTable.blocks`."""
        ...


def open_table(path: Path, *, matrix: bool = False, fewest: int = 2) -> Table:
    """Open a table, whatever its format.

    Args:
        path: a file, a directory of part files, a zip archive, or a path into one.
        matrix: whether it has a row for each user and a column for each item.
        fewest: the least number of columns.
    """
    parts = [path]
    if path.is_dir() or is_archive(path):
        parts = files_by_role(path).get("ratings", []) if not is_parquet(path) else parts
        if not parts:
            raise DataError(f"{path}: expected a table in it, found none", "name the file itself")
    if len(parts) == 1 and parts[0] != path and archive_of(parts[0]) is None:
        return open_table(parts[0], matrix=matrix, fewest=fewest)
    if is_parquet(parts[0]):
        if matrix:
            raise ConfigError(f"--matrix: expected a text file, found {path}", "leave out --matrix")
        return ParquetTable(path, tuple(parts))
    if is_json(parts[0]):
        return JsonTable.open(path, parts)
    table = TextTable.open(path, parts, fewest)
    return MatrixTable(table) if matrix else table

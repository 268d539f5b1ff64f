"""Where ratings come from: files of many forms and the three generations of MovieLens folders, staged as one form."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelgraph.data.textfile import (
    SEPARATOR_NAMES,
    Layout,
    Malformed,
    as_text,
    is_parquet,
    layout_of,
    open_parquet,
    read_text,
)
from reelgraph.errors import ConfigError, DataError

RATINGS = ("ratings.csv", "ratings.dat", "u.data", "ratings.parquet")
ITEMS = ("movies.csv", "movies.dat", "u.item", "movies.parquet")
USERS = ("users.csv", "users.dat", "u.user", "users.parquet")
CANONICAL = {"user": "userId", "item": "movieId", "rating": "rating", "timestamp": "timestamp"}
SYNONYMS = {
    "user": {"userid", "user_id", "user", "uid"},
    "item": {"movieid", "movie_id", "itemid", "item_id", "item", "movie"},
    "rating": {"rating", "stars", "score"},
    "timestamp": {"timestamp", "time", "ts", "date"},
}
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
STAGED = pa.schema([
    ("file", pa.string()), ("row", pa.int64()), *((name, pa.string()) for name in CANONICAL.values()),
    ("raw", pa.string()), ("malformed", pa.string()),
])  # fmt: skip


@dataclass(frozen=True)
class Source:
    """The files of a run; all but the ratings may be missing."""

    ratings: Path
    items: Path | None = None
    users: Path | None = None
    test: Path | None = None


@dataclass(frozen=True)
class Columns:
    """Which column of a file plays which role.

    Attributes:
        names: a name for every column of the file.
        roles: column name by role ("user", "item", "rating", "timestamp").
        header: number of header lines, 0 or 1.
    """

    names: tuple[str, ...]
    roles: Mapping[str, str]
    header: int


@dataclass(frozen=True)
class Staged:
    """What was found in a staged file; JSON values but for the path."""

    name: str
    bytes: int
    sha256: str
    form: str
    header: bool
    encoding: str
    columns: Mapping[str, str]
    id_types: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        """One line for the terminal."""
        roles = ", ".join(f"{role} = {column}" for role, column in self.columns.items())
        heading = "" if self.form == "parquet" else f"{', header' if self.header else ', no header'}, {self.encoding}"
        return f"{self.name}: {self.form}{heading}; {roles}"


def find(
    ratings: Path | None = None, items: Path | None = None, users: Path | None = None, test: Path | None = None
) -> Source:
    """The files behind what was asked for.

    Args:
        ratings: a file, a MovieLens folder, or None for the bundled sample.
        items: a movie table; a relative path is looked up here first and then beside the ratings.
        users: a user table, likewise.
        test: test ratings, likewise.

    Raises:
        DataError: if a file is missing or the folder is not a MovieLens folder.
    """
    if ratings is None:
        sample = Path(str(resources.files("reelgraph.data"))) / "sample"
        found = Source(sample / "ratings.parquet", sample / "movies.parquet")
    elif ratings.is_dir():
        main = _first(ratings, RATINGS)
        if main is None:
            raise DataError(
                f"{ratings}: expected a MovieLens folder with one of {', '.join(RATINGS)}, found none of them",
                "name the ratings file itself",
            )
        found = Source(main, _first(ratings, ITEMS), _first(ratings, USERS))
    else:
        found = Source(ratings)
    beside = found.ratings.parent
    return Source(
        found.ratings,
        _beside(items, beside) or found.items,
        _beside(users, beside) or found.users,
        _beside(test, beside),
    )


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _beside(path: Path | None, folder: Path) -> Path | None:
    if path is None or path.exists() or path.is_absolute() or not (folder / path).exists():
        return path
    return folder / path


def stage_ratings(path: Path, columns: Mapping[str, str], out: Path, name: str) -> Staged:
    """Stream a ratings file into one Parquet form that every engine reads alike: each cell as text, rows numbered.

    Args:
        path: CSV, TSV, `::`-separated or Parquet.
        columns: column names, or positions from 1 in a file without a header, by role; the others are inferred.
        out: the Parquet file, columns `STAGED`.
        name: what the file is called in its rows and in messages.

    Raises:
        DataError: if the file cannot be read or a column is missing.
        ConfigError: if `columns` names a role or a column that is not there.
    """
    with pq.ParquetWriter(out, STAGED, compression="snappy") as writer:
        if is_parquet(path):
            chosen, id_types = _stage_parquet(path, columns, writer, name)
            form, header, encoding = "parquet", True, "utf-8"
        else:
            layout = layout_of(path)
            chosen = choose_columns(path, layout, columns, ("user", "item", "rating"))
            id_types = {"user": "string", "item": "string"}
            _stage_text(path, layout, chosen, writer, name)
            form = "::" if layout.separator == "::" else f"{SEPARATOR_NAMES[layout.separator]}-separated"
            header, encoding = bool(chosen.header), layout.encoding
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Staged(name, path.stat().st_size, digest, form, header, encoding, dict(chosen.roles), id_types)


def _stage_text(path: Path, layout: Layout, chosen: Columns, writer: pq.ParquetWriter, name: str) -> None:
    malformed: list[Malformed] = []
    expected, number = len(chosen.names), 1
    for batch in read_text(path, layout, chosen.names, list(chosen.roles.values()), chosen.header, malformed.append):
        # A batch's rows are numbered past the malformed ones, which were reported before it came.
        refused = {line.row for line in malformed}
        rows = np.fromiter(_skipping(number, refused, batch.num_rows), np.int64, batch.num_rows)
        number = int(rows[-1]) + 1 if len(rows) else number
        cells = {CANONICAL[role]: batch[name] for role, name in chosen.roles.items()}
        _write(writer, name, pa.array(rows), cells)
    if malformed:
        aside = {
            "file": [name] * len(malformed),
            "row": [line.row for line in malformed],
            **dict.fromkeys(CANONICAL.values(), [None] * len(malformed)),
            "raw": [line.text for line in malformed],
            "malformed": [f"expected {expected} cells, found {line.found}" for line in malformed],
        }
        writer.write_table(pa.table(aside, STAGED))


def _skipping(first: int, refused: set[int], length: int) -> Iterator[int]:
    if not refused:
        yield from range(first, first + length)
        return
    numbers = (row for row in count(first) if row not in refused)
    for _ in range(length):
        yield next(numbers)


def _stage_parquet(
    path: Path, columns: Mapping[str, str], writer: pq.ParquetWriter, name: str
) -> tuple[Columns, dict[str, str]]:
    file = open_parquet(path)
    names = tuple(file.schema_arrow.names)
    chosen = Columns(names, roles_of(path, names, columns, ("user", "item", "rating")), 1)
    number = 1
    try:
        for batch in file.iter_batches(columns=list(chosen.roles.values()), batch_size=1 << 18):
            rows = pa.array(np.arange(number, number + batch.num_rows))
            number += batch.num_rows
            cells = {CANONICAL[role]: as_text(batch[name]) for role, name in chosen.roles.items()}
            for role in ("user", "item"):
                if pa.types.is_floating(batch[chosen.roles[role]].type):  # A float NaN is no id but a missing one.
                    ids = cells[CANONICAL[role]]
                    cells[CANONICAL[role]] = pc.if_else(pc.equal(ids, "nan"), None, ids)
            _write(writer, name, rows, cells)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: expected a Parquet file, found a damaged one ({error})", "write it again") from None
    types = {role: str(file.schema_arrow.field(chosen.roles[role]).type) for role in ("user", "item")}
    return chosen, types


def _write(writer: pq.ParquetWriter, name: str, rows: pa.Array, cells: Mapping[str, pa.Array]) -> None:
    nothing = pa.nulls(len(rows), pa.string())
    names = pa.DictionaryArray.from_arrays(np.zeros(len(rows), np.int8), [name]).cast(pa.string())
    columns = [names, rows, *(cells.get(column, nothing) for column in CANONICAL.values()), nothing, nothing]
    writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=STAGED))


def choose_columns(path: Path, layout: Layout, columns: Mapping[str, str], needed: Sequence[str]) -> Columns:
    """Decide which column plays which role, and whether the first line is a header.

    Without a header the order is MovieLens': user, item, rating, timestamp (or what `needed` says). The first line is a
    header when it names a column that is known or asked for, or when its rating is no number.

    Args:
        path: the file, for messages.
        layout: how it is written.
        columns: names or positions by role, as the user gave them.
        needed: the roles that must be there.
    """
    first = layout.first
    known = {synonym for role in SYNONYMS.values() for synonym in role} | {name.casefold() for name in columns.values()}
    positions = bool(columns) and all(name.isdigit() for name in columns.values())
    place = list(needed).index("rating") if "rating" in needed else None
    rating = first[place] if place is not None and place < len(first) else None
    text = rating is not None and not re.fullmatch(NUMBER, rating.strip())
    if any(cell.strip().casefold() in known for cell in first) and not positions:
        names = tuple(cell.strip() for cell in first)
        return Columns(names, roles_of(path, names, columns, needed), 1)
    if text and not positions and len(layout.rows) > 1 and not _numeric_below(layout, place):
        text = False  # No number further down either: the column holds text, and the first line is one more of it.
    if text and not positions:
        return Columns(first, roles_of(path, first, columns, needed), 1)
    names = tuple(str(number) for number in range(1, len(first) + 1))
    order = [*needed, *(role for role in CANONICAL if role not in needed)]
    if columns:
        return Columns(names, roles_of(path, names, columns, needed), 0)
    if len(names) < len(needed):
        wanted = ", ".join(CANONICAL[role] for role in needed)
        raise DataError(
            f"{path}: expected columns {wanted}, found {len(names)} columns and no header", "add a header or --columns"
        )
    return Columns(names, dict(zip(order, names[: len(order)], strict=False)), 0)


def _numeric_below(layout: Layout, place: int | None) -> bool:
    cells = [row[place] for row in layout.rows[1:] if place is not None and place < len(row)]
    return any(re.fullmatch(NUMBER, cell.strip()) for cell in cells)


def roles_of(path: Path, names: Sequence[str], columns: Mapping[str, str], needed: Sequence[str]) -> dict[str, str]:
    """Column name by role, from the names of a file's columns and what the user said.

    Raises:
        ConfigError: if the user named a role or a column that does not exist.
        DataError: if a needed role has no column.
    """
    for role, name in columns.items():
        if role not in CANONICAL:
            raise ConfigError(f"--columns: expected roles {', '.join(CANONICAL)}, found {role!r}", "correct the role")
        if name not in names:
            raise ConfigError(
                f"--columns: expected a column of {path} ({', '.join(names)}), found {name!r}", "name one"
            )
    roles = {}
    for role, synonyms in SYNONYMS.items():
        inferred = next((name for name in names if name.casefold() in synonyms), None)
        if columns.get(role, inferred) is not None:
            roles[role] = columns.get(role) or inferred or ""
    missing = [role for role in needed if role not in roles]
    if missing:
        wanted = ", ".join(CANONICAL[role] for role in missing)
        remedy = f"name it, such as --columns {missing[0]}={names[0]}"
        raise DataError(f"{path}: expected a column {wanted}, found {', '.join(names)}", remedy)
    return roles

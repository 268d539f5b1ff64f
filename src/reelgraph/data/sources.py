"""Where ratings come from: files of many forms, folders, and which column plays which role."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from reelgraph.data.parquet_files import is_parquet
from reelgraph.data.text_files import Layout
from reelgraph.errors import ConfigError, DataError

RATINGS = ("ratings.csv", "ratings.dat", "u.data", "ratings.parquet")

ITEMS = ("movies.csv", "movies.dat", "u.item", "movies.parquet")

USERS = ("users.csv", "users.dat", "u.user", "users.parquet")

CANONICAL = {"user": "userId", "item": "movieId", "rating": "rating", "timestamp": "timestamp"}

NEEDED = ("user", "item", "rating")

SYNONYMS = {
    "user": {"userid", "user_id", "user", "uid"},
    "item": {"movieid", "movie_id", "itemid", "item_id", "item", "movie"},
    "rating": {"rating", "stars", "score"},
    "timestamp": {"timestamp", "time", "ts", "date"},
}

NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"


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
        main = _first(ratings, RATINGS) or (ratings if is_parquet(ratings) else None)
        if main is None:
            raise DataError(
                f"{ratings}: expected a MovieLens folder with one of {', '.join(RATINGS)}, or Parquet files, found "
                "neither",
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
    paths = (folder / name for name in names)
    return next((path for path in paths if path.is_file() or (path.is_dir() and is_parquet(path))), None)


def _beside(path: Path | None, folder: Path) -> Path | None:
    if path is None or path.exists() or path.is_absolute() or not (folder / path).exists():
        return path
    return folder / path


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


DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T]([01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}([.][0-9]+)?Z?)?"  # no engine's hour 24

MILLISECONDS = 1e11  # seconds would be the year 5138

SECONDS_LIMIT = 1e16

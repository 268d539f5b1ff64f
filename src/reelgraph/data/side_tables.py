"""Movie and user tables: titles, years, genres and other side columns."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from reelgraph.data.sources import CANONICAL, SYNONYMS, Columns, plain_name, read_all
from reelgraph.data.table_files import open_table
from reelgraph.data.text_files import check_names
from reelgraph.errors import DataError

# Columns of the MovieLens files without a header, from the READMEs of ML-100K and ML-1M.
_GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip

_HEADERLESS = {
    "u.item": ("movieId", "title", "release", "video_release", "url", *_GENRES_100K),
    "u.user": ("userId", "age", "gender", "occupation", "zip"),
    "movies.dat": ("movieId", "title", "genres"),
    "users.dat": ("userId", "gender", "age", "occupation", "zip"),
}

Report = Callable[[str], None]


def silent(line: str) -> None:
    """A report that drops its lines."""


_NO_GENRES = "(no genres listed)"
_TITLE_YEAR = r"\((?P<year>[0-9]{4})\)\s*$"


def read_items(path: Path, report: Report = silent) -> pa.Table:
    """Read a movie table: `u.item`, `movies.dat`, or any table with a column of movie ids.

    Returns:
        `movieId`, then `title` (text), `year` (int32) and `genres` (text, separated by "|") if the table has them, then
        the other columns as text; unknown cells are null. The first row of a movie counts.

    Raises:
        DataError: if the table cannot be read or has no column of movie ids.
    """
    table = _read(path, "item", report)
    if path.name == "u.item":
        table = _join_flags(table).drop_columns(["video_release", "url"])
    if "genres" in table.column_names:
        genres = table["genres"]
        table = table.set_column(
            table.column_names.index("genres"), "genres", pc.if_else(pc.equal(genres, _NO_GENRES), None, genres)
        )
    year = _year(table)
    if year is not None:
        table = table.drop_columns([name for name in ("year", "release") if name in table.column_names])
        table = table.append_column("year", year)
    front = [name for name in ("movieId", "title", "year", "genres") if name in table.column_names]
    return table.select([*front, *(name for name in table.column_names if name not in front)])


def read_users(path: Path, report: Report = silent) -> pa.Table:
    """Read a user table: `userId`, then the other columns as text; see `read_items`."""
    return _read(path, "user", report)


def _read(path: Path, role: str, report: Report) -> pa.Table:
    identity = CANONICAL[role]
    file = open_table(path)
    names, header = file.names, file.header or 0
    if names is None:
        names = _HEADERLESS.get(path.name.casefold(), ())
        header = 0 if len(names) == len(file.rows[0]) else 1
        names = names if not header else tuple(cell.strip() for cell in file.rows[0])
    check_names(path, names)
    table, malformed = read_all(file, Columns(names, {}, header))
    if malformed:
        first = malformed[0]
        rows = f"{len(malformed):,} row{'s' if len(malformed) > 1 else ''}"
        report(f"{path.name}: refused {rows}: {first.reason} (first row {first.row:,}: {first.text[:80]})")
    known = [name for name in table.column_names if plain_name(name) in SYNONYMS[role]]
    key = identity if identity in known else next(iter(known), None)
    if key is None:
        shown = ", ".join(table.column_names[:8])
        raise DataError(f"{path}: expected a column {identity}, found {shown}", f"name the id column {identity}")
    table = table.rename_columns([identity if name == key else name for name in table.column_names])
    return _first_of_each(table.filter(pc.is_valid(table[identity])), identity)


def _first_of_each(table: pa.Table, identity: str) -> pa.Table:
    place = pa.array(range(table.num_rows), pa.int64())
    first = pa.table({"id": table[identity], "place": place}).group_by("id").aggregate([("place", "min")])
    return table.take(pc.take(first["place_min"], pc.sort_indices(first["place_min"])))


def _join_flags(table: pa.Table) -> pa.Table:
    """Turn the 0/1 columns of `u.item` into one column of genres."""
    flags = {name: table[name].to_pylist() for name in _GENRES_100K if name != "unknown"}
    genres = ["|".join(name for name in flags if flags[name][row] == "1") or None for row in range(table.num_rows)]
    return table.drop_columns(list(_GENRES_100K)).append_column("genres", pa.array(genres, pa.string()))


def _year(table: pa.Table) -> pa.ChunkedArray | None:
    """The year from its own column, else from the end of the title or of the release date."""
    years: pa.ChunkedArray | None = None
    for name, pattern in (
        ("year", r"^\s*(?P<year>[0-9]{4})(?:\.0)?\s*$"),
        ("title", _TITLE_YEAR),
        ("release", r"(?P<year>[0-9]{4})\s*$"),
    ):
        if name in table.column_names:
            text = pc.struct_field(pc.extract_regex(table[name], pattern), "year")
            year = pc.cast(text, pa.int32())
            years = year if years is None else pc.coalesce(years, year)
    return years

"""Finds the files of a data set, and decides which column plays which role."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelgraph.arrays import Int64s
from reelgraph.data.parquet_files import is_parquet
from reelgraph.data.rows import NUMBER, Block, Malformed
from reelgraph.data.stored_files import exists, is_archive
from reelgraph.data.table_files import Table, files_by_role
from reelgraph.data.times import parse_times
from reelgraph.errors import ConfigError, DataError

RATINGS = ("ratings.csv", "ratings.dat", "u.data", "ratings.parquet")
CANONICAL = {"user": "userId", "item": "movieId", "rating": "rating", "timestamp": "timestamp"}
NEEDED = ("user", "item", "rating")
SAMPLE = Path(str(resources.files("reelgraph.data"))) / "sample"  # the bundled ratings

PAIR = ("user", "item")
_LINKS = ("links.csv", "links.csv.gz")

# Names of columns without case and punctuation: MovieLens, Amazon, BookCrossing, Anime, RecBole and common ones.
SYNONYMS = {
    "user": {"userid", "user", "uid", "useridx", "reviewerid", "customerid", "profileid"},
    "item": {"movieid", "itemid", "item", "movie", "iid", "movieidx", "itemidx", "asin", "parentasin", "isbn",
             "animeid", "filmid"},
    "rating": {"rating", "ratings", "stars", "star", "score", "overall", "bookrating", "userrating", "starrating"},
    "timestamp": {"timestamp", "time", "ts", "date", "datetime", "unixreviewtime", "ratedat", "unixtime",
                  "createdat", "reviewdate", "ratingdate", "ratingtime", "ratingtimestamp"},
}  # fmt: skip

# Names of a column of counts or likes, where a rating is not needed.
COUNTS = {
    "count", "counts", "plays", "playcount", "views", "viewcount", "watches", "watchcount", "listens", "clicks",
    "purchases", "quantity", "weight", "like", "likes", "liked", "viewed", "watched", "played", "favorite",
}  # fmt: skip

YES, NO = ("true", "yes", "t", "y"), ("false", "no", "f", "n")  # words for a like and for none

# MovieLens files without a header, and the order of columns that goes with `::`.
_MOVIELENS = re.compile(r"u\.data|u[1-5ab]\.(base|test)|ratings\.dat|r[1-5ab]\.(train|test)")
RATING_PLACE = 2  # in the usual order
_ITEM_IDS = re.compile(r"B[0-9]{2}[0-9A-Z]{7}|[0-9]{9}[0-9X]|tt[0-9]{7,}")  # Amazon, ISBN, IMDb


@dataclass(frozen=True)
class Source:
    """The files of a data set; all but the ratings are optional, `links` has IMDb and TMDB ids of the movies."""

    ratings: Path
    items: Path | None = None
    users: Path | None = None
    test: Path | None = None
    links: Path | None = None


@dataclass(frozen=True)
class Columns:
    """The columns of a file.

    Attributes:
        names: a name for every column.
        roles: column name by role ("user", "item", "rating", "timestamp").
        header: number of header rows, 0 or 1.
        decimal_comma: whether ratings such as 4,5 are numbers.
    """

    names: tuple[str, ...]
    roles: Mapping[str, str]
    header: int
    decimal_comma: bool = False


def find(
    ratings: Path | None = None, items: Path | None = None, users: Path | None = None, test: Path | None = None
) -> Source:
    """Find the files of a data set.

    Args:
        ratings: a file, a directory, a zip archive, or None for the bundled sample.
        items: a movie table; a relative path is looked up in the working directory, then beside the ratings.
        users: a user table, likewise.
        test: test ratings, likewise.
    """
    if ratings is None:
        source = Source(SAMPLE / "ratings.parquet", SAMPLE / "movies.parquet")
    elif ratings.is_dir() or is_archive(ratings):
        source = _in_folder(ratings)
    else:
        source = Source(ratings)
    beside = ratings if ratings is not None and is_archive(ratings) else source.ratings.parent
    movies = _beside(items, beside) or source.items
    return Source(
        source.ratings,
        movies,
        _beside(users, beside) or source.users,
        _beside(test, beside),
        None if movies is None else _links_beside(movies),
    )


def _links_beside(items: Path) -> Path | None:
    """MovieLens' table of IMDb and TMDB ids beside a movie table."""
    return next((path for name in _LINKS if exists(path := items.parent / name)), None)


def _in_folder(folder: Path) -> Source:
    files = files_by_role(folder)
    parts = files.get("ratings", [folder] if is_parquet(folder) else [])
    if not parts:
        raise DataError(
            f"{folder}: expected a MovieLens folder with one of {', '.join(RATINGS)}, or the parts of a table, found "
            "neither",
            "name the ratings file itself",
        )
    side = [files[role][0] if role in files else None for role in ("items", "users")]
    return Source(parts[0] if len(parts) == 1 else folder, *side)


def _beside(path: Path | None, folder: Path) -> Path | None:
    if path is None or path.exists() or path.is_absolute() or not exists(folder / path):
        return path
    return folder / path


def choose_columns(table: Table, columns: Mapping[str, str], needed: Sequence[str]) -> Columns:
    """Decide which column plays which role, and whether the first row is a header.

    Args:
        table: the table.
        columns: names, or positions from 1 without a header, by role, as the user gave them.
        needed: the roles that must be there.
    """
    rows = table.rows
    if table.names is not None:
        chosen = Columns(table.names, roles_of(table.path, table.names, columns, needed), table.header or 0)
    elif _has_header(table, columns, needed):
        names = tuple(cell.strip() for cell in rows[0])
        chosen = Columns(names, roles_of(table.path, names, columns, needed), 1)
    else:
        names = tuple(str(number) for number in range(1, len(rows[0]) + 1))
        roles = roles_of(table.path, names, columns, needed) if columns else _roles_by_content(table, names, needed)
        chosen = Columns(names, roles, 0)
    return Columns(chosen.names, chosen.roles, chosen.header, _has_decimal_commas(table, chosen))


def _has_header(table: Table, columns: Mapping[str, str], needed: Sequence[str]) -> bool:
    """Whether the first row names a known column, or has text where the rows below have numbers."""
    first, *body = table.rows
    if columns and all(name.isdigit() for name in columns.values()):
        return False
    asked = {name.casefold() for name in columns.values()}
    if any(plain_name(cell) in names for cell in first for names in SYNONYMS.values()) or any(
        cell.strip().casefold() in asked for cell in first
    ):
        return True
    place = list(needed).index("rating") if "rating" in needed else None
    if place is None or place >= len(first) or _is_number(first[place]):
        return False
    return not body or any(_is_number(row[place]) for row in body if place < len(row))


def plain_name(name: str) -> str:
    """A column's name as in `SYNONYMS`."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _is_number(cell: str) -> bool:
    return re.fullmatch(NUMBER, cell.strip().replace(",", ".", 1)) is not None


def _has_decimal_commas(table: Table, chosen: Columns) -> bool:
    name = chosen.roles.get("rating")
    if name is None or not table.rows:
        return False
    place = chosen.names.index(name)
    cells = [row[place].strip() for row in table.rows[chosen.header :] if place < len(row)]
    commas = any(re.fullmatch(r"[+-]?\d*,\d+", cell) for cell in cells)
    return commas and not any("." in cell for cell in cells)


def _roles_by_content(table: Table, names: tuple[str, ...], needed: Sequence[str]) -> dict[str, str]:
    """Roles of columns without a header, where the cells leave no doubt.

    Raises:
        DataError: if they do; it shows the first row.
    """
    rows = [row for row in table.rows if len(row) == len(names)]
    if len(names) < len(needed):
        wanted = ", ".join(CANONICAL[role] for role in needed)
        raise DataError(
            f"{table.path}: expected columns {wanted}, found {len(names)} columns and no header",
            "add a header or --columns",
        )
    order = [*needed, *(role for role in CANONICAL if role not in needed)]
    if "rating" not in needed and len(names) > RATING_PLACE and _are_times([row[RATING_PLACE].strip() for row in rows]):
        order.remove("rating")
    known = _MOVIELENS.fullmatch(table.path.name.casefold()) or table.format == "::"
    if "rating" not in needed or "user" not in needed or (known and len(names) <= len(order)):
        return dict(zip(order, names[: len(order)], strict=False))
    columns = [[row[place].strip() for row in rows] for place in range(len(names))]
    times = [place for place, cells in enumerate(columns) if _are_times(cells)]
    scales = [place for place, cells in enumerate(columns) if _are_on_a_scale(cells)]
    if len(scales) > 1:  # Small ids look like ratings, too, but have no fractions, and more different values.
        fractions = [place for place in scales if any(re.search(r"[.,]\d*[1-9]", cell) for cell in columns[place])]
        fewest = min(scales, key=lambda place: (len(set(columns[place])), place != RATING_PLACE))
        scales = fractions or ([fewest] if fewest == RATING_PLACE else scales)
    ids = [place for place in range(len(names)) if place not in {*times, *scales}]
    if len(scales) != 1 or len(ids) != 2 or len(times) > 1:
        raise _uncertain(table, columns)
    user, item = ids
    if _are_item_ids(columns[user]) and not _are_item_ids(columns[item]):
        user, item = item, user
    places = {"user": user, "item": item, "rating": scales[0]} | ({"timestamp": times[0]} if times else {})
    return {role: names[place] for role, place in places.items()}


def _uncertain(table: Table, columns: Sequence[Sequence[str]]) -> DataError:
    shown = ",".join(table.rows[0])
    if len(columns) > 5 and all(_is_number(cell) or not cell for cells in columns for cell in cells):
        looks = f"{len(columns)} columns of numbers, as in a matrix with a row for each user"
        remedy = "read it with --matrix, or name columns such as --columns user=1,item=2,rating=3"
    else:
        looks, remedy = f"{len(columns)} columns", "name them, such as --columns user=1,item=2,rating=3"
    return DataError(
        f"{table.path}: expected a header, or columns of users, movies and ratings that can be told apart, found "
        f"{looks}: {shown[:80]!r}",
        remedy,
    )


def _are_times(cells: Sequence[str]) -> bool:
    filled = pa.array([cell for cell in cells if cell], pa.string())
    times = parse_times(filled)
    is_time = pc.or_(pc.is_valid(times.moment), pc.fill_null(pc.greater_equal(pc.abs(times.number), 10**8), False))
    return bool(len(filled)) and pc.all(is_time).as_py()


def _are_on_a_scale(cells: Sequence[str]) -> bool:
    """Whether cells may be ratings: numbers up to 100, few different ones unless they have fractions."""
    filled = [cell for cell in cells if cell]
    numbers = [float(cell.replace(",", ".")) for cell in filled if _is_number(cell)]
    if not numbers or len(numbers) < 0.9 * len(filled) or max(map(abs, numbers)) > 100:
        return False
    return len(set(numbers)) <= max(101, 0.2 * len(numbers))


def _are_item_ids(cells: Sequence[str]) -> bool:
    return all(_ITEM_IDS.fullmatch(cell) for cell in cells)


def roles_of(path: Path, names: Sequence[str], columns: Mapping[str, str], needed: Sequence[str]) -> dict[str, str]:
    """Column name by role, from the names of a file's columns and what the user said."""
    for role, name in columns.items():
        if role not in CANONICAL:
            raise ConfigError(f"--columns: expected roles {', '.join(CANONICAL)}, found {role!r}", "correct the role")
        if name not in names:
            raise ConfigError(
                f"--columns: expected a column of {path} ({', '.join(names)}), found {name!r}", "name one"
            )
    roles = {}
    for role, synonyms in SYNONYMS.items():
        known = (COUNTS, synonyms) if role == "rating" and role not in needed else (synonyms,)
        fitting = [name for group in known for name in names if plain_name(name) in group]
        inferred = min(
            fitting,
            key=lambda name: (plain_name(name) not in known[0], plain_name(name) != CANONICAL[role].lower()),
            default=None,
        )
        if columns.get(role, inferred) is not None:
            roles[role] = columns.get(role) or inferred or ""
    missing = [role for role in needed if role not in roles]
    if missing:
        wanted = ", ".join(CANONICAL[role] for role in missing)
        free = [name for name in names if name not in roles.values()] or list(names)
        remedy = f"name it, such as --columns {missing[0]}={free[0]}"
        if missing == ["rating"]:
            name = "NAME" if free == list(names) else free[0]
            remedy = (
                f"name the column of ratings with --columns rating={name}, or, if these are views, likes or play "
                "counts, train lists on them with --implicit (implicit=True)"
            )
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise DataError(f"{path}: expected a column {wanted}, found {shown}", remedy)
    return roles


def read_columns(table: Table, chosen: Columns, wanted: Sequence[str]) -> Iterator[Block]:
    """Read some columns of a table, decimal commas of ratings turned into points."""
    rating = chosen.roles.get("rating")
    for block in table.blocks(chosen.names, wanted, chosen.header):
        if rating is not None and chosen.decimal_comma and rating in wanted:
            place = list(wanted).index(rating)
            numbers = pc.replace_substring_regex(block.cells.column(place), r"^(\s*[+-]?\d*),(\d+\s*)$", r"\1.\2")
            yield replace(block, cells=block.cells.set_column(place, rating, numbers))
        else:
            yield block


def read_all(table: Table, chosen: Columns) -> tuple[pa.Table, Int64s, list[Malformed]]:
    """All columns of a table as text, the number of each row, and the malformed rows."""
    blocks = list(read_columns(table, chosen, chosen.names))
    schema = pa.schema([(name, pa.string()) for name in chosen.names])
    numbers = np.concatenate([np.empty(0, np.int64), *(block.rows for block in blocks)])
    malformed = [row for block in blocks for row in block.malformed]
    return pa.Table.from_batches([block.cells for block in blocks], schema), numbers, malformed

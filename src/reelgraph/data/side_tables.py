"""Movie and user tables: titles, years, genres and other side columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from reelgraph.data.genres import is_bracketed, split_genres
from reelgraph.data.rows import Malformed
from reelgraph.data.sources import CANONICAL, SYNONYMS, Columns, plain_name, read_all
from reelgraph.data.table_files import open_table
from reelgraph.data.text_files import check_names
from reelgraph.data.titles import plain_title, year_in
from reelgraph.data.vocabulary import canonical_ids, nulls_for_markers
from reelgraph.errors import ConfigError, DataError

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

Refuse = Callable[[Malformed], None]


def ignore(row: Malformed) -> None:
    """Drop a refused row."""


# Names of columns by role as `plain_name` gives them, the most telling first: MovieLens, IMDb, TMDB, Netflix,
# BookCrossing, Anime, RecBole and common ones.
_ITEM_NAMES = {
    "id": ("movieid", *sorted(SYNONYMS["item"]), "tconst", "const", "id", "bookid", "malid", "titleid", "showid"),
    "title": (
        "title", "primarytitle", "movietitle", "booktitle", "animetitle", "itemtitle", "filmtitle", "name", "moviename",
        "originaltitle", "titleenglish",
    ),
    "year": ("year", "startyear", "releaseyear", "movieyear", "yearofpublication", "publicationyear", "releasedate",
             "release", "released", "premiered", "aired", "published", "pubyear"),
    "genres": ("genres", "genre", "moviegenres", "class", "listedin", "categories"),
}  # fmt: skip

_USER_NAMES = {"id": ("userid", *sorted(SYNONYMS["user"]), "id")}

_YEAR_ALONE = r"^\s*(?P<year>1[89][0-9]{2}|20[0-9]{2})(?:[.]0)?\s*$"
_YEAR = r"(?:^|[^0-9])(?P<year>1[89][0-9]{2}|20[0-9]{2})(?:[^0-9]|$)"


def read_items(
    path: Path, refuse: Refuse = ignore, *, columns: Mapping[str, str] | None = None, rating_column: str | None = None
) -> pa.Table:
    """Read a movie table: `u.item`, `movies.dat`, or any table with a column of movie ids.

    Args:
        path: the table.
        refuse: called with each refused row.
        columns: column names by role (id, title, year, genres); the others are inferred.
        rating_column: what the ratings call the movie, one more name for the id.

    Returns:
        `movieId`, then `title` (text), `year` (int32) and `genres` (text, separated by "|") if the table has them, then
        the other columns as text; unknown cells are null. The first row of a movie counts.

    Raises:
        DataError: if the table cannot be read or has no column of movie ids.
    """
    table, is_recbole = _read(path, refuse, "item", columns or {}, rating_column)
    if path.name.casefold() == "u.item":
        table = _join_flags(table).drop_columns(["video_release", "url"])
    for name in table.column_names:
        if name not in {"movieId", "title", "year"}:
            cells = table[name].to_pylist() if name == "genres" or _may_be_lists(table[name]) else []
            if name == "genres" or is_bracketed(cells):
                lists = pa.array(split_genres(cells, blanks=is_recbole), pa.string())
                table = table.set_column(table.column_names.index(name), name, lists)
    year = _year(table)
    if year is not None:
        table = table.drop_columns([name for name in ("year", "release") if name in table.column_names])
        table = table.append_column("year", year)
    if "title" in table.column_names:
        titles = [None if title is None else plain_title(title) for title in table["title"].to_pylist()]
        table = table.set_column(table.column_names.index("title"), "title", pa.array(titles, pa.string()))
    front = [name for name in ("movieId", "title", "year", "genres") if name in table.column_names]
    return table.select([*front, *(name for name in table.column_names if name not in front)])


def read_users(
    path: Path, refuse: Refuse = ignore, *, columns: Mapping[str, str] | None = None, rating_column: str | None = None
) -> pa.Table:
    """Read a user table: `userId`, then the other columns as text; see `read_items`."""
    return _read(path, refuse, "user", columns or {}, rating_column)[0]


def add_links(items: pa.Table, path: Path, refuse: Refuse, report: Callable[[str], None]) -> pa.Table:
    """Add the columns imdbId and tmdbId of MovieLens' links.csv to a movie table; another file changes nothing."""
    try:
        links = _read(path, refuse, "item", {}, None)[0]
    except DataError as error:
        report(f"{path.name}: not used: {error.problem}")
        return items
    kept = {plain_name(name) for name in items.column_names}
    rows = pc.index_in(items["movieId"], value_set=links["movieId"].combine_chunks())
    for name in links.column_names:
        new_name = {"imdbid": "imdbId", "tmdbid": "tmdbId"}.get(plain_name(name))
        if new_name is not None and plain_name(name) not in kept:
            items = items.append_column(new_name, links[name].take(rows))
            report(f"{path.name}: {new_name} of {len(rows) - items[new_name].null_count:,} of {len(rows):,} movies")
    return items


def _read(
    path: Path, refuse: Refuse, role: str, columns: Mapping[str, str], rating_column: str | None
) -> tuple[pa.Table, bool]:
    """A table with the columns of known roles renamed, and whether it is a RecBole file."""
    identity = CANONICAL[role]
    file = open_table(path)
    names, header = file.names, file.header or 0
    if names is None:
        names = _HEADERLESS.get(path.name.casefold(), ())
        header = 0 if len(names) == len(file.rows[0]) else 1
        names = names if not header else tuple(cell.strip() for cell in file.rows[0])
    check_names(path, names)
    table, numbers, malformed = read_all(file, Columns(names, {}, header))
    for row in malformed:
        refuse(replace(row, reason=f"malformed row: {row.reason}"))
    roles = _roles(path, role, table.column_names, columns, rating_column)
    if "id" not in roles:
        shown, option = ", ".join(table.column_names[:8]), f"--{role}-columns id=NAME"
        raise DataError(f"{path}: expected a column {identity}, found {shown}", f"name the id column with {option}")
    new_names = {column: identity if name == "id" else name for name, column in roles.items()}
    others = {name: f"{name}_" for name in set(new_names.values()) - set(new_names)}  # a name that a role takes
    table = table.rename_columns([new_names.get(name, others.get(name, name)) for name in table.column_names])
    table = pa.table({name: nulls_for_markers(table[name]) for name in table.column_names})
    ids = canonical_ids(table[identity].combine_chunks())
    table = table.set_column(table.column_names.index(identity), identity, ids)
    for place in pc.indices_nonzero(pc.is_null(ids)).to_pylist():
        cells = ",".join(cell or "" for cell in table.slice(place, 1).to_pylist()[0].values())
        refuse(Malformed(int(numbers[place]), cells, f"{'movie' if role == 'item' else 'user'} id is missing"))
    return _first_of_each(table.filter(pc.is_valid(ids)), identity), file.format == "RecBole"


def _roles(
    path: Path, role: str, names: Sequence[str], given: Mapping[str, str], rating_column: str | None
) -> dict[str, str]:
    """Column name by role, from the user, the ratings' name for the id, or the names themselves."""
    synonyms = _ITEM_NAMES if role == "item" else _USER_NAMES
    for name, column in given.items():
        if name not in synonyms:
            raise ConfigError(
                f"--{role}-columns: expected roles {', '.join(synonyms)}, found {name!r}", "correct the role"
            )
        if column not in names:
            raise ConfigError(
                f"--{role}-columns: expected a column of {path} ({', '.join(names)}), found {column!r}", "name one"
            )
    roles = dict(given)
    if "id" not in roles and rating_column in names:
        roles["id"] = str(rating_column)
    plain = {plain_name(name): name for name in reversed(names)}
    plain |= {plain_name(name): name for name in names if name in {CANONICAL[role], *synonyms}}  # exact names first
    for name, known in synonyms.items():
        matches = [plain[each] for each in known if each in plain and plain[each] not in roles.values()]
        if name == "genres" and not matches:  # the member of an object
            inner = [column for column in names if "." in column and not column.endswith(".id")]
            matches = [column for column in inner if plain_name(column.partition(".")[0]) in known]
        if name not in roles and matches:
            roles[name] = matches[0]
    return roles


def _may_be_lists(column: pa.ChunkedArray) -> bool:
    """Whether a column has a cell that begins with a bracket."""
    return bool(pc.any(pc.match_substring_regex(column, r"^\s*[\[{(]")).as_py())


def _first_of_each(table: pa.Table, identity: str) -> pa.Table:
    place = pa.array(range(table.num_rows), pa.int64())
    first = pa.table({"id": table[identity], "place": place}).group_by("id").aggregate([("place", "min")])
    return table.take(pc.take(first["place_min"], pc.sort_indices(first["place_min"])))


def _join_flags(table: pa.Table) -> pa.Table:
    """Turn the 0/1 columns of `u.item` into one column of genres."""
    flags = {name: table[name].to_pylist() for name in _GENRES_100K if name != "unknown"}
    genres = ["|".join(name for name in flags if flags[name][row] == "1") or None for row in range(table.num_rows)]
    return table.drop_columns(list(_GENRES_100K)).append_column("genres", pa.array(genres, pa.string()))


def _year(table: pa.Table) -> pa.ChunkedArray | pa.Array | None:
    """The year from its own column, else from the end of the title, else from a date of release."""

    def matched(name: str, pattern: str) -> pa.Array:
        text = pc.struct_field(pc.extract_regex(table[name].combine_chunks(), pattern), "year")
        return pc.cast(text, pa.int32())

    # MovieLens has dates of a later release, such as the American one, beside the year in the title.
    years = []
    if "year" in table.column_names:
        years.append(matched("year", _YEAR_ALONE))
    if "title" in table.column_names:
        titles = table["title"].to_pylist()
        years.append(pa.array([None if title is None else year_in(title) for title in titles], pa.int32()))
    years += [matched(name, _YEAR) for name in ("year", "release") if name in table.column_names]
    return pc.coalesce(*years) if years else None

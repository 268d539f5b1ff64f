"""A person's films as Letterboxd, IMDb and Trakt export them, or as a plain ratings file."""

import csv
import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

from reelgraph.config import DataConfig
from reelgraph.data.pair_files import read_visitor
from reelgraph.data.rows import NUMBER
from reelgraph.data.sources import SYNONYMS, plain_name
from reelgraph.data.stored_files import DAMAGE
from reelgraph.data.vocabulary import canonical_id
from reelgraph.errors import DataError

List = Literal["rated", "watched", "watchlist"]
# A real export has a few megabytes and some thousand films. The bytes are of all files of a zip, unpacked.
_MOST_BYTES, MOST_FILMS, _LONGEST_TITLE = 16_000_000, 200_000, 500
_DAMAGE = (*DAMAGE, NotImplementedError, RuntimeError, ValueError, struct.error)  # RuntimeError: encrypted
_LETTERBOXD, _IMDB, _TRAKT = 5.0, 10.0, 10.0  # the highest rating of each service
_TRAKT_LISTS: dict[str, List] = {
    "rated_at": "rated",
    "watched_at": "watched",
    "last_watched_at": "watched",
    "collected_at": "watched",
    "listed_at": "watchlist",
}


@dataclass(frozen=True)
class Film:
    """One film of an export, before it is matched with a catalogue.

    Attributes:
        title, year: as exported; None in a plain ratings file.
        ids: ids by kind: "imdb" (as in tt0133093), "tmdb", or "movie" for the catalogue's own ids.
        list: the list it stands in.
        rating: stars as exported; None for films that are only watched or wanted.
        highest: the highest rating of the service; None if the rating is in the model's own scale.
    """

    title: str | None
    year: int | None
    ids: Mapping[str, str]
    list: List
    rating: float | None = None
    highest: float | None = None

    def __str__(self) -> str:
        if self.title is None:
            return self.ids.get("movie", "")
        return self.title if self.year is None else f"{self.title} ({self.year})"


def read_films(
    path: Path, config: DataConfig | None = None, report: Callable[[str], None] = lambda _: None
) -> tuple[Film, ...]:
    """The films of a Letterboxd, IMDb or Trakt export, or of a file with `movieId` or `title` and `rating`.

    A zip is searched for the files that it is known to hold. Of several ratings of a film the last one counts.

    Args:
        path: the file.
        config: how a file with `movieId` and `rating` is read.
        report: called with each line on its refused rows.

    Raises:
        DataError: if the file cannot be read, or holds no film.
    """
    films = None
    if path.is_file():
        with _open(path) as file:
            films = _exported(str(path), file)
    if films is None:
        rows = read_visitor(path, config or DataConfig())
        for line in rows.report():
            report(line)
        implicit = config is not None and config.implicit
        given = [1.0] * len(rows.movie_ids) if implicit else rows.rating.tolist()
        ratings = dict(zip(rows.movie_ids, given, strict=True))
        films = [_plain_film(movie, stars) for movie, stars in ratings.items()]
    return tuple(films)


def read_upload(name: str, content: bytes, *, stars: bool = True) -> tuple[Film, ...]:
    """The same for a file in memory; a plain ratings file must be text with a header, without `stars` of movies alone.

    Raises:
        DataError: if the file cannot be read, or holds no film.
    """
    films = _exported(name, io.BytesIO(content))
    return tuple(_plain_films(name, _decoded(content), stars) if films is None else films)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, found {error}", "check the file") from None


def _exported(name: str, file: BinaryIO) -> list[Film] | None:
    """The films of an export; None if the file is no export that is known here."""
    films: list[Film] = []
    known = False
    try:
        for entry, text in _texts(name, file):
            read = _films(entry, text)
            known |= read is not None
            films += read or []
            _check_number(name, len(films))
    except csv.Error as error:
        raise DataError(f"{name}: expected a CSV file, found {error}", "export it again") from None
    if known and not films:
        raise DataError(f"{name}: expected films, found none", "check the export")
    if not known and zipfile.is_zipfile(file):
        raise DataError(
            f"{name}: expected an export of Letterboxd, IMDb or Trakt, found none of their files in the zip",
            "name the ratings file itself",
        )
    return films if known else None


def _check_number(name: str, films: int) -> None:
    if films > MOST_FILMS:
        raise DataError(f"{name}: expected at most {MOST_FILMS:,} films, found more", "check the export")


def _texts(name: str, file: BinaryIO) -> Iterator[tuple[str, str]]:
    """The names and contents of the files that may be exports; none if the file is large and no zip."""
    left = _MOST_BYTES
    try:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            content = file.read(left + 1)
            if len(content) <= left:
                yield PurePosixPath(name).name, _decoded(content)
            return
        with zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if not entry.filename.startswith("__MACOSX/")]
            # Letterboxd keeps deleted entries and lists in folders; its own tables are at the top.
            top = min((len(PurePosixPath(entry.filename).parts) for entry in entries if not entry.is_dir()), default=1)
            for entry in entries:
                place = PurePosixPath(entry.filename)
                if place.suffix == ".json" or (place.suffix == ".csv" and len(place.parts) == top):
                    content = _unpacked(archive, entry, left)
                    left -= len(content)
                    if left < 0:
                        raise DataError(
                            f"{name}: expected at most {_MOST_BYTES // 10**6} MB when unpacked, found more",
                            "check the export",
                        )
                    yield place.name, _decoded(content)
    except _DAMAGE as error:
        raise DataError(f"{name}: expected a readable file, found {error}", "check the file") from None


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """The content of an entry, or its first `most` + 1 bytes; the size that the archive states may be wrong."""
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:  # others unpack without a bound
        raise NotImplementedError(f"an unusual compression of {entry.filename[:100]}")
    with archive.open(entry) as file:
        return file.read(most + 1)


def _decoded(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _films(name: str, text: str) -> list[Film] | None:
    """The films of one file; None if it is no export that is known here."""
    if text.lstrip()[:1] == "[":
        return _trakt_films(text)
    first = text.split("\n", 1)[0]
    header = next(csv.reader([first.strip("\r")]), [])
    if {"Name", "Year", "Letterboxd URI"} <= set(header):
        return list(islice(_letterboxd_films(name, _rows(text)), MOST_FILMS + 1))
    if {"trakt_id", "title"} <= set(header):
        return [film for row in _rows(text) if (film := _trakt_film(_nested(row))) is not None]
    if {"Const", "Title"} <= set(header) or {"const", "Title"} <= set(header):
        return list(islice(_imdb_films(_rows(text)), MOST_FILMS + 1))
    return _titled_films(name, text, header)


def _plain_films(name: str, text: str, stars: bool) -> Iterator[Film]:
    """The films of a text with columns for movie and, with `stars`, rating.

    With semicolons, the ratings may have decimal commas.
    """
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        header = [plain_name(cell) for cell in next(rows, [])]
        item, rating = (
            next((place for place, cell in enumerate(header) if cell in SYNONYMS[role]), None)
            for role in ("item", "rating")
        )
        if item is None or (rating is None and stars):
            raise DataError(
                f"{name}: expected an export of Letterboxd, IMDb or Trakt, or a table with movieId and rating, found "
                f"{first[:40].strip()!r}",
                "choose the file that was exported, or a table with these columns",
            )
        yield from _plain_rows(name, rows, item, rating)
    except csv.Error as error:
        raise DataError(f"{name}: expected a CSV file, found {error}", "export it again") from None


def _plain_rows(name: str, rows: Iterator[list[str]], item: int, rating: int | None) -> Iterator[Film]:
    for number, row in enumerate((row for row in rows if row), 1):
        _check_number(name, number)
        movie = canonical_id(row[item]) if item < len(row) else None
        stars = "1" if rating is None else row[rating].strip().replace(",", ".") if rating < len(row) else ""
        if movie is None or not re.fullmatch(NUMBER, stars):
            shown = ",".join(row)[:60]
            raise DataError(f"{name}: expected a movie and a rating in row {number:,}, found {shown!r}", "correct it")
        yield _plain_film(movie, float(stars))


def _plain_film(movie: str, stars: float) -> Film:
    return Film(None, None, {"movie": movie}, "rated", stars)


def _rows(text: str) -> Iterator[dict[str, str]]:
    for row in csv.DictReader(io.StringIO(text, newline="")):
        yield {key: value.strip() for key, value in row.items() if key is not None and isinstance(value, str)}


def _letterboxd_films(name: str, rows: Iterator[dict[str, str]]) -> Iterator[Film]:
    wanted = name.casefold().startswith("watchlist")
    for row in rows:
        if row.get("Name"):
            film = Film(row["Name"][:_LONGEST_TITLE], _year(row.get("Year")), {}, "watchlist" if wanted else "watched")
            yield film if wanted else _rated(film, row.get("Rating"), _LETTERBOXD)


def _titled_films(name: str, text: str, header: list[str]) -> list[Film] | None:
    """The films of a table with titles and stars on the model's own scale, perhaps with years, that has no ids."""
    columns = {plain_name(cell): cell for cell in header}
    if not {"title", "rating"} <= set(columns) or columns.keys() & SYNONYMS["item"]:
        return None
    films = []
    for number, row in enumerate(_rows(text), 1):
        _check_number(name, number)
        title, stars = row.get(columns["title"]), row.get(columns["rating"], "").replace(",", ".")
        if not title or not re.fullmatch(NUMBER, stars):
            shown = ",".join(row.values())[:60]
            raise DataError(f"{name}: expected a title and a rating in row {number:,}, found {shown!r}", "correct it")
        year = _year(row.get(columns.get("year", "")))
        films.append(Film(title[:_LONGEST_TITLE], year, {}, "rated", float(stars)))
    return films


def _imdb_films(rows: Iterator[dict[str, str]]) -> Iterator[Film]:
    for row in rows:
        const = row.get("Const") or row.get("const")  # before 2017 the names were others
        if const:
            title = row["Title"] or row.get("Original Title") or ""
            film = Film(title[:_LONGEST_TITLE], _year(row.get("Year")), {"imdb": const}, "watchlist")
            yield _rated(film, row.get("Your Rating") or row.get("You rated"), _IMDB)


def _trakt_films(text: str) -> list[Film] | None:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return None
    if not any(set(entry) & _TRAKT_LISTS.keys() for entry in entries):
        return None
    return [film for entry in entries if (film := _trakt_film(entry)) is not None]


def _nested(row: Mapping[str, str]) -> dict[str, Any]:
    """A row of Trakt's CSV as an entry of its JSON."""
    ids = {kind: row.get(f"{kind}_id") for kind in ("imdb", "tmdb")}
    movie = {"title": row.get("title"), "year": row.get("year"), "ids": ids} if row.get("type") == "movie" else None
    return {name: cell for name, cell in row.items() if cell} | {"movie": movie}


def _trakt_film(entry: Mapping[str, Any]) -> Film | None:
    movie = entry.get("movie")
    which = next((name for key, name in _TRAKT_LISTS.items() if key in entry), None)
    if not isinstance(movie, dict) or which is None or not isinstance(movie.get("title"), str):
        return None  # a show, an episode or a list
    given = movie.get("ids")
    ids = {kind: str(given[kind]) for kind in ("imdb", "tmdb") if isinstance(given, dict) and given.get(kind)}
    title = movie["title"][:_LONGEST_TITLE].encode(errors="replace").decode()  # JSON may hold halves of characters
    film = Film(title, _year(movie.get("year")), ids, which)
    return _rated(film, entry.get("rating"), _TRAKT) if which == "rated" else film


def _rated(film: Film, rating: object, highest: float) -> Film:
    """The film with its rating, if it has one on the service's scale."""
    text = "" if rating is None else str(rating).replace(",", ".")
    if not re.fullmatch(r"[0-9]+([.][0-9]+)?", text) or not 0 < float(text) <= highest:
        return film
    return replace(film, list="rated", rating=float(text), highest=highest)


def _year(value: object) -> int | None:
    text = str(value or "").strip()
    return int(text) if re.fullmatch(r"[0-9]{4}", text) else None

"""A person's films as Letterboxd, IMDb and Trakt export them, or as a plain ratings file."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from reelgraph.data.pair_files import read_visitor
from reelgraph.errors import DataError

List = Literal["rated", "watched", "watchlist"]
_MOST_BYTES = 100_000_000  # unpacked; a real export has a few megabytes
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


def read_films(path: Path) -> tuple[Film, ...]:
    """The films of a Letterboxd, IMDb or Trakt export, or of a file with `movieId` and `rating`.

    A zip is searched for the files that it is known to hold. Of several ratings of a film the last one counts.

    Raises:
        DataError: if the file cannot be read, or holds no film.
    """
    films: list[Film] = []
    known = False
    for name, text in _texts(path):
        read = _films(name, text)
        known |= read is not None
        films += read or []
    if not known:
        if zipfile.is_zipfile(path):
            raise DataError(
                f"{path}: expected an export of Letterboxd, IMDb or Trakt, found none of their files in the zip",
                "name the ratings file itself",
            )
        ratings = read_visitor(path)
        films = [Film(None, None, {"movie": movie}, "rated", stars) for movie, stars in ratings.items()]
    elif not films:
        raise DataError(f"{path}: expected films, found none", "check the export")
    return tuple(films)


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """The names and contents of the files that may be exports; none if the file is large or not text."""
    try:
        if not zipfile.is_zipfile(path):
            if path.is_file() and path.stat().st_size <= _MOST_BYTES:
                yield path.name, _decoded(path.read_bytes())
            return
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                place = PurePosixPath(entry.filename)
                # Letterboxd keeps deleted entries and lists in folders; its own tables are at the top.
                if place.suffix == ".json" or (place.suffix == ".csv" and len(place.parts) == 1):
                    if entry.file_size > _MOST_BYTES:
                        raise DataError(f"{path}: expected less than 100 MB in {place}, found more", "check the export")
                    yield place.name, _decoded(archive.read(entry))
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path}: expected a readable file, found {error}", "check the file") from None


def _decoded(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    return content.decode("utf-8-sig", "replace")


def _films(name: str, text: str) -> list[Film] | None:
    """The films of one file; None if it is no export that is known here."""
    if text.lstrip()[:1] == "[":
        return _trakt_films(text)
    first = text.split("\n", 1)[0]
    header = next(csv.reader([first.strip("\r")]), [])
    if {"Name", "Year", "Letterboxd URI"} <= set(header):
        return list(_letterboxd_films(name, _rows(text)))
    if {"Const", "Title"} <= set(header):
        return list(_imdb_films(_rows(text)))
    return None


def _rows(text: str) -> Iterator[dict[str, str]]:
    for row in csv.DictReader(io.StringIO(text, newline="")):
        yield {key: value.strip() for key, value in row.items() if key is not None and isinstance(value, str)}


def _letterboxd_films(name: str, rows: Iterator[dict[str, str]]) -> Iterator[Film]:
    wanted = name.casefold().startswith("watchlist")
    for row in rows:
        if row.get("Name"):
            film = Film(row["Name"], _year(row.get("Year")), {}, "watchlist" if wanted else "watched")
            yield film if wanted else _rated(film, row.get("Rating"), _LETTERBOXD)


def _imdb_films(rows: Iterator[dict[str, str]]) -> Iterator[Film]:
    for row in rows:
        if row.get("Const"):
            title = row.get("Original Title") or row["Title"]
            film = Film(row["Title"] or title, _year(row.get("Year")), {"imdb": row["Const"]}, "watchlist")
            yield _rated(film, row.get("Your Rating"), _IMDB)


def _trakt_films(text: str) -> list[Film] | None:
    try:
        entries = json.loads(text)
    except ValueError:
        return None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return None
    if not any(set(entry) & _TRAKT_LISTS.keys() for entry in entries):
        return None
    return [film for entry in entries if (film := _trakt_film(entry)) is not None]


def _trakt_film(entry: Mapping[str, Any]) -> Film | None:
    movie = entry.get("movie")
    which = next((name for key, name in _TRAKT_LISTS.items() if key in entry), None)
    if not isinstance(movie, dict) or which is None or not isinstance(movie.get("title"), str):
        return None  # a show, an episode or a list
    given = movie.get("ids")
    ids = {kind: str(given[kind]) for kind in ("imdb", "tmdb") if isinstance(given, dict) and given.get(kind)}
    film = Film(movie["title"], _year(movie.get("year")), ids, which)
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

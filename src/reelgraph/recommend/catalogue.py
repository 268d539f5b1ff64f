"""The movies of a model: titles, years, genres and filters on them."""

import difflib
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from reelgraph.arrays import Float32s, Float64s, Mask
from reelgraph.data.genres import is_genre
from reelgraph.data.vocabulary import Vocabulary
from reelgraph.errors import ConfigError, UnknownIdError


@dataclass(frozen=True)
class Movie:
    """One movie; what the movie table does not say is None or empty."""

    movie_id: str
    title: str | None
    year: int | None
    genres: tuple[str, ...]
    imdb_id: str | None = None  # digits only
    tmdb_id: str | None = None

    def __str__(self) -> str:
        if self.title is None:
            return self.movie_id
        has_year = self.year is None or self.title.endswith(f"({self.year})")  # titles of older models have
        return self.title if has_year else f"{self.title} ({self.year})"


@dataclass(frozen=True)
class Catalogue:
    """The movies in index order."""

    table: pa.Table  # `movieId` and optionally `title`, `year` and `genres` (separated by "|")

    @cached_property
    def items(self) -> Vocabulary:
        """Ids of the movies."""
        return Vocabulary.of(self.table, "movie")

    @cached_property
    def _genres(self) -> list[tuple[str, ...]]:
        if "genres" not in self.table.column_names:
            return [()] * self.table.num_rows
        cells = self.table["genres"].to_pylist()
        return [tuple(name for name in (cell or "").split("|") if is_genre(name)) for cell in cells]

    @cached_property
    def _made(self) -> dict[int, Movie]:
        """The movies asked for so far: lists name the same ones again and again."""
        return {}

    def movie(self, index: int) -> Movie:
        """The movie at an index."""
        if index not in self._made:
            self._made[index] = self._movie(index)
        return self._made[index]

    def _movie(self, index: int) -> Movie:
        def cell(column: str) -> str | None:
            return self.table[column][index].as_py() if column in self.table.column_names else None

        year = cell("year")
        year_number = None if year is None else int(year)
        links = (_number(cell(column)) for column in ("imdbId", "tmdbId"))
        return Movie(self.items.id(index), cell("title"), year_number, self._genres[index], *links)

    @cached_property
    def years(self) -> Float64s:
        """Year of each movie, float64 of shape `(num_items,)`, NaN where unknown."""
        if "year" not in self.table.column_names:
            return np.full(self.table.num_rows, np.nan)
        return np.asarray([np.nan if year is None else float(year) for year in self.table["year"].to_pylist()])

    @cached_property
    def genre_members(self) -> dict[str, Mask]:
        """Members of each genre, bool of shape `(num_items,)`, by its name."""
        names = {name for genres in self._genres for name in genres}
        return {name: np.asarray([name in genres for genres in self._genres]) for name in sorted(names)}

    @cached_property
    def genre_shares(self) -> Float32s:
        """Share of each genre, in the order of `genre_members`, in each movie, float32 `(num_items, num_genres)`.

        The genres of a movie have equal shares; a movie without genres has zeros.
        """
        if not self.genre_members:
            raise ConfigError("--calibration: expected a model with genres, found none", "train with --items")
        members = np.stack(list(self.genre_members.values()), axis=1).astype(np.float32)
        return np.asarray(members / np.maximum(members.sum(1, keepdims=True), 1))

    def matching(self, genre: str | None = None, year: str | int | None = None) -> Mask:
        """Movies of a genre and a year or range such as "1990-1999", "1990-" or "-1999", `(num_items,)`."""
        matching = np.ones(self.table.num_rows, dtype=bool)
        if genre is not None:
            matching &= self._with_genre(genre)
        if year is not None:
            first, last = _year_range(str(year))
            if "year" not in self.table.column_names:
                raise ConfigError("--year: expected a model with years, found none", "train with --items")
            matching &= (self.years >= first) & (self.years <= last)
        return matching

    def _with_genre(self, genre: object) -> Mask:
        if not isinstance(genre, str):
            raise ConfigError(f"genre: expected a name, found {genre!r}", "pass a str")
        names = {name.casefold(): name for name in self.genre_members}
        if not names:
            raise ConfigError("--genre: expected a model with genres, found none", "train with --items")
        if genre.casefold() not in names:
            near = difflib.get_close_matches(genre.casefold(), names, n=3) or sorted(names)
            problem = f"genre {genre!r}: expected one of {len(names)} genres, found no such genre"
            raise UnknownIdError(problem, f"try {', '.join(names[name] for name in near)}")
        return self.genre_members[names[genre.casefold()]]


def _number(text: str | None) -> str | None:
    """The number of an id such as tt0114709 or 862.0."""
    match = re.fullmatch(r"\s*(?:tt)?([0-9]{1,12})(?:\.0)?\s*", text or "")
    return match[1] if match else None


def _year_range(text: str) -> tuple[float, float]:
    match = re.fullmatch(r"\s*(?P<first>\d{4})?\s*(?P<dash>-)?\s*(?P<last>\d{4})?\s*", text)
    if not match or not (match["first"] or match["last"]) or (match["first"] and match["last"] and not match["dash"]):
        raise ConfigError(f"--year: expected a year or a range such as 1990-1999, found {text!r}", "write --year 1995")
    first = float(match["first"]) if match["first"] else -np.inf
    last = float(match["last"]) if match["last"] else (np.inf if match["dash"] else first)
    if first > last:
        raise ConfigError(f"--year: expected the earlier year first, found {text!r}", f"write {last:.0f}-{first:.0f}")
    return first, last

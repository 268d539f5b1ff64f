"""Films of a personal export matched with the movies of a model."""

import difflib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reelgraph.config import DataConfig
from reelgraph.data.personal_exports import Film, read_films
from reelgraph.errors import DataError
from reelgraph.recommend.catalogue import Movie
from reelgraph.recommend.recommender import Recommender
from reelgraph.recommend.titles import title_names, words

_YEARS_APART = 1  # services disagree by a year about films released around New Year
_MOST_COMPARED = 20  # films that are compared with all titles, which takes time
_ID_COLUMNS = {"imdb": ("imdbid", "imdb_id", "imdb", "tconst", "const"), "tmdb": ("tmdbid", "tmdb_id", "tmdb")}


@dataclass(frozen=True)
class Matched:
    """The films of one person in terms of a model.

    Attributes:
        ratings: stars in the model's scale, by movie id; in a model without stars 1 for every watched movie.
        watched: movie ids that the person has seen, with or without a rating.
        watchlist: movie ids that the person wants to see.
        unmatched: films that the model does not know; the first ones with the movies of similar titles.
    """

    ratings: dict[str, float]
    watched: tuple[str, ...]
    watchlist: tuple[str, ...]
    unmatched: tuple[tuple[Film, tuple[Movie, ...]], ...]

    @property
    def films(self) -> int:
        """Number of films in the export."""
        return len(set(self.watched) | set(self.watchlist)) + len(self.unmatched)

    def report(self) -> list[str]:
        """What was matched, and a line for each film that was not."""
        found = self.films - len(self.unmatched)
        lines = [f"{found:,} of {self.films:,} movies found"] if self.unmatched else []
        for film, near in self.unmatched:
            names = ", ".join(f"{movie} (id {movie.movie_id})" for movie in near)
            lines.append(f"not found: {film}" + (f"; similar: {names}" if names else ""))
        return lines


def match_file(
    model: Recommender, path: Path, config: DataConfig | None = None, report: Callable[[str], None] = lambda _: None
) -> Matched:
    """Read an export or a ratings file and match it with a model.

    Args:
        model: the model.
        path: the file.
        config: how a ratings file is read.
        report: called with each line on refused rows of a ratings file.

    Raises:
        DataError: if the file cannot be used, or none of its films is known to the model.
    """
    if not model.predictor.has_stars:
        config = (config or DataConfig()).model_copy(update={"implicit": True})
    films = read_films(path, config, report)
    matched = match(model, films)
    if films and not (matched.watched or matched.watchlist):
        raise DataError(
            f"{path}: expected movies of the model, such as {model.catalogue.movie(0)} (id {model.items.id(0)}), "
            f"found none among {len(films):,}, such as {films[0]}",
            "check that the file goes with this model",
        )
    return matched


def match(model: Recommender, films: Iterable[Film]) -> Matched:
    """Match films by IMDb or TMDB id where the movie table has them, otherwise by title and year."""
    return FilmIndex(model).match(films)


class FilmIndex:
    """The movies of a model by id, and by title and year."""

    def __init__(self, model: Recommender) -> None:
        table, self._model = model.catalogue.table, model
        self._ids: dict[tuple[str, str], int] = {}
        columns = {name.casefold(): name for name in table.column_names}
        for kind, spellings in _ID_COLUMNS.items():
            for name in (columns[spelling] for spelling in spellings if spelling in columns):
                for item, cell in enumerate(table[name].to_pylist()):
                    if cell is not None:
                        self._ids.setdefault((kind, _plain_id(str(cell))), item)
        self._titled: dict[str, list[int]] = defaultdict(list)
        titles = table["title"].to_pylist() if "title" in table.column_names else [None] * table.num_rows
        self._years = [None if math.isnan(year) else int(year) for year in model.catalogue.years.tolist()]
        for item, (title, year) in enumerate(zip(titles, self._years, strict=True)):
            for key in _keys(title or "", year):
                self._titled[key].append(item)
        self._initials: dict[str, list[str]] = defaultdict(list)
        for key in self._titled:
            self._initials[key[0]].append(key)

    def match(self, films: Iterable[Film]) -> Matched:
        """See `match`."""
        lowest, highest = self._model.predictor.low, self._model.predictor.high
        ratings: dict[str, float] = {}
        watched: dict[str, None] = {}
        watchlist: dict[str, None] = {}
        unmatched: dict[str, Film] = {}  # a film may be in several lists
        for film in films:
            movie = self.find(film)
            if movie is None:
                unmatched.setdefault(str(film), film)
                continue
            if film.list == "watchlist":
                watchlist[movie] = None
                continue
            if film.rating == 0 and not self._model.predictor.has_stars:
                continue
            watched[movie] = None
            if not self._model.predictor.has_stars:
                ratings[movie] = highest
            elif film.rating is not None:
                stars = film.rating if film.highest is None else film.rating * highest / film.highest
                ratings[movie] = stars if film.highest is None else min(max(stars, lowest), highest)
        compared = [
            (film, self.similar(film) if place < _MOST_COMPARED else ())
            for place, film in enumerate(unmatched.values())
        ]
        return Matched(ratings, tuple(watched), tuple(watchlist), tuple(compared))

    def find(self, film: Film) -> str | None:
        """The id of the movie that a film is; None if it is not known or not certain."""
        if "movie" in film.ids:
            return film.ids["movie"] if film.ids["movie"] in self._model.items else None
        for kind, value in film.ids.items():
            item = self._ids.get((kind, _plain_id(value)))
            if item is not None:
                return self._model.items.id(item)
        items = {item for key in _keys(film.title or "", film.year) for item in self._titled.get(key, ())}
        nearest = min((self._distance(film, item) for item in items), default=None)
        if nearest is None or nearest > _YEARS_APART:
            return None
        best = [item for item in items if self._distance(film, item) == nearest]
        return self._model.items.id(best[0]) if len(best) == 1 else None

    def _distance(self, film: Film, item: int) -> int:
        """Years between a film and a movie of the same title; a missing year fits any."""
        year = self._years[item]
        return _YEARS_APART if film.year is None or year is None else abs(film.year - year)

    def similar(self, film: Film) -> tuple[Movie, ...]:
        """Movies of the model with titles like the film's, for a person to choose from."""
        if film.title is None:
            return ()
        keys = [
            key
            for own in _keys(film.title, film.year)
            for key in difflib.get_close_matches(own, self._initials.get(own[0], ()), 3)
        ]
        items = dict.fromkeys(item for key in keys for item in self._titled[key])
        return tuple(self._model.catalogue.movie(item) for item in list(items)[:3])


def _keys(title: str, year: int | None) -> Iterator[str]:
    """The normalised names of a title, with articles left out and alternative titles in brackets on their own."""
    text = title if year is None else title.removesuffix(f"({year})")
    for name in {name for name, with_article in title_names(text) if not with_article}:
        key = "".join(words(name))
        if key:
            yield key


def _plain_id(value: str) -> str:
    """An IMDb or TMDB id as digits: tt0133093, 0133093 and 133093 are the same."""
    return value.strip().casefold().removeprefix("tt").removesuffix(".0").lstrip("0")

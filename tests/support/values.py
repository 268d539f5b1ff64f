"""The same ratings and movies with ids, times, codes and genres spelled in the ways that people have."""

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from reelgraph.data.sources import Source

Row = tuple[int, int, int, int]  # user, movie, stars, seconds
GENRES = ("Drama", "Comedy", "Crime", "Horror", "Sci-Fi")
USERS, MOVIES = range(1, 21), range(1, 16)


def _rows() -> list[Row]:
    draw = random.Random(3)
    return [
        (user, movie, draw.randint(1, 5), 1_500_000_000 + draw.randrange(10**8))
        for user in USERS
        for movie in MOVIES
        if draw.random() < 0.6
    ]


ROWS = _rows()
KINDS = {movie: list(dict.fromkeys([GENRES[movie % 5], GENRES[movie % 3]])) for movie in MOVIES}
TITLES = {movie: f"Film {chr(64 + movie)}" for movie in MOVIES}
YEARS = {movie: 1980 + movie for movie in MOVIES}
WEST = timezone(timedelta(hours=-5))


def ratings(show: Callable[[int, Row], Iterable[object]], head: str = "userId,movieId,rating", end: str = ",") -> str:
    """A file of ratings, each shown as cells."""
    return "\n".join([head, *(end.join(map(str, show(place, row))) for place, row in enumerate(ROWS))]) + "\n"


def movies(show: Callable[[int], Iterable[object]], head: str = "movieId,title,year,genres") -> str:
    """A table of movies, each shown as cells, all in quotes."""
    quoted = (",".join('"' + str(cell).replace('"', '""') + '"' for cell in show(movie)) for movie in MOVIES)
    return "\n".join([head, *quoted]) + "\n"


def timed(show: Callable[[int, int], object]) -> str:
    """Ratings with times."""
    return ratings(lambda place, row: (*row[:3], show(place, row[3])), "userId,movieId,rating,timestamp")


def utc(seconds: int, form: str) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(form)


PLAIN = ratings(lambda _, row: row[:3])
TABLE = movies(lambda m: (m, f"{TITLES[m]} ({YEARS[m]})", YEARS[m], "|".join(KINDS[m])))

IDS = {
    "floats": ratings(lambda _, r: (float(r[0]), float(r[1]), r[2])),
    "mixed": ratings(lambda place, r: (float(r[0]) if place % 2 else r[0], r[1], r[2])),
    "blanks": ratings(lambda _, r: r[:3], "userId, movieId, rating", ", "),
    "exponents": ratings(lambda _, r: (r[0], f"{r[1]}.000", r[2])),
}

TIMES = {
    "seconds": timed(lambda _, t: t),
    "milliseconds": timed(lambda _, t: t * 10**3),
    "microseconds": timed(lambda _, t: t * 10**6),
    "nanoseconds": timed(lambda _, t: t * 10**9),
    "floats": timed(lambda _, t: f"{t}.25"),
    "utc": timed(lambda _, t: utc(t, "%Y-%m-%d %H:%M:%S+00:00")),
    "zones": timed(
        lambda place, t: datetime.fromtimestamp(t, WEST).isoformat() if place % 3 else utc(t, "%Y-%m-%dT%H:%M:%SZ")
    ),
}

MINUTES = timed(lambda _, t: utc(t, "%Y-%m-%d %H:%M"))

CODES = {
    99: ratings(lambda place, r: (*r[:2], 99 if place % 5 < 2 else r[2] * 4.3 - 12)),
    -1: ratings(lambda place, r: (*r[:2], -1 if place % 5 == 0 else r[2] * 2)),
    0: ratings(lambda place, r: (*r[:2], 0 if place % 5 < 3 else r[2] * 2)),
}

LISTS: dict[str, Callable[[list[str]], str]] = {
    "bars": "|".join,
    "commas": ", ".join,
    "semicolons": ";".join,
    "slashes": "/".join,
    "python": str,
    "json": json.dumps,
    "numpy": lambda kinds: "[" + " ".join(f"'{kind}'" for kind in kinds) + "]",
    "objects": lambda kinds: json.dumps([{"id": place, "name": kind} for place, kind in enumerate(kinds)]),
    "python objects": lambda kinds: str([{"id": place, "name": kind} for place, kind in enumerate(kinds)]),
}

NULLS = ("nan", "NaN", "NULL", "None", "NA", "\\N", "")
MISSING_IDS = ratings(
    lambda place, r: (NULLS[place // 20 % 7] if place % 20 == 0 else r[0], "NaN" if place % 33 == 1 else r[1], r[2])
)
MISSING_CELLS = movies(
    lambda m: (
        m,
        TITLES[m] if m % 2 else NULLS[m // 2 % 7],
        f"{YEARS[m]}.0" if m % 4 else "nan",
        "|".join(KINDS[m]) if m % 3 else "nan",
        "nan" if m % 2 else "S",
    ),
    "movieId,title,year,genres,studio",
)


@dataclass(frozen=True)
class Case:
    """Files and settings of a preparation."""

    ratings: str = PLAIN
    movies: str | None = TABLE
    config: dict[str, Any] = field(default_factory=dict)

    def source(self, folder: Path) -> Source:
        """Write the files."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ratings.csv").write_text(self.ratings, encoding="utf-8")
        if self.movies is not None:
            (folder / "movies.csv").write_text(self.movies, encoding="utf-8")
        return Source(folder / "ratings.csv", None if self.movies is None else folder / "movies.csv")


OTHER_NAMES: dict[str, tuple[str, Callable[[int], Iterable[object]]]] = {
    "imdb": (
        "tconst,titleType,primaryTitle,originalTitle,startYear,endYear,genres",
        lambda m: (m, "movie", TITLES[m], "x", YEARS[m], "\\N", ",".join(KINDS[m])),
    ),
    "tmdb": (
        "id,imdb_id,original_title,title,release_date,genres",
        lambda m: (m, f"tt{m}", "x", TITLES[m], f"{YEARS[m]}-07-01", LISTS["objects"](KINDS[m])),
    ),
    "bookcrossing": (
        "ISBN,Book-Title,Year-Of-Publication,genre",
        lambda m: (m, TITLES[m], YEARS[m], "/".join(KINDS[m])),
    ),
    "anime": ("anime_id,name,genre,aired", lambda m: (m, TITLES[m], ", ".join(KINDS[m]), f"Apr 3, {YEARS[m]}")),
}  # fmt: skip


def _with_genres(show: Callable[[list[str]], str]) -> str:
    return movies(lambda m: (m, TITLES[m], YEARS[m], show(KINDS[m])))


CASES: dict[str, Case] = (
    {f"ids as {name}": Case(text) for name, text in IDS.items()}
    | {f"times as {name}": Case(text, None) for name, text in (TIMES | {"minutes": MINUTES}).items()}
    | {f"code {code}": Case(text, None, {"missing": (code,)}) for code, text in CODES.items()}
    | {"missing ids": Case(MISSING_IDS), "missing cells": Case(movies=MISSING_CELLS)}
    | {f"genres as {name}": Case(movies=_with_genres(show)) for name, show in LISTS.items()}
    | {f"names of {name}": Case(movies=movies(show, head)) for name, (head, show) in OTHER_NAMES.items()}
)

"""Filters by genre and year."""

import pyarrow as pa
import pytest

from reelgraph.errors import ConfigError, UnknownIdError
from reelgraph.recommend.catalogue import Catalogue

YEARS = [1994, 1995, None, 2001, 1980]
GENRES = ["Drama", "Drama|Sci-Fi", "Comedy", None, "sci-fi"]


def catalogue() -> Catalogue:
    return Catalogue(pa.table({
        "movieId": ["a", "b", "c", "d", "e"],
        "title": ["A", "B", None, "D", "E"],
        "year": pa.array(YEARS, pa.int32()),
        "genres": pa.array(GENRES, pa.string()),
    }))  # fmt: skip


@pytest.mark.parametrize(
    ("year", "places"),
    [
        ("1994", [0]),
        (1995, [1]),
        ("1994-1995", [0, 1]),
        ("1994-", [0, 1, 3]),
        ("-1994", [0, 4]),
        (" 1980 - 2001 ", [0, 1, 3, 4]),
        (None, [0, 1, 2, 3, 4]),
        ("1900", []),
    ],
)
def test_years(year: str | int | None, places: list[int]) -> None:
    assert catalogue().matching(year=year).nonzero()[0].tolist() == places


@pytest.mark.parametrize("genre", ["Drama", "drama", "DRAMA"])
def test_genres_in_any_case(genre: str) -> None:
    assert catalogue().matching(genre=genre).nonzero()[0].tolist() == [0, 1]
    assert catalogue().matching(genre=genre, year="1995").nonzero()[0].tolist() == [1]


@pytest.mark.parametrize("year", ["95", "nineties", "1990--1995", "-", "", "1995-1990", "1990 1995"])
def test_invalid_years(year: str) -> None:
    with pytest.raises(ConfigError, match="--year: expected"):
        catalogue().matching(year=year)


def test_an_unknown_genre_names_the_closest_ones() -> None:
    with pytest.raises(UnknownIdError, match="try Drama"):
        catalogue().matching(genre="Drma")


def test_filters_need_a_movie_table() -> None:
    bare = Catalogue(pa.table({"movieId": ["a"]}))
    with pytest.raises(ConfigError, match="train with --items"):
        bare.matching(genre="Drama")
    with pytest.raises(ConfigError, match="train with --items"):
        bare.matching(year=1990)
    movie = bare.movie(0)
    assert (movie.title, movie.year, movie.genres, str(movie)) == (None, None, (), "a")

"""Personal exports of Letterboxd, IMDb and Trakt matched with the movies of a model."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from reelgraph.data import personal_exports
from reelgraph.data.personal_exports import read_films
from reelgraph.errors import DataError
from reelgraph.recommend.catalogue import Catalogue
from reelgraph.recommend.matching import match, match_file

MOVIES = (
    ("1", "Matrix, The (1999)", 1999, "0133093", "603"),
    ("2", "Amélie (Fabuleux destin d'Amélie Poulain, Le) (2001)", 2001, "0211915", None),
    ("3", "Solaris (1972)", 1972, None, None),
    ("4", "Solaris (2002)", 2002, None, None),
    ("5", "Fargo", 1996, "0116282", "275"),
    ("6", "Heat", 1995, None, None),
)
LETTERBOXD = """Date,Name,Year,Letterboxd URI,Rating
2024-02-03,The Matrix,1999,https://boxd.it/a,4.5
2024-02-03,Amelie,2001,https://boxd.it/b,5
2024-02-03,Solaris,1972,https://boxd.it/c,0.5
2024-02-03,Fargo,1997,https://boxd.it/d,4
2024-02-03,Heart,2011,https://boxd.it/e,3
"""


@pytest.fixture
def model() -> Any:
    """The parts of a recommender that matching uses, on a scale of 1 to 5."""
    columns = ("movieId", "title", "year", "imdbId", "tmdbId")
    table = pa.table({name: list(cells) for name, cells in zip(columns, zip(*MOVIES, strict=True), strict=True)})
    catalogue = Catalogue(table)
    predictor = SimpleNamespace(low=1.0, high=5.0, has_stars=True)
    return SimpleNamespace(catalogue=catalogue, items=catalogue.items, predictor=predictor)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_letterboxd_is_matched_by_title_and_year(model: Any, write: Callable[[str, str], Path]) -> None:
    matched = match_file(model, write("ratings.csv", LETTERBOXD))
    assert matched.ratings == {"1": 4.5, "2": 5.0, "3": 1.0, "5": 4.0}, "clipped to the scale; a year of tolerance"
    ((film, near),) = matched.unmatched
    assert str(film) == "Heart (2011)"
    assert "6" in [movie.movie_id for movie in near]
    assert any("Heart (2011)" in line for line in matched.report())


def test_a_letterboxd_zip_has_ratings_watched_and_watchlist(model: Any, tmp_path: Path) -> None:
    head = "Date,Name,Year,Letterboxd URI\n"
    with zipfile.ZipFile(tmp_path / "letterboxd.zip", "w") as archive:
        archive.writestr("ratings.csv", LETTERBOXD)
        archive.writestr("watched.csv", f"{head}2024-01-01,Heat,1995,u\n2024-01-01,The Matrix,1999,u\n")
        archive.writestr("watchlist.csv", f"{head}2024-01-01,Solaris,2002,u\n")
        archive.writestr("deleted/ratings.csv", f"{head[:-1]},Rating\n2024-01-01,Heat,1995,u,1\n")
    matched = match_file(model, tmp_path / "letterboxd.zip")
    assert set(matched.watched) == {"1", "2", "3", "5", "6"}
    assert matched.watchlist == ("4",)
    assert "6" not in matched.ratings, "watched without a rating; deleted entries do not count"


def test_a_letterboxd_zip_may_hold_one_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "letterboxd.zip", "w") as archive:
        archive.writestr("letterboxd-ann/ratings.csv", LETTERBOXD)
        archive.writestr("letterboxd-ann/deleted/ratings.csv", LETTERBOXD.replace("Amelie", "Gone"))
        archive.writestr("__MACOSX/ratings.csv", b"\0")
    films = read_films(tmp_path / "letterboxd.zip")
    assert [film.title for film in films] == ["The Matrix", "Amelie", "Solaris", "Fargo", "Heart"]


OTHER_EXPORTS = {
    "IMDb before 2017": 'position,const,Title,You rated,Year\n"1","tt0116282","Fargo é","9","1996"\n',
    "CSV of Trakt": "rated_at,type,title,year,trakt_rating,trakt_id,imdb_id,tmdb_id,rating\n"
    "2020-01-01,movie,Fargo é,1996,8.5,1,tt0116282,,9\n2020-01-01,show,Fargo,2014,8,2,tt2802850,,8\n",
}


@pytest.mark.parametrize("name", OTHER_EXPORTS)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_exports_of_other_forms(name: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text(OTHER_EXPORTS[name], encoding=encoding)
    (film,) = read_films(tmp_path / "export.csv")
    assert (film.title, film.year, film.ids, film.rating) == ("Fargo é", 1996, {"imdb": "tt0116282"}, 9.0)


def test_imdb_is_matched_by_id_and_scaled(model: Any, write: Callable[[str, str], Path]) -> None:
    text = (
        "Const,Your Rating,Date Rated,Title,Original Title,URL,Title Type,Year\n"
        "tt0133093,9,2023-05-01,Another title,,u,Movie,1980\n"
        "tt0116282,,2023-05-01,Fargo,Fargo,u,Movie,1996\n"
        "tt9999999,7,2023-05-01,Unheard Of,,u,Movie,1980\n"
    )
    matched = match_file(model, write("imdb.csv", text))
    assert matched.ratings == {"1": 4.5}
    assert matched.watchlist == ("5",), "a row without a rating is from the watchlist"
    assert [str(film) for film, _ in matched.unmatched] == ["Unheard Of (1980)"]


def test_trakt_is_matched_by_any_of_its_ids(model: Any, write: Callable[[str, str], Path]) -> None:
    def entry(key: str, title: str, year: int, rating: int | None = None, **ids: object) -> dict[str, Any]:
        return {key: "2024-02-03T10:00:00Z", "rating": rating, "movie": {"title": title, "year": year, "ids": ids}}

    entries = [
        entry("rated_at", "x", 1900, 10, imdb="tt0133093"),
        entry("rated_at", "x", 1900, 2, tmdb=275),
        entry("watched_at", "Heat", 1995),
        entry("listed_at", "Solaris", 2003),
        {"rated_at": "2024", "rating": 3, "show": {"title": "Fargo", "year": 2014}},
    ]
    matched = match_file(model, write("trakt.json", json.dumps(entries)))
    assert matched.ratings == {"1": 5.0, "5": 1.0}
    assert matched.watched == ("1", "5", "6")
    assert matched.watchlist == ("4",)


def test_a_title_of_two_movies_without_a_year_is_not_guessed(model: Any, write: Callable[[str, str], Path]) -> None:
    text = "Date,Name,Year,Letterboxd URI,Rating\n2024-02-03,Solaris,,u,4\n2024-02-03,Heat,,u,4\n"
    matched = match(model, read_films(write("ratings.csv", text)))
    assert matched.ratings == {"6": 4.0}
    assert len(matched.unmatched) == 1


def test_plain_ratings_keep_their_scale_and_name_unknown_movies(model: Any, write: Callable[[str, str], Path]) -> None:
    matched = match_file(model, write("mine.csv", "movieId,rating\n1,5\n999,3\n"))
    assert matched.ratings == {"1": 5.0}
    assert any("999" in line for line in matched.report())


@pytest.mark.parametrize("header", ["title,year,rating", "Title,Year,My notes,Rating"])
def test_a_table_of_titles_is_on_the_scale_of_the_model(
    header: str, model: Any, write: Callable[[str, str], Path]
) -> None:
    blanks = "," * (header.count(",") - 2)
    rows = f'"Matrix, The",1999{blanks},4.5\nSolaris,2002{blanks},2\nFargo,{blanks},3\n'
    assert match_file(model, write("mine.csv", f"{header}\n{rows}")).ratings == {"1": 4.5, "4": 2.0, "5": 3.0}


@pytest.mark.parametrize("row", [",1999,4", "Fargo,1996,good", "Fargo,1996"])
def test_a_title_without_stars_names_its_row(row: str, model: Any, write: Callable[[str, str], Path]) -> None:
    with pytest.raises(DataError, match="expected a title and a rating in row 2"):
        match_file(model, write("mine.csv", f"title,year,rating\nFargo,1996,4\n{row}\n"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mine.csv", "movieId,rating\n998,5\n999,3\n"),
        ("watched.csv", "Date,Name,Year,Letterboxd URI\n2024-01-01,Nothing Known,1901,u\n"),
        ("ratings.csv", "Date,Name,Year,Letterboxd URI,Rating\n"),
        ("trakt.json", '[{"rated_at": "2024", "rating": 3, "show": {"title": "Fargo"}}]'),
    ],
)
def test_a_file_without_known_movies_is_refused(
    model: Any, write: Callable[[str, str], Path], name: str, text: str
) -> None:
    with pytest.raises(DataError) as refused:
        match_file(model, write(name, text))
    assert name in str(refused.value)


def test_a_zip_of_something_else_is_refused(model: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.jpg", "x")
    with pytest.raises(DataError, match=r"photos\.zip"):
        match_file(model, tmp_path / "photos.zip")


def test_a_damaged_zip_is_refused(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "letterboxd.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ratings.csv", LETTERBOXD)
    path.write_bytes(path.read_bytes().replace(b"Matrix", b"Matrux"))
    with pytest.raises(DataError, match=r"letterboxd\.zip: expected a readable file"):
        match_file(model, path)


@pytest.mark.parametrize("row", ["2024-02-03,Heat,1995,u,4\n", "tt0116282,Fargo,8\n"])
def test_an_export_of_too_many_films_is_refused(
    model: Any, write: Callable[[str, str], Path], row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personal_exports, "MOST_FILMS", 2000)
    header = "Date,Name,Year,Letterboxd URI,Rating\n" if "Heat" in row else "Const,Title,Your Rating\n"
    with pytest.raises(DataError, match=r"films\.csv: expected at most 2,000 films, found more"):
        match_file(model, write("films.csv", header + row * 2001))

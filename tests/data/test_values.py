"""Ids, times, codes, genres and titles as people write them come out as one."""

from pathlib import Path
from typing import Any

import pytest

from reelgraph.config import DataConfig
from reelgraph.data.dataset import Dataset, load_prepared, merge
from reelgraph.data.genres import split_genres
from reelgraph.data.prepare.prepare import prepare
from reelgraph.data.sources import Source, find
from reelgraph.data.titles import plain_title, year_in
from reelgraph.errors import ConfigError, DataError
from tests.support.values import (
    CASES,
    CODES,
    IDS,
    KINDS,
    LISTS,
    MINUTES,
    MOVIES,
    OTHER_NAMES,
    PLAIN,
    ROWS,
    TABLE,
    TIMES,
    TITLES,
    USERS,
    YEARS,
    Case,
    movies,
    ratings,
    timed,
)


def prepared(case: Case, folder: Path, **config: Any) -> tuple[Dataset, list[str]]:
    lines: list[str] = []
    out = prepare(case.source(folder), DataConfig(**case.config | config), folder / "prepared", lines.append)
    return load_prepared(out), lines


def rows_of(data: Dataset) -> dict[tuple[str, str], tuple[float, int | None]]:
    every = merge(merge(data.train, data.valid), data.test)
    users, items = data.raw_ids(every)
    times = [None] * len(every) if every.timestamp is None else every.timestamp.tolist()
    pairs = zip(users, items, strict=True)
    return dict(zip(pairs, zip(every.rating.tolist(), times, strict=True), strict=True))


@pytest.mark.parametrize("name", IDS)
def test_ids_of_every_spelling_are_the_same_users_and_movies(name: str, tmp_path: Path) -> None:
    data, lines = prepared(CASES[f"ids as {name}"], tmp_path)
    assert rows_of(data) == {(str(u), str(m)): (stars, None) for u, m, stars, _ in ROWS}
    assert dict(zip(data.items.ids.to_pylist(), data.item_table["title"].to_pylist(), strict=True)) == {
        str(movie): title for movie, title in TITLES.items()
    }
    assert any(f"{len(MOVIES)} of {len(MOVIES)} rated movies" in line for line in lines)


def test_rows_with_a_missing_id_are_refused(tmp_path: Path) -> None:
    data, _ = prepared(CASES["missing ids"], tmp_path)
    assert (len(data.users), len(data.items)) == (len(USERS), len(MOVIES))
    counts = data.manifest["reasons"]
    assert counts["user id is missing"] == len(range(0, len(ROWS), 20))
    assert counts["movie id is missing"] == sum(place % 33 == 1 and place % 20 != 0 for place in range(len(ROWS)))
    assert data.manifest["counts"]["rows"] == len(ROWS)


def test_null_markers_are_missing_in_tables(tmp_path: Path) -> None:
    data, _ = prepared(CASES["missing cells"], tmp_path)
    for row in data.item_table.to_pylist():
        movie = int(row["movieId"])
        assert row["title"] == (TITLES[movie] if movie % 2 else None)
        assert row["year"] == (YEARS[movie] if movie % 4 else None)
        assert row["genres"] == ("|".join(KINDS[movie]) if movie % 3 else None)
        assert row["studio"] == (None if movie % 2 else "S")


@pytest.mark.parametrize("name", TIMES)
def test_times_of_every_form_are_the_same_seconds(name: str, tmp_path: Path) -> None:
    data, lines = prepared(CASES[f"times as {name}"], tmp_path)
    assert rows_of(data) == {(str(u), str(m)): (stars, time) for u, m, stars, time in ROWS}
    if name.endswith("seconds"):
        assert f"times in {name}" in lines[0]


def test_times_without_seconds_are_the_beginning_of_the_minute(tmp_path: Path) -> None:
    data, _ = prepared(Case(MINUTES, None), tmp_path)
    assert rows_of(data) == {(str(u), str(m)): (stars, time - time % 60) for u, m, stars, time in ROWS}


def test_an_unreadable_time_costs_the_rating_only_where_the_split_needs_times(tmp_path: Path) -> None:
    case = Case(timed(lambda place, time: "yesterday" if place == 5 else time), None)
    data, lines = prepared(case, tmp_path / "random")
    assert data.manifest["counts"]["ratings"] == len(ROWS)
    assert any("yesterday" in line for line in lines)
    data, _ = prepared(case, tmp_path / "last", split="last")
    assert data.manifest["counts"]["ratings"] == len(ROWS) - 1


@pytest.mark.parametrize("code", CODES)
def test_codes_for_no_rating_are_named_with_the_options_that_settle_them(code: int, tmp_path: Path) -> None:
    case = Case(CODES[code], None)
    kept, lines = prepared(case, tmp_path / "kept")
    assert any(f"--missing {code}" in line and "--scale" in line for line in lines)
    assert kept.manifest["counts"]["ratings"] == len(ROWS)
    with pytest.raises(DataError, match=f"--missing {code}"):
        prepared(case, tmp_path / "strict", strict=True)
    dropped, lines = prepared(case, tmp_path / "dropped", missing=(code,), strict=True)
    assert code not in {rating for rating, _ in rows_of(dropped).values()}
    assert dropped.manifest["counts"]["rows"] == len(ROWS)
    assert dropped.manifest["counts"]["rejected"] > 0
    assert not any("--missing" in line for line in lines)
    low, high = min(kept.scale[0], code), max(kept.scale[1], code)
    whole, lines = prepared(case, tmp_path / "whole", scale=(low, high), strict=True)
    assert whole.manifest["counts"]["ratings"] == len(ROWS)
    assert not any("--missing" in line for line in lines)


@pytest.mark.parametrize(
    "stars",
    [(1, 2, 3, 4, 5), (0.5, 1, 3, 5), (1, 5), (0, 1), (-1, 1), (-1, 0, 1), (1, 2, 3), (2, 3, 4, 5), (1, 5, 7, 10)],
)
def test_usual_scales_hold_no_codes(stars: tuple[float, ...], tmp_path: Path) -> None:
    text = ratings(lambda place, row: (*row[:2], stars[place % len(stars)]))
    data, lines = prepared(Case(text, None), tmp_path, strict=True)
    assert data.manifest["counts"]["rejected"] == 0
    assert not any("--missing" in line for line in lines)


@pytest.mark.parametrize("name", LISTS)
def test_genres_of_every_form_are_the_same_genres(name: str, tmp_path: Path) -> None:
    data, _ = prepared(CASES[f"genres as {name}"], tmp_path)
    by_id = dict(zip(data.items.ids.to_pylist(), data.item_table["genres"].to_pylist(), strict=True))
    assert by_id == {str(movie): "|".join(kinds) for movie, kinds in KINDS.items()}


def test_the_form_of_genres_is_that_of_the_column() -> None:
    assert split_genres(["Sci-Fi/Fantasy|Drama", "Sci-Fi/Fantasy"]) == ["Sci-Fi/Fantasy|Drama", "Sci-Fi/Fantasy"]
    assert split_genres(["Sci-Fi/Fantasy", "Comedy"]) == ["Sci-Fi/Fantasy", "Comedy"]
    assert split_genres(["[]", "['A']", None, "(no genres listed)", "nan"]) == [None, "A", None, None, None]
    assert split_genres(["[{'id': 3, 'name': \"Children's\"}]"]) == ["Children's"]
    assert split_genres(["Animation Children's", "Drama"], blanks=True) == ["Animation|Children's", "Drama"]
    assert split_genres(['{"/m/1": "Drama", "/m/2": "Crime"}', "{}"]) == ["Drama|Crime", None]
    assert split_genres(['{Action,"Film Noir",Crime}', "{Drama}"]) == ["Action|Film Noir|Crime", "Drama"], "PostgreSQL"
    assert split_genres(["['Drama', nan]", "[Children's, Kid's]"]) == ["Drama", "Children's|Kid's"]


@pytest.mark.parametrize(
    ("title", "shown", "year"),
    [
        ("Matrix, The (1999)", "The Matrix", 1999),
        ("The Matrix", "The Matrix", None),
        ("Postman, The (Postino, Il) (1994)", "The Postman (Il Postino)", 1994),
        ("Avventura, L' (1960)", "L'Avventura", 1960),
        ("American in Paris, An", "An American in Paris", None),
        ("Seven (a.k.a. Se7en) (1995)", "Seven (a.k.a. Se7en)", 1995),
        ("2001 (1968)", "2001", 1968),
        ("(1977)", "(1977)", 1977),
        ("Hello, Dolly!", "Hello, Dolly!", None),
        ("Show (2001-2003)", "Show", 2001),
    ],
)
def test_titles_lose_their_year_and_trailing_article(title: str, shown: str, year: int | None) -> None:
    assert (plain_title(title), year_in(title)) == (shown, year)
    assert plain_title(shown) == shown


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_columns_of_movie_tables_are_found_by_their_names(name: str, tmp_path: Path) -> None:
    data, _ = prepared(CASES[f"names of {name}"], tmp_path)
    for row in data.item_table.to_pylist():
        movie = int(row["movieId"])
        assert (row["title"], row["year"], row["genres"]) == (TITLES[movie], YEARS[movie], "|".join(KINDS[movie]))


def test_columns_of_tables_may_be_named(tmp_path: Path) -> None:
    table = movies(lambda m: (f"x{m}", TITLES[m], YEARS[m], m, KINDS[m][0]), "id,title,seen,key,kind")
    names = {"id": "key", "year": "seen", "genres": "kind"}
    data, _ = prepared(Case(movies=table), tmp_path, item_columns=names)
    for row in data.item_table.to_pylist():
        movie = int(row["movieId"])
        assert (row["title"], row["year"], row["genres"]) == (TITLES[movie], YEARS[movie], KINDS[movie][0])
        assert row["id"] == f"x{movie}", "other columns keep their names"
    for wrong, message in (({"id": "no"}, "'no'"), ({"studio": "key"}, "id, title, year, genres")):
        with pytest.raises(ConfigError, match=message):
            prepared(Case(movies=table), tmp_path, item_columns=wrong)
    case = Case(ratings(lambda _, r: r[:3], "viewer,film,stars"), movies(lambda m: (m, TITLES[m]), "film,title"))
    data, _ = prepared(case, tmp_path / "b", columns={"user": "viewer", "item": "film", "rating": "stars"})
    assert set(data.item_table["title"].to_pylist()) == set(TITLES.values())


def test_users_are_found_by_the_column_that_is_named(tmp_path: Path) -> None:
    source = Case(movies=None).source(tmp_path)
    (tmp_path / "people.csv").write_text("name,key,age\n" + "".join(f"n{u},{u}.0,{u + 20}\n" for u in USERS))
    lines: list[str] = []
    config = DataConfig(user_columns={"id": "key"})
    full = Source(source.ratings, users=tmp_path / "people.csv")
    data = load_prepared(prepare(full, config, tmp_path / "p", lines.append))
    assert {row["userId"]: row["age"] for row in data.user_table.to_pylist()} == {str(u): str(u + 20) for u in USERS}
    assert any(f"people.csv: {len(USERS)} of {len(USERS)} rated users" in line for line in lines)


def test_a_table_of_other_movies_is_refused_with_an_id_of_each_side(tmp_path: Path) -> None:
    strange = movies(lambda m: (f"film-{m}", TITLES[m], YEARS[m], ""))
    with pytest.raises(DataError, match=r"movies\.csv.*'1'.*'film-1'.*--item-columns"):
        prepared(Case(movies=strange), tmp_path)
    _, lines = prepared(Case(movies="movieId,title\n1,A\nx,B\n"), tmp_path)
    assert any(f"1 of {len(MOVIES)} rated movies" in line for line in lines)


def test_a_malformed_row_of_a_table_costs_that_row(tmp_path: Path) -> None:
    lines = TABLE.splitlines()
    lines[10] += ",one,more"
    data, said = prepared(Case(PLAIN, "\n".join(lines) + "\n"), tmp_path)
    titles = dict(zip(data.items.ids.to_pylist(), data.item_table["title"].to_pylist(), strict=True))
    assert titles == {str(movie): None if movie == 10 else title for movie, title in TITLES.items()}
    assert any("movies.csv" in line and "row 10" in line for line in said)


def test_netflix_titles_hold_commas(tmp_path: Path) -> None:
    Case(movies=None).source(tmp_path)
    lines = [f"{m},{'NULL' if m == 3 else YEARS[m]},{TITLES[m]}, Part {m}\n" for m in MOVIES]
    (tmp_path / "movie_titles.csv").write_text("".join(lines), encoding="latin-1")
    source = find(tmp_path / "ratings.csv", items=tmp_path / "movie_titles.csv")
    data = load_prepared(prepare(source, DataConfig(), tmp_path / "p", lambda line: None))
    rows = {int(row["movieId"]): (row["title"], row["year"]) for row in data.item_table.to_pylist()}
    assert rows == {m: (f"{TITLES[m]}, Part {m}", None if m == 3 else YEARS[m]) for m in MOVIES}

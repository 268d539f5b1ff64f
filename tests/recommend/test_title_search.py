"""Search of titles as people type them."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelgraph.data.titles import plain_title, year_in
from reelgraph.errors import UnknownIdError
from reelgraph.recommend.catalogue import Catalogue
from reelgraph.recommend.title_search import TitleIndex
from reelgraph.recommend.titles import words

MOVIES: list[tuple[str | None, int | None, int]] = [
    ("Matrix, The", 1999, 90),
    ("Matrix Reloaded, The", 2003, 40),
    ("Godfather, The", 1972, 80),
    ("Godfather: Part II, The", 1974, 60),
    ("Amélie (Fabuleux destin d'Amélie Poulain, Le)", 2001, 50),
    ("Avventura, L' (Adventure, The)", 1960, 3),
    ("Toy Story", 1995, 85),
    ("Alien", 1979, 20),
    ("Aliens", 1986, 70),
    ("My Alien Friend", 1999, 95),
    ("Spider-Man", 2002, 30),
    ("E.T. the Extra-Terrestrial", 1982, 55),
    ("M*A*S*H", 1970, 25),
    ("WALL·E", 2008, 45),
    ("Schindler's List", 1993, 65),
    ("2001: A Space Odyssey", 1968, 35),
    ("Star Wars: Episode IV - A New Hope", 1977, 88),
    ("Smørrebrød & Æbler", 1988, 2),
    ("千と千尋の神隠し", 2001, 15),
    ("Seven (a.k.a. Se7en)", 1995, 33),
    ("Misérables, Les", 1998, 12),
    ("Misérables, Les", 2012, 10),
    ("The Hitcher", 1986, 9),
    ("Total Recall (1990)", 1990, 7),
    (None, None, 1),
]


def index_of(movies: list[tuple[str | None, int | None, int]]) -> TitleIndex:
    titles, years, counts = zip(*movies, strict=True)
    ids = [f"m{place}" for place in range(len(movies))]
    table = pa.table({"movieId": ids, "title": pa.array(titles, pa.string()), "year": pa.array(years, pa.int16())})
    return TitleIndex(Catalogue(table), np.asarray(counts))


INDEX = index_of(MOVIES)


def search(text: str) -> list[str]:
    return [MOVIES[item][0] or "" for item in INDEX.find(text)]


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("matrix", "Matrix, The"),
        ("The Matrix", "Matrix, The"),
        ("matrix, the", "Matrix, The"),
        ("mat", "Matrix, The"),
        ("reloaded matrix", "Matrix Reloaded, The"),
        ("matrix 2003", "Matrix Reloaded, The"),
        ("2003 mat", "Matrix Reloaded, The"),
        ("amelie", "Amélie (Fabuleux destin d'Amélie Poulain, Le)"),
        ("AMÉLIE", "Amélie (Fabuleux destin d'Amélie Poulain, Le)"),
        ("ame\u0301lie", "Amélie (Fabuleux destin d'Amélie Poulain, Le)"),
        ("le fabuleux destin", "Amélie (Fabuleux destin d'Amélie Poulain, Le)"),
        ("l'avventura", "Avventura, L' (Adventure, The)"),
        ("l\u2019avventura", "Avventura, L' (Adventure, The)"),
        ("the adventure", "Avventura, L' (Adventure, The)"),
        ("spiderman", "Spider-Man"),
        ("spider man", "Spider-Man"),
        ("et", "E.T. the Extra-Terrestrial"),
        ("e.t.", "E.T. the Extra-Terrestrial"),
        ("mash", "M*A*S*H"),
        ("m*a*s*h", "M*A*S*H"),
        ("wall-e", "WALL·E"),
        ("walle", "WALL·E"),
        ("schindlers list", "Schindler's List"),
        ("2001", "2001: A Space Odyssey"),
        ("smorrebrod", "Smørrebrød & Æbler"),
        ("smørrebrød and aebler", "Smørrebrød & Æbler"),
        ("千と", "千と千尋の神隠し"),
        ("se7en", "Seven (a.k.a. Se7en)"),
        ("les miserables 2012", "Misérables, Les"),
        ("the toy story", "Toy Story"),
        ("the hitcher", "The Hitcher"),
        ("total recall 1990", "Total Recall (1990)"),
        ("m24", ""),
    ],
)
def test_queries_find_titles(typed: str, first: str) -> None:
    assert search(typed)[0] == first


def test_exact_names_come_before_prefixes_and_both_before_other_matches() -> None:
    assert search("alien") == ["Alien", "Aliens", "My Alien Friend"]
    assert search("the godfather") == ["Godfather, The", "Godfather: Part II, The"]


def test_a_year_at_the_end_of_a_query_is_not_part_of_the_name() -> None:
    index = index_of([("Aliens, More", 1979, 9), ("Alien", 1979, 1), ("Big Alien", 1979, 20), ("Alien", 1980, 5)])
    assert index.find("alien 1979").tolist() == [1, 0, 2]


def test_a_year_after_a_title_is_not_a_name() -> None:
    index = index_of([("Total Recall (1990)", 1990, 9), ("1990: The Bronx Warriors", 1982, 1)])
    assert index.find("1990").tolist() == [1, 0]


def test_articles_are_not_names() -> None:
    assert search("t")[0] == "Toy Story"
    assert {"Matrix, The", "The Hitcher"} <= set(search("t"))


@pytest.mark.parametrize("slip", ["godfahter", "godfater", "godfatther", "gadfather", "godf4th"])
def test_one_typing_error_in_a_word_is_accepted(slip: str) -> None:
    assert search(slip) == ["Godfather, The", "Godfather: Part II, The"]
    assert search(f"{slip} 1974") == ["Godfather: Part II, The"]


def test_two_errors_are_accepted_in_long_words_and_none_in_short_ones() -> None:
    assert search("gadfahter") == ["Godfather, The", "Godfather: Part II, The"]
    assert set(search("alein")) == {"Alien", "Aliens", "My Alien Friend"}
    assert search("elain") == [], "two errors, of which one in the first letter"
    assert search("tyo") == []


@pytest.mark.parametrize(("typed", "first"), [("citizen cane", 0), ("lizard of oz", 2), ("zird of oz", None)])
def test_the_first_letter_may_be_the_slip(typed: str, first: int | None) -> None:
    index = index_of([("Citizen Kane", 1941, 90), ("Citizen's Care", 1977, 9), ("Wizard of Oz, The", 1939, 9)])
    assert index.find(typed)[:1].tolist() == ([] if first is None else [first])


def test_a_short_word_may_have_a_slip_beside_another_word() -> None:
    index = index_of([("Fight Club", 1999, 9), ("Die Hard", 1988, 9), ("Star Wars", 1977, 9)])
    assert index.find("fight clb").tolist() == [0]
    assert index.find("die hrd").tolist() == [1]
    assert index.find("clb").tolist() == []
    assert index.find("star wars abc").tolist() == [2], "a word that matches nothing is still left out"


def test_an_empty_query_lists_the_most_rated_movies() -> None:
    counts = [MOVIES[item][2] for item in INDEX.find("  ")]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) == len(MOVIES)
    assert search("-,.") == [], "signs are no words, and no title is called so"


@given(st.data())
def test_movies_match_prefixes_of_their_words_in_any_order(data: st.DataObject) -> None:
    item = data.draw(st.integers(0, len(MOVIES) - 2))
    title, year, _ = MOVIES[item]
    pieces = data.draw(st.permutations(words((title or "").replace("a.k.a.", ""))))
    typed = [word[: data.draw(st.integers(1, len(word)))] for word in pieces if not word.isdigit()] + [str(year)]
    assert item in INDEX.find(" ".join(typed[: data.draw(st.integers(1, len(typed)))]))


def test_matches_equal_those_of_a_plain_loop() -> None:
    plain = [({*words(title or ""), str(year)}, item) for item, (title, year, _) in enumerate(MOVIES[:10])]
    index = index_of(MOVIES[:10])
    beginnings = ["g", "go", "mat", "al", "rel", "1999", "story", "ii", "toy", "fri"]
    for pair in itertools.combinations_with_replacement(beginnings, 2):
        loop = {item for own, item in plain if all(any(word.startswith(start) for word in own) for start in pair)}
        if loop:
            assert set(index.find(" ".join(pair)).tolist()) == loop


def test_numbers_do_not_match_the_beginning_of_a_year() -> None:
    index = index_of([("Rocky Balboa", 2006, 90), ("Rocky II", 1979, 5), ("Part Two", 1950, 1)])
    assert index.find("rocky 2").tolist() == [1]
    assert index.find("rocky two").tolist() == [1]
    assert index.find("part 2").tolist()[0] == 2


def test_a_number_counts_the_films_of_a_series() -> None:
    index = index_of([
        ("Harry Potter and the Goblet of Fire", 2005, 9),
        ("Harry Potter and the Sorcerer's Stone", 2001, 9),
        ("Harry Potter and the Chamber of Secrets", 2002, 9),
        ("3 Ninjas", 1992, 90),
    ])  # fmt: skip
    assert index.find("harry potter 3").tolist() == [0]
    assert set(index.find("harry potter 4").tolist()) == {0, 1, 2}, "there is no fourth: the number is left out"


def test_an_exact_name_outweighs_ratings_but_not_every_number_of_them() -> None:
    films: list[tuple[str | None, int | None, int]] = [("Empire", 2002, 1), ("Saga: The Empire Strikes Back", 1980, 20)]
    assert index_of(films).find("empire").tolist() == [0, 1]
    films[1] = (*films[1][:2], 400)
    assert index_of(films).find("empire").tolist() == [1, 0]


def test_a_movie_is_named_by_id_or_by_an_unambiguous_title() -> None:
    assert MOVIES[INDEX.movie("m3")][0] == "Godfather: Part II, The"
    assert MOVIES[INDEX.movie("alien")][0] == "Alien", "an exact name"
    assert MOVIES[INDEX.movie("reloaded")][0] == "Matrix Reloaded, The", "the only match"
    assert MOVIES[INDEX.movie("les miserables 2012")][1] == 2012
    with pytest.raises(UnknownIdError, match=r"found 2: Misérables, Les \(1998\) \(id m20\), "):
        INDEX.movie("les miserables")
    with pytest.raises(UnknownIdError, match="found no match"):
        INDEX.movie("nothing like it")


def test_typical_queries_find_their_movie_first(movielens: Path) -> None:
    """On real titles; what matters is the share, since a query can mean more than one movie."""
    folder = movielens / "ml-latest-small"
    movies = pd.read_csv(folder / "movies.csv", dtype={"movieId": str})
    counts = pd.read_csv(folder / "ratings.csv", dtype={"movieId": str})["movieId"].value_counts()
    movies = movies[movies["movieId"].isin(counts.index)]
    titles = [(plain_title(title), year_in(title)) for title in movies["title"]]
    columns = {"title": [title for title, _ in titles], "year": pa.array([year for _, year in titles], pa.int16())}
    catalogue = Catalogue(pa.table({"movieId": movies["movieId"].tolist(), **columns}))
    index = TitleIndex(catalogue, counts[movies["movieId"]].to_numpy())
    queries = pd.read_csv(Path(__file__).parent / "title_queries.csv")
    wrong = []
    for query, title, year in queries.itertuples(index=False):
        first = index.find(query)[:1].tolist()
        if [titles[item] for item in first] != [(title, year)]:
            wrong.append((query, title, [titles[item] for item in first]))
    assert len(queries) >= 80
    assert len(wrong) <= 0.05 * len(queries), wrong


@given(st.text(max_size=30))
def test_any_text_can_be_searched(text: str) -> None:
    assert len(set(INDEX.find(text).tolist())) == len(INDEX.find(text))

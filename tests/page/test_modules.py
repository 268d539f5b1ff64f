"""Functions of the page's modules, called in the browser."""

import hashlib
import re
from typing import Any

import pytest

from reelgraph.recommend.explain import rounded
from reelgraph.service.report import STATIC
from tests.page.browsing import Visit

HALVES = {"low": 0.5, "high": 5, "step": 0.5}
WHOLE = {"low": 1, "high": 5, "step": 1}
TENS = {"low": 1, "high": 10, "step": 1}
HUNDREDS = {"low": 1, "high": 100, "step": 1}
AROUND_ZERO = {"low": -10, "high": 10, "step": 5}


@pytest.fixture(scope="module")
def call(request: pytest.FixtureRequest) -> Any:
    """Calls a function of one of the page's modules."""
    browser, server = request.getfixturevalue("browser"), request.getfixturevalue("server")
    page = browser.new_page()
    page.goto(server.address)

    def run(module: str, name: str, *args: Any) -> Any:
        call = f"(await import('./static/{module}.js')).{name}(...args)"
        plain = "result instanceof Map ? Object.fromEntries(result) : result"
        return page.evaluate(f"async (args) => {{ const result = {call}; return {plain}; }}", list(args))

    yield run
    page.close()


@pytest.mark.parametrize(
    ("scale", "share", "stars"),
    [
        (HALVES, 0.001, 0.5), (HALVES, 0.1, 0.5), (HALVES, 0.11, 1), (HALVES, 0.69, 3.5), (HALVES, 1, 5),
        (WHOLE, 0.001, 1), (WHOLE, 0.21, 2), (WHOLE, 0.5, 3), (WHOLE, 0.99, 5),
        (TENS, 0.001, 1), (TENS, 0.34, 4), (TENS, 1, 10),
        (HUNDREDS, 0.001, 10), (HUNDREDS, 0.34, 40), (HUNDREDS, 1, 100),
        (AROUND_ZERO, 0.001, -10), (AROUND_ZERO, 0.5, 0), (AROUND_ZERO, 0.51, 5), (AROUND_ZERO, 1, 10),
    ],
)  # fmt: skip
def test_a_point_on_the_stars_means_the_half_star_under_it(call: Any, scale: Any, share: float, stars: float) -> None:
    values = call("stars", "valuesOf", scale)
    assert values[0] == scale["low"]
    assert values[-1] == scale["high"]
    assert call("stars", "pointed", values, share, scale) == stars


@pytest.mark.parametrize(
    ("movie", "title", "others"),
    [
        (("Matrix, The", 1999), "The Matrix", []),
        (("Matrix, The (1999)", 1999), "The Matrix", []),
        (("Avventura, L' (Adventure, The)", 1960), "L'Avventura", ["The Adventure"]),
        (("Seven (a.k.a. Se7en) (1995)", 1995), "Seven", ["Se7en"]),
        (
            ("City of Lost Children, The (Cité des enfants perdus, La)", 1995),
            "The City of Lost Children",
            ["La Cité des enfants perdus"],
        ),
        (("1984", 1984), "1984", []),
        (("(500) Days of Summer", 2009), "(500) Days of Summer", []),
        (("Good, the Bad and the Ugly, The", 1966), "The Good, the Bad and the Ugly", []),
        ((None, None), "7", []),
    ],
)
def test_titles_are_put_in_natural_order(call: Any, movie: Any, title: str, others: list[str]) -> None:
    found = call("format", "titlesOf", {"movie_id": "7", "title": movie[0], "year": movie[1], "genres": []})
    assert found == {"title": title, "others": others}


@pytest.mark.parametrize(
    ("title", "initials"),
    [("The Matrix", "M"), ("Star Wars: Episode IV", "SW"), ("2001: A Space Odyssey", "2001"), ("Amélie", "A"),
     ("Lord of the Rings", "LR"), ("千と千尋", "千"), ("The", "T"), ("!!!", "?"),
     ("Raiders of the Lost Ark Again", "RLA")],
)  # fmt: skip
def test_posters_show_initials(call: Any, title: str, initials: str) -> None:
    assert call("why", "initialsOf", title) == initials


def test_links_keep_ratings_whatever_the_ids(call: Any) -> None:
    ratings = {"260": 4.5, "tt0111161": 1, "a~b:c": 3, "Zoë #1/2 %41": 5, "1e3": 2}
    fragment = call("share", "toFragment", ratings)
    assert " " not in fragment
    assert "#" not in fragment
    assert call("share", "fromFragment", f"#{fragment}", HALVES) == ratings
    assert call("share", "fromFragment", fragment + "~77:6~78:0.4~79:NaN~80:3", HALVES) == ratings | {"80": 3}


@pytest.mark.parametrize(
    "fragment", ["", "#", "#ratings=", "#ratings=x", "#ratings=:3", "#ratings=1:", "#ratings=%E0%A4:3", "#other=1:3"]
)
def test_a_broken_link_contains_no_ratings(call: Any, fragment: str) -> None:
    assert call("share", "fromFragment", fragment, HALVES) == {}


def test_reasons_get_ribbons_and_the_others_share_one(call: Any) -> None:
    def reason(part: float, rating: float = 4, disliked: bool = False) -> dict[str, Any]:
        movie: dict[str, Any] = {"movie_id": "1", "title": f"Movie {part}", "year": None, "genres": []}
        return {"movie": movie, "rating": rating, "contribution": part, "disliked": disliked}

    grounds = {"supporting": [reason(0.3), reason(0.5, 1, True)], "opposing": [reason(-0.2, 2, True)]}
    pulls = call("why", "pullsOf", grounds | {"own": reason(0.1, 5), "rest_number": 3, "rest": 0.051, "total": 0.751})
    assert [(pull["label"], pull["detail"].replace("\u2009", ""), pull["pull"]) for pull in pulls] == [
        ("Movie 0.3", "your rating: 4★", 0.3), ("Movie 0.5", "disliked (1★), as by people who like this", 0.5),
        ("Movie -0.2", "you disliked it: 2★", -0.2), ("This movie itself", "your rating: 5★", 0.1),
        ("3 other ratings", "", 0.051),
    ]  # fmt: skip
    alone = call("why", "pullsOf", {"supporting": [], "opposing": [], "own": None, "rest_number": 1, "rest": 0.001})
    assert alone == [{"label": "1 rating", "detail": "", "pull": 0.001}]


@pytest.mark.parametrize(
    "parts", [[0.014, 0.024], [-0.014, -0.024, 0.3], [0.006, 0.006, 0.007], [0.0, 0.004], [0.005], []]
)
def test_rounded_parts_add_up_as_on_the_command_line(call: Any, parts: list[float]) -> None:
    assert call("format", "rounded", parts, sum(parts)) == rounded(parts, sum(parts))


@pytest.mark.parametrize(
    ("length", "size", "digest"),
    [
        (17, 21, "40250feb5812e202"), (53, 29, "1e81d2b21a86eed5"), (154, 45, "cbb61d710b0fa22e"),
        (367, 65, "468b282a49bc82a6"), (858, 97, "7df6d43c06bdc861"),
    ],
)  # fmt: skip
def test_qr_codes_equal_those_of_segno(call: Any, length: int, size: int, digest: str) -> None:
    """The digests are those of segno 1.6 (error "l", mask 0) for texts that fill versions 1, 3, 7, 12 and 20."""
    rows = call("qr", "modulesOf", "x" * length)
    assert len(rows) == size
    assert hashlib.sha256("".join("01"[dark] for row in rows for dark in row).encode()).hexdigest()[:16] == digest


def test_a_text_too_long_for_a_qr_code_has_none(call: Any) -> None:
    assert call("qr", "modulesOf", "x" * 859) is None


def test_exported_cells_are_no_formulas(call: Any) -> None:
    assert call("keeping", "toCsv", [["=1+1", "-2", 'a "b", c', None]]) == '\'=1+1,-2,"a ""b"", c",\r\n'
    for stars, half in ((100, 5), (1, 0.5), (55, 3), (71, 3.5)):
        assert call("keeping", "halfStars", stars, HUNDREDS) == half


def test_the_document_preloads_all_modules() -> None:
    named = set(re.findall(r'modulepreload" href="static/(.*?)"', (STATIC / "index.html").read_text(encoding="utf-8")))
    needed, found = {"main.js"}, set[str]()
    while needed:
        name = needed.pop()
        found.add(name)
        needed |= set(re.findall(r'from "\./(.*?)"', (STATIC / name).read_text("utf-8"))) - found
    assert named == found


def test_a_movie_always_gets_the_same_poster(visit: Visit) -> None:
    page = visit.open()
    posters = "() => [...document.querySelectorAll('.card .poster')].map((poster) => poster.outerHTML)"
    first = page.evaluate(posters)
    visit.reload()
    assert page.evaluate(posters) == first
    assert len(set(first)) == len(first)

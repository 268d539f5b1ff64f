"""Ratings are kept on the server with the visitor's consent, found again, exported and deleted."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.page.browsing import Visit
from tests.support.kills import Server

FORGET = "localStorage.clear()"  # what another browser profile or a cleared one has


def database(folder: Path) -> URL:
    return URL.create("sqlite", database=str(folder / "ratings.sqlite"))


@pytest.fixture
def keeper(server: Server) -> Server:
    return server


def kept(visit: Visit) -> dict[str, float]:
    """What the server keeps of the visitor."""
    ratings: dict[str, float] = visit.page.evaluate("""async () => {
        const { user } = await (await fetch("/api/visitors")).json();
        if (!user) return {};
        const { ratings } = await (await fetch(`/api/users/${user}/ratings`)).json();
        return Object.fromEntries(ratings.map(({ movie, rating }) => [movie, rating]));
    }""")
    return ratings


def wait_until_kept(visit: Visit, expected: dict[str, float]) -> None:
    for _ in range(100):
        if kept(visit) == expected:
            return
        visit.page.wait_for_timeout(50)
    assert kept(visit) == expected


def test_a_visitor_agrees_and_comes_back_to_the_same_list(visit: Visit) -> None:
    page = visit.open()
    assert page.locator("#keep-ask").is_hidden(), "nothing to keep yet"
    visit.rate("The Matrix", 5)
    assert kept(visit) == {}, "nothing is kept before the visitor agrees"
    assert page.get_by_text("Your ratings stay in this browser.").is_visible()
    visit.photograph("keep-ask")
    assert visit.barriers() == []
    page.get_by_role("button", name="Keep them here").click()
    page.get_by_text("Your ratings are kept on this server.").wait_for()
    assert page.locator("#keep-ask").is_hidden()
    assert page.get_by_text("This server keeps your ratings").is_visible()
    wait_until_kept(visit, {"1": 5})
    visit.rate("Alien", 4)
    wait_until_kept(visit, {"1": 5, "3": 4})
    visit.rate("Alien", 2)
    visit.rate("Heat", 1)
    wait_until_kept(visit, {"1": 5, "3": 2, "54": 1})
    page.get_by_role("button", name="Remove your rating for Heat").click()
    wait_until_kept(visit, {"1": 5, "3": 2})
    visit.settled()
    before, rated = visit.titles(), visit.rated()
    page.evaluate(FORGET)
    page.reload()
    page.wait_for_selector("#shelf .spine >> nth=1")
    visit.settled()
    assert visit.rated() == rated
    assert visit.titles() == before
    assert page.locator("#keep-ask").is_hidden()


def test_a_visitor_who_declines_is_not_asked_again(visit: Visit) -> None:
    page = visit.open()
    visit.rate("Fargo", 5)
    page.get_by_role("button", name="Only in this browser").click()
    visit.rate("Heat", 4)
    page.reload()
    page.wait_for_selector("#shelf .spine")
    assert page.locator("#keep-ask").is_hidden()
    assert kept(visit) == {}
    page.get_by_role("button", name="Your data").click()
    page.get_by_role("button", name="Keep my ratings on this server").click()
    wait_until_kept(visit, {"52": 5, "54": 4})


def test_ratings_are_exported(visit: Visit) -> None:
    page = visit.open()
    visit.rate("Twelve Monkeys", 4)
    visit.rate("Amélie", 3)
    page.get_by_role("button", name="Your data").click()
    visit.photograph("keep-data")
    assert visit.barriers() == []
    tables = {}
    for button in ("CSV file", "For Letterboxd"):
        with page.expect_download() as download:
            page.get_by_role("button", name=button).click()
        with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
            tables[button] = list(csv.DictReader(file))
    own, letterboxd = tables["CSV file"], tables["For Letterboxd"]
    assert [(row["movieId"], row["rating"]) for row in own] == [("25", "3"), ("13", "4")]
    assert [(row["Year"], row["Rating"]) for row in letterboxd] == [("2001", "3"), ("1995", "4")]
    assert all(row["WatchedDate"].startswith("20") for row in letterboxd)


def test_ratings_are_deleted_on_the_server_and_everywhere(visit: Visit) -> None:
    page = visit.open()
    visit.rate("Fargo", 5)
    page.get_by_role("button", name="Keep them here").click()
    wait_until_kept(visit, {"52": 5})
    page.get_by_role("button", name="Your data").click()
    page.get_by_role("button", name="Delete them on the server").click()
    page.get_by_text("Your ratings are deleted on the server, and stay in this browser.").wait_for()
    assert kept(visit) == {}
    assert visit.rated() == {"Fargo": "5 of 5 stars"}
    page.get_by_role("button", name="Your data").click()
    page.get_by_role("button", name="Keep my ratings on this server").click()
    wait_until_kept(visit, {"52": 5})
    page.get_by_role("button", name="Your data").click()
    page.get_by_role("button", name="Delete everything").click()
    page.wait_for_selector("#hero:not([hidden])")
    assert kept(visit) == {}
    visit.reload()
    assert visit.rated() == {}


def test_ratings_given_while_the_server_is_away_are_kept_when_it_is_back(
    cinema: Path, visits: Callable[..., Visit], tmp_path: Path
) -> None:
    server = Server(cinema, database(tmp_path))
    try:
        visit = visits(server.address)
        page = visit.open()
        visit.rate("Fargo", 5)
        page.get_by_role("button", name="Keep them here").click()
        wait_until_kept(visit, {"52": 5})
        server.stop()
        page.locator(".card .stars-input").first.press("4")
        page.get_by_text("Your ratings are safe").wait_for()
        server.start()
        page.wait_for_selector("#banner", state="hidden", timeout=30_000)
        movie = page.evaluate("JSON.parse(localStorage['reelgraph.visitor.1']).ratings.at(-1).movie.movie_id")
        wait_until_kept(visit, {"52": 5, movie: 4})
    finally:
        server.stop()
    visit.complaints.clear()  # The browser logs every refused connection.

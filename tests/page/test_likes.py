"""The page of a model without stars: visitors like movies."""

import csv
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import URL

import reelgraph as rg
from tests.page.browsing import SMALL, Visit
from tests.page.cinema import write_cinema
from tests.support.kills import Server

ROMANCES = {"Pretty Woman", "Notting Hill", "Casablanca", "Titanic", "Emma", "Sabrina", "Gigi", "Ghost"}


@pytest.fixture(scope="module")
def likes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a model trained on the ratings of 4 stars and more as likes."""
    folder = write_cinema(tmp_path_factory.mktemp("likes"))
    with (folder / "ratings.csv").open(encoding="utf-8") as file:
        liked = [(row["userId"], row["movieId"]) for row in csv.DictReader(file) if float(row["rating"]) >= 4]
    data = rg.load(liked, items=folder / "movies.csv", implicit=True)
    rg.fit(data, tune="none", rank_dim=16, rank_max_steps=40).save(folder / "model")
    server = Server(folder / "model", URL.create("sqlite", database=str(folder / "ratings.sqlite")))
    yield server
    server.stop()


def no_stars(visit: Visit) -> None:
    """Nothing on the page speaks of stars or ratings."""
    text = visit.page.locator("body").inner_text().casefold()
    assert not [word for word in ("★", " stars", "rating", "rate ") if word in text]
    assert visit.page.locator(".stars-input").count() == 0


def test_a_like_changes_the_list_and_can_be_taken_back(visits: Callable[..., Visit], likes: Server) -> None:
    visit = visits(likes.address)
    page = visit.open()
    no_stars(visit)
    visit.photograph("likes-start")
    first = visit.titles()
    for title in ("Pretty Woman", "Notting Hill"):
        page.fill("#q", title)
        page.keyboard.press("ArrowDown")
        page.locator(f'.found-row .like:focus[aria-label="Like {title}"]').press("Enter")
        page.keyboard.press("Escape")
        visit.settled()
    assert visit.titles() != first
    assert len(ROMANCES & set(visit.titles()[:12])) > len(ROMANCES & set(first[:12]))
    assert not {"Pretty Woman", "Notting Hill"} & set(visit.titles())
    assert page.locator("#shelf .like[aria-pressed=true]").count() == 2
    page.get_by_text("Like a few more").wait_for()
    assert page.locator("#ask-row .like").count() == 6
    no_stars(visit)
    visit.photograph("likes-list")
    assert visit.barriers() == []
    visit.reload()
    assert page.locator("#shelf-count").inner_text() == "2"
    for _ in range(2):
        page.locator("#shelf .like").first.click()
        visit.settled()
    assert visit.titles() == first


def test_why_and_similar_movies_name_likes(visits: Callable[..., Visit], likes: Server) -> None:
    visit = visits(likes.address, **SMALL)
    page = visit.open()
    page.locator(".card .like").first.click()
    visit.settled()
    page.locator(".card-actions button").first.click()
    page.wait_for_selector(".why .pulls")
    page.locator(".in-words summary").click()
    assert page.locator(".in-words li").first.inner_text().startswith("You like ")
    no_stars(visit)
    visit.photograph("likes-why")
    page.locator("#tab-similar").click()
    page.wait_for_selector(".tile .like")
    no_stars(visit)
    assert visit.barriers() == []


def test_a_link_carries_likes(visits: Callable[..., Visit], likes: Server) -> None:
    visit = visits(likes.address)
    page = visit.open("#ratings=1:1~2:1~3:4")
    page.wait_for_selector(".spine")
    assert page.locator("#shelf-count").inner_text() == "2"


def test_insights_show_measures_of_lists(visits: Callable[..., Visit], likes: Server) -> None:
    visit = visits(likes.address)
    page = visit.page
    page.goto(f"{visit.url}insights")
    page.wait_for_selector("#errors-panels table")
    assert page.locator("#errors").inner_text() == "Measures of lists"
    assert "RMSE" not in page.locator("#tiles, #errors-panels").all_inner_texts()[0]
    assert page.locator("#errors-panels tr.own").count() == 2
    page.fill("#user", "1")
    page.click("#ask button")
    page.wait_for_selector("#compare-lists td")
    assert "Score" in page.locator("#compare-lists").inner_text()
    visit.photograph("likes-insights")
    assert visit.barriers() == []

"""Movies have addresses, lists an order, and visitors a watchlist."""

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.page.browsing import SMALL, Visit


def shown(visit: Visit, title: str) -> None:
    """Wait until the movie's dialog is open."""
    visit.page.locator("#sheet-title", has_text=re.compile(f"^{re.escape(title)}$")).wait_for()


def test_a_movie_has_an_address_that_the_back_button_leaves(visit: Visit) -> None:
    page = visit.open()
    first, second = visit.titles()[:2]
    page.get_by_role("button", name=f"Why {first}", exact=True).click()
    shown(visit, first)
    assert re.fullmatch(rf"{re.escape(visit.url)}movie/\d+", page.url)
    assert page.title().startswith(first)
    address = page.url
    page.get_by_role("tab", name="Similar movies").click()
    page.locator(".tile .tile-open").first.click()
    page.wait_for_url(lambda url: url != address)
    page.go_back()
    shown(visit, first)
    assert page.url == address
    assert page.get_by_role("tab", name="Similar movies").get_attribute("aria-selected") == "true"
    page.go_back()
    page.wait_for_url(visit.url)
    assert page.locator("#sheet").is_hidden()
    page.get_by_role("button", name=f"Why {second}", exact=True).click()
    shown(visit, second)
    visit.close()
    page.go_forward()
    shown(visit, second)
    page.reload()
    shown(visit, second)
    page.get_by_role("button", name="Close", exact=True).click()
    page.wait_for_url(visit.url)
    assert page.locator(".brand").get_attribute("href") == visit.url


def test_a_shared_address_opens_the_movie_over_the_list(visits: Callable[..., Visit]) -> None:
    visit = visits(**SMALL, permissions=["clipboard-read", "clipboard-write"])
    page = visit.page
    page.goto(f"{visit.url}movie/5")
    shown(visit, "Blade Runner")
    page.wait_for_selector(".term")
    page.get_by_role("button", name="Copy the link to this movie").click()
    page.get_by_text("Link copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f"{visit.url}movie/5"
    assert visit.barriers() == []
    visit.photograph("movie-phone")
    page.go_back()
    page.wait_for_url(visit.url)
    page.wait_for_selector(".card")


def test_an_unknown_address_is_a_page(visit: Visit) -> None:
    page = visit.page
    page.goto(f"{visit.url}movie/none")
    assert visit.barriers() == []
    visit.photograph("missing")
    page.get_by_role("link", name="Find a movie").click()
    page.wait_for_selector(".card")
    assert page.url == visit.url
    visit.complaints[:] = [complaint for complaint in visit.complaints if "status of 404" not in complaint]


def test_a_watchlist_is_kept_and_listed(visit: Visit) -> None:
    page = visit.open()
    first, second = visit.titles()[:2]
    only = page.get_by_role("checkbox", name="Only my watchlist")
    assert only.is_hidden()
    page.get_by_role("button", name=f"Put {first} on your watchlist").click()
    page.get_by_role("button", name=f"Why {second}", exact=True).click()
    page.locator("#sheet").get_by_role("button", name=f"Put {second} on your watchlist").click()
    page.locator("#sheet").get_by_text("On your watchlist").wait_for()
    visit.close()
    visit.reload()
    only.press("Space")
    expect(only).to_be_checked()
    visit.settled()
    assert sorted(visit.titles()) == sorted([first, second])
    page.get_by_role("button", name=f"Take {second} off your watchlist").click()
    visit.settled()
    assert visit.titles() == [first]


def test_the_list_and_the_ratings_are_ordered_as_chosen(visit: Visit) -> None:
    page = visit.open()
    for title, stars in (("The Matrix", 3), ("Alien", 5), ("Gigi", 1)):
        visit.rate(title, stars)
    best = visit.titles()
    reasons = set()
    for order in ("Predicted stars", "Less known", "Surprise me"):
        page.select_option("#order", label=order)
        visit.settled()
        reasons.add(page.inner_text("#list-note"))
        assert visit.titles() != best
        if order == "Predicted stars":
            predicted = [float(text) for text in page.locator(".forecast-number").all_text_contents()]
            assert predicted == sorted(predicted, reverse=True)
    assert len(reasons) == 3
    for order, expected in (("title", ["Alien", "Gigi", "The Matrix"]), ("stars", ["Alien", "The Matrix", "Gigi"])):
        page.select_option("#shelf-order", order)
        assert list(visit.rated()) == expected

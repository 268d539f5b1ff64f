"""Search, filters, explanations, similar movies, links and storage."""

import re
from collections.abc import Callable
from urllib.request import urlopen

import pytest
from playwright.sync_api import Route

from tests.page.browsing import Visit
from tests.page.cinema import SPACE

OUTDATED_SEARCH, OUTDATED_LINK = re.compile(r"q=am&"), re.compile(r"/movies\?.*id=1&")


def hold(route: Route) -> None:
    """Leave a request without an answer."""


def test_search_finds_while_typing_and_cancels_outdated_requests(visit: Visit) -> None:
    page = visit.open()
    page.route(OUTDATED_SEARCH, hold)
    with page.expect_request(OUTDATED_SEARCH):
        page.locator("#q").press_sequentially("am")
    with page.expect_event("requestfailed", lambda request: OUTDATED_SEARCH.search(request.url) is not None):
        page.locator("#q").press_sequentially("elie")
    page.get_by_text("1 movie found").wait_for(state="attached")
    assert page.locator(".found-row .tile-open").all_text_contents() == ["Amélie"]
    for typed, found in (
        ("matrix, the", "The Matrix"),
        ("wars new hope 1977", "Star Wars: Episode IV - A New Hope"),
        ("m 1931", "<i>M</i>"),
    ):
        page.fill("#q", typed)
        page.get_by_role("button", name=found, exact=True).and_(page.locator(".found-row button")).wait_for()
    page.fill("#q", "qwertyuiop")
    page.get_by_text("No movies found for qwertyuiop.").first.wait_for()
    visit.photograph("search-nothing")
    page.fill("#q", "")
    page.wait_for_selector("#results", state="hidden")


def test_search_loads_more_results(visit: Visit) -> None:
    page = visit.open()
    page.fill("#q", "19")
    page.wait_for_selector(".found-row >> nth=7")
    page.get_by_role("button", name=re.compile("Show more of")).click()
    page.wait_for_selector(".found-row >> nth=8")
    assert page.evaluate("document.activeElement.closest('.found-row') === document.querySelectorAll('.found-row')[8]")


def test_filters_apply_and_are_cleared(visit: Visit) -> None:
    page = visit.open()
    page.get_by_text("Romance", exact=True).click()
    visit.settled()
    assert all("Romance" in facts for facts in page.locator(".card-facts").all_text_contents())
    page.select_option("#years", "1990-1999")
    visit.settled()
    assert all(re.match(r"199\d · .*Romance", facts) for facts in page.locator(".card .card-facts").all_text_contents())
    page.select_option("#years", "own")
    page.fill("#year-from", "1990")
    page.fill("#year-to", "1930")
    page.locator("#year-to").press("Enter")
    visit.settled()
    years = [int(facts[:4]) for facts in page.locator(".card .card-facts").all_text_contents()]
    assert years
    assert all(1930 <= year <= 1990 for year in years)
    page.fill("#year-from", "1920")
    page.fill("#year-to", "1925")
    page.locator("#year-to").press("Enter")
    page.get_by_text("No movies match these filters").wait_for()
    visit.photograph("empty")
    assert visit.barriers() == []
    page.get_by_role("button", name="Clear filters").click()
    visit.settled()
    assert len(visit.titles()) == 24


def test_more_movies_load_without_duplicates(visit: Visit) -> None:
    page = visit.open()
    first = visit.titles()
    page.click("#more")
    page.wait_for_selector(".card >> nth=24")
    assert visit.titles()[:24] == first
    assert page.evaluate("document.activeElement.textContent") == visit.titles()[24], "the first new card has the focus"
    page.click("#more")
    page.wait_for_selector("#more", state="hidden")
    assert len(visit.titles()) == len(set(visit.titles())) == 60


def test_a_movie_is_hidden_and_brought_back(visit: Visit) -> None:
    page = visit.open()
    first, second = visit.titles()[:2]
    page.get_by_role("button", name=f"Not interested in {first}").click()
    visit.settled()
    assert first not in visit.titles()
    page.get_by_role("button", name="Undo").click()
    visit.settled()
    assert first in visit.titles()
    page.get_by_role("button", name=f"Not interested in {second}").click()
    visit.settled()
    visit.reload()
    assert second not in visit.titles()
    page.get_by_text("Not interested: 1 movie").click()
    page.get_by_role("button", name=f"Bring back {second}").click()
    visit.settled()
    assert second in visit.titles()
    assert page.locator("#hidden-box").is_hidden()


def test_contributions_add_up(visit: Visit) -> None:
    page = visit.open()
    for title, stars in (("The Matrix", 5), ("Alien", 4), ("Pretty Woman", 1)):
        visit.rate(title, stars)
    title = visit.titles()[0]
    page.get_by_role("button", name=f"Why {title}", exact=True).click()
    page.wait_for_selector(".pulls")
    visit.photograph("why")
    terms = [float(text.replace("\u2212", "-")) for text in page.locator(".term b").all_text_contents()]
    assert sum(terms[:-1]) == pytest.approx(terms[-1], abs=0.03)
    page.locator(".in-words summary").first.click()
    words = page.locator(".in-words").first.locator("li").all_text_contents()
    gave = re.compile(r"You (?:gave|disliked) (.+?) \(?(\d of 5 stars)\)?: (\S+) stars")
    parts = {found[1]: (found[2], found[3]) for found in map(gave.fullmatch, words) if found}
    assert {name: given for name, (given, _) in parts.items()} == {
        "The Matrix": "5 of 5 stars", "Alien": "4 of 5 stars", "Pretty Woman": "1 of 5 stars",
    }  # fmt: skip
    pulls = [float(part.replace("\u2212", "-")) for _, part in parts.values()]
    assert sum(pulls) == pytest.approx(terms[3], abs=0.03)
    together = page.locator(".together b").first.inner_text().removesuffix(" stars")
    assert float(together.replace("\u2212", "-")) == pytest.approx(terms[3], abs=0.01)
    label = page.locator(".pulls-box").first.get_attribute("aria-label") or ""
    assert label.startswith(f"How your ratings change the predicted stars of {title}: {sum(p > 0 for p in pulls)} up")
    page.locator(".sheet .stars-input").press("2")
    assert visit.rated()[title] == "2 of 5 stars"
    visit.close()
    visit.settled()
    assert title not in visit.titles()


def test_similar_movies_open_and_lead_back(visit: Visit) -> None:
    page = visit.open()
    page.fill("#q", "alien")
    page.get_by_role("button", name="Aliens", exact=True).and_(page.locator(".tile-open")).click()
    page.get_by_role("tab", name="Similar movies").click()
    page.wait_for_selector(".tile")
    near = page.locator(".tile .tile-open").all_text_contents()
    assert len(near) == 12
    space = {title.removesuffix(", The") for title, _ in SPACE}
    assert sum(title.removeprefix("The ").split(" (")[0] in space for title in near) >= 9
    page.locator(".tile-open", has_text=re.compile(f"^{re.escape(near[0])}$")).and_(
        page.locator(".tile .tile-open")
    ).click()
    assert page.inner_text("#sheet-title") == near[0]
    page.get_by_role("button", name="Back to the previous movie").click()
    page.locator("#sheet-title", has_text=re.compile("^Aliens$")).wait_for()
    page.get_by_role("button", name="Close", exact=True).click()
    assert page.locator("#sheet").is_hidden()
    assert page.evaluate("document.activeElement.textContent") == "Aliens"


def test_a_link_carries_ratings_without_the_server(visits: Callable[..., Visit]) -> None:
    giver, taker = visits(permissions=["clipboard-read", "clipboard-write"]), visits()
    page = giver.open()
    giver.rate("The Matrix", 5)
    giver.rate("Amélie", 2)
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Copy link").click()
    page.get_by_text("Copied").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.input_value("#share-link")
    asked: list[str] = []
    taker.context.on("request", lambda request: asked.append(request.url))
    page = taker.open(link.removeprefix(taker.url))
    page.get_by_text("2 ratings imported from the link.").wait_for()
    assert taker.rated() == giver.rated()
    taker.settled()
    assert taker.titles() == giver.titles()
    assert page.url == taker.url, "the ratings do not stay in the address"
    assert not any("ratings=" in url for url in asked)

    taker.rate("Casino", 4)
    page.goto(link)
    page.wait_for_url(taker.url)
    assert page.locator("#share-sheet").is_hidden(), "a link with nothing new opens no dialog"
    page.goto(f"{taker.url}#ratings=5:1~no%20such:3~7:9~:2~8")
    page.get_by_role("heading", name="This link contains 1 rating").wait_for()
    page.get_by_role("button", name="Add to mine").click()
    assert taker.rated() == {**giver.rated(), "Casino": "4 of 5 stars", "Blade Runner": "1 of 5 stars"}


def test_the_link_opened_last_wins(visit: Visit) -> None:
    page = visit.open()
    visit.rate("Casino", 4)
    page.route(OUTDATED_LINK, hold)
    with page.expect_request(OUTDATED_LINK):
        page.goto(f"{visit.url}#ratings=1:4~2:3")
    with page.expect_event("requestfailed", lambda request: OUTDATED_LINK.search(request.url) is not None):
        page.goto(f"{visit.url}#ratings=5:1")
    page.get_by_role("heading", name="This link contains 1 rating").wait_for()
    # A link whose fragment is removed before the hashchange event arrives.
    page.evaluate("location.hash = 'ratings=5:1~7:2'; history.replaceState(null, '', location.pathname)")
    page.get_by_role("heading", name="This link contains 2 ratings").wait_for()
    assert page.url == visit.url


def test_ratings_are_stored_in_the_browser_and_shared_by_its_tabs(visit: Visit) -> None:
    page = visit.open()
    visit.rate("Heat", 4)
    with visit.context.expect_page():
        page.evaluate("open('./')")
    other = visit.context.pages[1]
    other.wait_for_selector("#shelf .spine")
    assert other.locator("#shelf .tile-open").all_text_contents() == ["Heat"]
    other.locator("#shelf .stars-input").press("Delete")
    page.wait_for_selector("#hero:not([hidden])")
    visit.rate("Casino", 3)
    page.get_by_role("button", name="Clear", exact=True).click()
    assert visit.rated() == {}
    page.get_by_role("button", name="Undo").click()
    assert visit.rated() == {"Casino": "3 of 5 stars"}
    page.evaluate('localStorage.setItem(\'reelgraph.visitor.1\', \'{"ratings": [1, {"stars": 2}], "hidden": 7\')')
    visit.reload()
    assert visit.rated() == {}, "damaged storage counts as empty"


def test_the_first_visit_loads_little_data(visit: Visit) -> None:
    page = visit.open()
    sizes = page.evaluate("performance.getEntriesByType('resource').map((entry) => [entry.name, entry.transferSize])")
    with urlopen(visit.url) as answer:
        total = sum(size for _, size in sizes) + len(answer.read())
    assert {name.rpartition("/")[2] for name, _ in sizes} >= {"main.js", "page.css", "catalogue", "questions"}
    assert 20_000 < total < 200_000

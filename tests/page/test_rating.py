"""Ratings are given, changed and removed, and the list follows."""

from collections.abc import Callable

from tests.page.browsing import SMALL, Visit
from tests.page.cinema import SPACE

TITLES_OF_SPACE = {title.removesuffix(", The") for title, _ in SPACE}


def share_of_space(titles: list[str]) -> float:
    """The share of SPACE movies among the first eight."""
    return sum(title.removeprefix("The ") in TITLES_OF_SPACE for title in titles[:8]) / 8


def test_the_list_starts_generic_and_changes_with_every_rating(visit: Visit) -> None:
    page = visit.open()
    assert page.inner_text("#list-heading") == "Start with these"
    start = visit.titles()
    assert len(start) == 24
    visit.photograph("start")
    visit.rate("The Matrix", 5)
    assert page.inner_text("#list-heading") == "For you"
    assert "The Matrix" not in visit.titles()
    assert visit.titles() != start
    visit.rate("Alien", 5)
    visit.rate("Notting Hill", 1)
    assert share_of_space(visit.titles()) > 0.7
    for title, stars in (("The Matrix", 1), ("Alien", 1), ("Notting Hill", 5), ("Titanic", 5)):
        visit.rate(title, stars)
    assert share_of_space(visit.titles()) < 0.3
    assert visit.rated() == {
        "Titanic": "5 of 5 stars", "Notting Hill": "5 of 5 stars", "Alien": "1 of 5 stars", "The Matrix": "1 of 5 stars"
    }  # fmt: skip
    visit.photograph("for-you")


def test_each_recommendation_shows_its_prediction_and_interval(visit: Visit) -> None:
    page = visit.open()
    for words in page.locator(".forecast .sr").all_text_contents():
        prediction, low, high = (
            float(part) for part in words.replace(";", "").split() if part[0].isdigit() and "." in part
        )
        assert 0.5 <= low <= prediction <= high <= 5
    assert page.locator(".forecast .sr").count() == 24


def test_the_mouse_rates_in_half_stars_changes_and_removes(visit: Visit) -> None:
    page = visit.open()
    title = visit.titles()[3]
    card = page.locator(".card", has=page.get_by_role("button", name=title, exact=True))
    pad, words = card.locator(".stars-pad"), card.locator(".stars-input")
    box = pad.bounding_box()
    assert box is not None
    for share, stars in ((0.65, "3.5"), (0.75, "4"), (0.01, "0.5"), (0.99, "5")):
        pad.click(position={"x": box["width"] * share, "y": 15})
        assert words.get_attribute("aria-valuetext") == f"{stars} of 5 stars"
        visit.settled()
        assert visit.titles()[3] == title, "a movie that is being rated keeps its place"
    page.mouse.move(0, 0)
    assert card.locator(".card-rated").inner_text() == "Your rating: 5"
    card.locator(".stars-remove").click()
    assert words.get_attribute("aria-valuetext") == "not rated"
    assert page.locator("#hero").is_visible()
    assert visit.rated() == {}


def test_a_drag_gives_the_rating_where_it_ends(visit: Visit) -> None:
    page = visit.open()
    box = page.locator(".card .stars-pad").nth(1).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 5, box["y"] + 15)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + 15, steps=4)
    assert visit.rated() == {}
    page.mouse.up()
    assert list(visit.rated().values()) == ["3 of 5 stars"]


def test_a_tap_rates_and_a_scroll_does_not(visits: Callable[..., Visit]) -> None:
    visit = visits(**SMALL)
    page = visit.open()
    title = visit.titles()[0]
    pad = page.locator(".card .stars-pad").first
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2
    finger = visit.context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x, "y": y - 20}]),
        ("touchMove", [{"x": x, "y": y - 60}]),
        ("touchEnd", []),
    ):
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert visit.rated() == {}
    page.locator("h1").scroll_into_view_if_needed()
    pad.tap(position={"x": box["width"] * 0.7, "y": box["height"] / 2})
    visit.settled()
    assert visit.rated() == {title: "3.5 of 5 stars"}
    page.locator("#shelf .stars-remove").tap()
    visit.settled()
    assert visit.rated() == {}


def test_everything_works_by_keyboard(visit: Visit) -> None:
    page = visit.open()
    press = page.keyboard.press

    def focus() -> str:
        words: str = page.evaluate("""() => {
            const focused = document.activeElement;
            return focused.getAttribute("aria-label") ?? (focused.labels?.[0] ?? focused).textContent;
        }""")
        return words

    def tab_to(label: str) -> None:
        seen: list[str] = []
        while len(seen) < 60 and focus() != label:
            press("Tab")
            seen.append(focus())
        assert focus() == label, f"{label!r} not reached with the tab key, only {seen}"

    press("/")
    page.keyboard.type("the mat")
    press("ArrowDown")
    page.wait_for_selector(".found-row .stars-input:focus")
    assert focus() == "Your rating for The Matrix"
    for _ in range(9):
        press("ArrowRight")
    press("ArrowDown")
    press("3")
    assert visit.rated() == {"The Matrix Reloaded": "3 of 5 stars", "The Matrix": "4.5 of 5 stars"}
    press("ArrowUp")
    press("Backspace")
    assert visit.rated() == {"The Matrix Reloaded": "3 of 5 stars"}
    press("Escape")
    assert focus() == "Search for movies to rate"
    assert page.locator("#results").is_hidden()

    tab_to("All genres")
    press("ArrowRight")
    visit.settled()
    assert focus() == "Action"
    assert all("Action" in facts for facts in page.locator(".card .card-facts").all_text_contents())

    first, then = visit.titles()[:2]
    tab_to(f"Why {first}")
    press("Enter")
    page.wait_for_selector(".pulls")
    assert focus() == first, "the heading of the dialog"
    press("Escape")
    assert focus() == f"Why {first}"

    tab_to(f"Not interested in {first}")
    press("Enter")
    visit.settled()
    assert first not in visit.titles()
    assert focus() == then

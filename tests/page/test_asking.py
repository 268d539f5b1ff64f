"""The page asks for the ratings that would say most: in the start list, and in a row until enough are rated."""

import json
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

from tests.page.browsing import SMALL, Visit


def questions(visit: Visit, **body: Any) -> list[str]:
    """The ids of the movies that the server would ask about."""
    request = Request(f"{visit.url}api/questions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request) as answer:
        return [movie["movie_id"] for movie in json.load(answer)["movies"]]


def ids(visit: Visit, items: str) -> list[str]:
    found: list[str] = visit.page.locator(items).evaluate_all("found => found.map((each) => each.dataset.movie)")
    return found


def row(visit: Visit, length: int = 6) -> list[str]:
    """The row, once it is full."""
    visit.page.wait_for_selector(f"#ask-row > li >> nth={length - 1}")
    return ids(visit, "#ask-row > li")


def test_the_start_list_asks_for_what_says_most(visit: Visit) -> None:
    page = visit.open()
    assert ids(visit, ".card") == questions(visit, k=24)
    assert page.locator("#ask").is_hidden()
    page.get_by_text("Romance", exact=True).click()
    visit.settled()
    assert page.inner_text("#list-note").startswith("Nothing rated yet")


def test_a_row_asks_on_until_enough_are_rated(visit: Visit) -> None:
    page = visit.open()
    visit.rate("The Matrix", 5)
    first = row(visit)
    assert first == questions(visit, k=6, ratings={"1": 5})
    visit.photograph("ask")
    assert visit.barriers() == []
    stars = page.locator(f"#ask-row > [data-movie='{first[1]}'] .stars-input")
    for _ in range(3):
        stars.press("ArrowRight")
    assert row(visit) == first, "a movie that is being rated keeps its place"
    assert sorted(visit.rated().values()) == ["1.5 of 5 stars", "5 of 5 stars"]
    page.locator("#q").focus()
    page.wait_for_selector(f"#ask-row > [data-movie='{first[1]}']", state="detached")
    second = row(visit)
    assert second[:5] == [movie for movie in first if movie != first[1]]
    assert second[5] not in first
    for number in range(3):
        page.locator("#ask-row .stars-input").nth(number).press("4")
    assert page.locator("#ask").is_visible(), "who is rating in the row may go on"
    page.locator("#q").focus()
    page.wait_for_selector("#ask", state="hidden")
    page.get_by_role("button", name="Clear", exact=True).click()
    visit.settled()
    assert page.locator("#ask").is_hidden()
    assert page.inner_text("#list-heading") == "Start with these"


def test_movies_that_were_not_seen_are_not_asked_about_again(visits: Callable[..., Visit]) -> None:
    visit = visits(**SMALL)
    page = visit.open()
    page.locator(".card .stars-input").first.press("3")
    before = row(visit)
    listed = visit.titles()
    page.locator("#ask-row .quiet").nth(2).tap()
    assert page.evaluate("document.activeElement.closest('#ask-row > li').dataset.movie") == before[3]
    after = row(visit)
    assert after[:5] == [movie for movie in before if movie != before[2]]
    assert visit.titles() == listed
    visit.photograph("phone-ask")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.reload()
    assert before[2] not in row(visit)
    page.get_by_role("button", name="Your data").click()
    page.get_by_role("button", name="Delete everything").click()
    visit.settled()
    assert before[2] in questions(visit, k=24)
    assert ids(visit, ".card") == questions(visit, k=24)


def test_a_failing_row_leaves_the_list_alone(visit: Visit) -> None:
    page = visit.open()
    visit.context.route("**/api/questions", lambda route: route.fulfill(status=422, body="{}"))
    visit.rate("The Matrix", 5)
    assert page.inner_text("#list-heading") == "For you"
    assert page.locator("#ask").is_hidden()
    visit.complaints[:] = [complaint for complaint in visit.complaints if "status of 422" not in complaint]

"""People watch together by a link or its QR code."""

import re
from collections.abc import Callable

from tests.page.browsing import Visit


def my_link(visit: Visit, name: str) -> str:
    """The visitor's link to watch together."""
    page = visit.page
    page.get_by_role("button", name="Watch together").click()
    page.get_by_label("Your name in the list").fill(name)
    page.get_by_role("button", name="Make my link").click()
    link = page.locator("#together-link").input_value()
    page.get_by_role("img", name="QR code of the link").wait_for()
    return link


def test_one_list_for_two_people_from_a_link_with_ratings(visits: Callable[..., Visit]) -> None:
    giver, taker = visits(), visits()
    giver.open()
    giver.rate("The Matrix", 5)
    giver.rate("Alien", 4)
    link = my_link(giver, "Ann & Bo")
    giver.photograph("together-link")
    assert giver.barriers() == []
    page = taker.open()
    taker.rate("Notting Hill", 5)
    alone = taker.titles()
    page.goto(link)
    page.get_by_text("Ann & Bo watches with you.").wait_for()
    taker.settled()
    assert page.inner_text("#list-heading") == "For 2 people"
    assert page.url == taker.url
    assert taker.titles() != alone
    assert not {"The Matrix", "Alien", "Notting Hill"} & set(taker.titles())
    opinions = page.locator(".card-everyone").all_text_contents()
    assert all(re.fullmatch(r"you \d\.\d · Ann & Bo \d\.\d", text) for text in opinions), opinions
    assert taker.barriers() == []
    taker.photograph("together")
    page.reload()
    page.wait_for_selector(".card-everyone:not([hidden])")
    page.select_option("#together-strategy", "least-misery")
    taker.settled()
    page.get_by_role("button", name="Watch without Ann & Bo").click()
    taker.settled()
    assert taker.titles() == alone
    assert page.locator("#together").is_hidden()


def test_a_link_of_ratings_on_the_server_shows_no_rating(visits: Callable[..., Visit]) -> None:
    giver, taker = visits(), visits()
    page = giver.open()
    giver.rate("The Matrix", 5)
    page.get_by_role("button", name="Keep them here").click()
    page.get_by_text("Your ratings are kept on this server.").wait_for()
    link = my_link(giver, "Ann")
    assert "share=" in link
    assert "ratings=" not in link
    page = taker.open()
    page.goto(link)
    taker.settled()
    page.wait_for_selector(".card-everyone:not([hidden])")
    assert "The Matrix" not in taker.titles()
    page.goto(f"{taker.url}#with=Eve&share=forged")
    page.get_by_text("The list together could not be made").wait_for()
    taker.settled()
    assert page.locator("#together").is_hidden()
    taker.complaints[:] = [complaint for complaint in taker.complaints if "status of 4" not in complaint]

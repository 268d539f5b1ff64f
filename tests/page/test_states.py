"""The page with a failing server, on a phone, in dark mode and with a screen reader."""

import json
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Route
from sqlalchemy import URL

from tests.page.browsing import SMALL, Visit
from tests.support.kills import Server


def test_the_page_survives_a_server_restart(cinema: Path, visits: Callable[..., Visit], tmp_path: Path) -> None:
    server = Server(cinema, URL.create("sqlite", database=str(tmp_path / "ratings.sqlite")))
    try:
        visit = visits(server.address)
        page = visit.open()
        before = visit.titles()
        server.stop()
        page.get_by_text("Romance", exact=True).click()
        page.get_by_text("Your ratings are safe in this browser.").wait_for()
        assert visit.titles() == before, "the list stays"
        page.fill("#q", "alien")
        page.get_by_text("The server cannot be reached.").first.wait_for()
        page.keyboard.press("Escape")
        page.locator(".card .stars-input").first.press("4")
        assert len(visit.rated()) == 1, "rating works without the server"
        visit.photograph("away")
        assert visit.barriers() == []
        server.start()
        page.wait_for_selector("#banner", state="hidden", timeout=30_000)  # The page polls every 15 s at worst.
        page.get_by_text("Back online.").wait_for()
        visit.settled()
        assert page.inner_text("#list-heading") == "For you"
        assert all("Romance" in facts for facts in page.locator(".card:not(.is-rated) .card-facts").all_text_contents())
    finally:
        server.stop()
    refused = [complaint for complaint in visit.complaints if "ERR_CONNECTION_REFUSED" in complaint]
    visit.complaints[:] = [complaint for complaint in visit.complaints if complaint not in refused]
    assert refused, "the browser logs every refused connection"


def test_a_page_opened_before_the_model_is_ready_waits(visit: Visit) -> None:
    not_ready = json.dumps({"error": {"code": "not_ready", "message": "no model yet", "detail": None}})

    def refuse(route: Route) -> None:
        route.fulfill(status=503, body=not_ready, content_type="application/json")

    visit.context.route("**/api/**", refuse)
    visit.page.goto(visit.url)
    visit.page.get_by_text("The server is unreachable").wait_for()
    visit.photograph("not-ready")
    assert visit.barriers() == []
    visit.page.get_by_role("button", name="Retry now").click()
    visit.page.get_by_text("Retrying in").wait_for()
    visit.context.unroute_all()
    visit.page.wait_for_selector(".card")
    visit.complaints[:] = [complaint for complaint in visit.complaints if "status of 503" not in complaint]


def test_too_many_requests_are_retried_and_errors_are_shown(visit: Visit) -> None:
    answers = iter([429, 429, 422])

    def refuse(route: Route) -> None:
        status = next(answers, None)
        if status is None:
            route.continue_()
            return
        error = {"error": {"code": "invalid", "message": "year: expected another one", "detail": None}}
        route.fulfill(status=status, body=json.dumps(error), headers={"Retry-After": "0.1"})

    visit.context.route("**/api/questions", refuse)
    page = visit.page
    page.goto(visit.url)
    page.get_by_text("year: expected another one").wait_for()
    assert next(answers, None) is None
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".card")
    visit.complaints[:] = [complaint for complaint in visit.complaints if "status of 4" not in complaint]


def test_ratings_outside_the_scale_are_kept_but_not_sent(visit: Visit) -> None:
    page = visit.open()
    visit.rate("Heat", 4)
    far = "const all = localStorage; const at = 'reelgraph.visitor.1'; all[at] = all[at].replace(':4,', ':40,')"
    page.evaluate(far)
    visit.reload()
    assert visit.rated() == {"Heat": "40 of 5 stars"}
    assert page.inner_text("#list-note").startswith("Based on your rating.")


def test_the_page_fits_a_phone(visits: Callable[..., Visit]) -> None:
    visit = visits(**SMALL, device_scale_factor=2)
    page = visit.open()

    def overflow() -> int:
        wider: int = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return wider

    visit.photograph("phone-start")
    assert overflow() <= 0
    for title, stars in (("The Matrix", 5), ("Amélie", 2), ("Star Wars: Episode V - The Empire Strikes Back", 4)):
        visit.rate(title, stars)
    visit.photograph("phone")
    assert overflow() <= 0
    assert visit.barriers() == []
    page.fill("#q", "star")
    page.wait_for_selector(".found-row")
    assert overflow() <= 0
    page.keyboard.press("Escape")
    page.get_by_role("button", name=f"Why {visit.titles()[0]}", exact=True).tap()
    page.wait_for_selector(".pulls")
    visit.photograph("phone-why")
    assert overflow() <= 0
    assert page.evaluate("(sheet => sheet.scrollWidth - sheet.clientWidth)(document.querySelector('#sheet'))") <= 0
    visit.page.set_viewport_size({"width": 320, "height": 640})
    assert overflow() <= 0


def test_genres_stand_in_rows_on_a_tablet(visits: Callable[..., Visit]) -> None:
    visit = visits(viewport={"width": 768, "height": 1024})
    page = visit.open()
    page.get_by_role("button", name=f"Put {visit.titles()[0]} on your watchlist").click()
    page.get_by_text("Only my watchlist").wait_for()
    visit.photograph("tablet")
    genres = page.locator("#genres").bounding_box()
    assert genres is not None
    assert genres["width"] > 480, "the other filters leave them room"


def test_axe_finds_nothing_serious_in_any_state(visit: Visit) -> None:
    def barriers(state: str) -> list[str]:
        found = visit.barriers()
        visit.photograph(f"light-{state}")
        page.emulate_media(color_scheme="dark")
        found += visit.barriers("color-contrast")
        visit.photograph(f"dark-{state}")
        page.emulate_media(color_scheme="light")
        return found

    page = visit.open()
    assert barriers("start") == []
    visit.rate("The Matrix", 5)
    visit.rate("Notting Hill", 2)
    page.locator(".card .stars-input").nth(2).press("4")
    visit.settled()
    page.get_by_role("button", name=f"Not interested in {visit.titles()[0]}").click()
    page.get_by_text("Not interested: 1 movie").click()
    assert barriers("rated") == []
    page.fill("#q", "ali")
    page.wait_for_selector(".found-row")
    assert barriers("search") == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name=f"Why {visit.titles()[1]}", exact=True).click()
    page.wait_for_selector(".pulls")
    assert barriers("why") == []
    page.get_by_role("tab", name="Similar movies").click()
    page.wait_for_selector(".tile")
    assert barriers("similar") == []
    visit.close()
    page.get_by_role("button", name="Share").click()
    assert barriers("share") == []


def test_the_system_chooses_the_mode_until_the_visitor_does(visits: Callable[..., Visit]) -> None:
    def brightness(visit: Visit) -> float:
        colour = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(float(part) for part in colour[4:-1].split(","))

    visit = visits(color_scheme="dark")
    page = visit.open()
    assert brightness(visit) < 100
    page.emulate_media(color_scheme="light")
    assert brightness(visit) > 600
    page.get_by_role("button", name="Switch to dark mode").click()
    assert brightness(visit) < 100
    page.reload()
    assert brightness(visit) < 100
    page.get_by_role("button", name="Switch to light mode").click()
    assert brightness(visit) > 600


def test_reduced_motion_turns_animations_off(visits: Callable[..., Visit]) -> None:
    watch = """window.moved = 0;
    const old = Element.prototype.animate;
    Element.prototype.animate = function (...args) { moved += 1; return old.apply(this, args); };"""
    for motion, moves in (("reduce", False), ("no-preference", True)):
        visit = visits(reduced_motion=motion)
        visit.context.add_init_script(watch)
        page = visit.open()
        visit.rate("Fargo", 4)
        assert (page.evaluate("moved") > 0) is moves
        durations = page.evaluate("getComputedStyle(document.querySelector('.card-art')).transitionDuration")
        assert (durations == "0s") is not moves

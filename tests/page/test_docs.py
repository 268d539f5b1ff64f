"""The routes to look at and to try: no outside host, nothing that the security policy stops."""

from collections.abc import Callable

from page.cinema import Server
from page.conftest import Visit


def test_a_route_is_tried_from_the_docs(visits: Callable[..., Visit], server: Server) -> None:
    page = visits().page
    page.goto(f"{server.url}docs")
    route = page.locator(".opblock", has_text="/api/movies").first
    route.click()
    route.get_by_role("button", name="Try it out").click()
    route.get_by_placeholder("q").fill("the")
    route.get_by_role("button", name="Execute").click()
    answer = route.locator(".live-responses-table .highlight-code").first
    answer.wait_for()
    assert '"movies"' in answer.inner_text()

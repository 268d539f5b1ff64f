"""The API documentation works without other hosts and within the security policy."""

from tests.page.browsing import Visit


def test_a_route_can_be_tried_from_the_docs(visit: Visit) -> None:
    page = visit.page
    page.goto(f"{visit.url}docs")
    route = page.locator(".opblock", has_text="/api/movies").first
    route.wait_for()
    assert visit.barriers() == []
    route.click()
    route.get_by_role("button", name="Try it out").click()
    route.get_by_placeholder("q").fill("the")
    route.get_by_role("button", name="Execute").click()
    answer = route.locator(".live-responses-table .highlight-code").first
    answer.wait_for()
    assert '"movies"' in answer.inner_text()
    assert visit.barriers() == []

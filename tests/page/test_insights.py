"""The /insights page in the browser: its numbers are the service's, and screen readers get all of them."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from sqlalchemy import URL

from reelgraph.bench.results import COLUMNS
from tests.page.browsing import SMALL, Visit
from tests.support.kills import Server


@pytest.fixture(scope="module")
def analysed(cinema: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with bench results and a second model, which is the same one."""
    bench = tmp_path_factory.mktemp("bench")
    seconds = dict.fromkeys(("tune_seconds", "fit_seconds", "tune_cpu_seconds"), 1.0)
    facts: dict[str, Any] = {name: 0.5 for name, _, _ in COLUMNS} | {"unpredictable": 0} | seconds
    runs = [
        facts | {"dataset": "films", "method": method, "seed": 0, "error": None, "rmse": rmse}
        for method, rmse in (("svd", 0.875), ("residual", 0.8125))
    ]
    results = {"kind": "reelgraph-bench", "version": 1, "date": "2026-01-02", "runs": runs}
    (bench / "results.json").write_text(json.dumps(results), encoding="utf-8")
    server = Server(
        cinema, URL.create("sqlite", database=str(bench / "ratings.sqlite")),
        "--bench", str(bench), "--compare", str(cinema),
    )  # fmt: skip
    yield server
    server.stop()


def opened(visit: Visit) -> Page:
    """The page with its sections filled."""
    visit.page.goto(visit.url + "insights")
    visit.page.wait_for_selector("#sections:not([hidden])")
    return visit.page


def told(server: Server, path: str = "") -> Any:
    with urllib.request.urlopen(f"{server.address}/api/insights{path}") as answer:
        return json.load(answer)


def column(page: Page, caption: str, place: int) -> list[str]:
    """The cells of one column of the table with a caption."""
    cells: list[str] = (
        page.get_by_role("table", name=caption, exact=True)
        .locator(f"tbody tr > :nth-child({place})")
        .all_text_contents()
    )
    return cells


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_and_tables_show_the_numbers_of_the_service(
    visits: Callable[..., Visit], analysed: Server, scheme: str
) -> None:
    visit, found = visits(analysed.address, color_scheme=scheme), told(analysed)
    page = opened(visit)
    assert page.inner_text("#tiles div:nth-child(3) dd") == f"{found['data']['ratings']:,}"
    values = found["data"]["values"]
    assert column(page, "Ratings by stars", 1) == [row["name"] for row in values]
    assert column(page, "Ratings by stars", 3) == [f"{row['number']:,}" for row in values]
    widths = (
        page.get_by_role("table", name="Ratings by stars")
        .locator("rect")
        .evaluate_all("bars => bars.map((bar) => Number(bar.getAttribute('width')))")
    )
    most = max(row["number"] for row in values)
    assert widths == pytest.approx([100 * row["number"] / most for row in values])
    genres = found["groups"]["genre"]
    assert column(page, "By genre", 1) == [row["name"] for row in genres]
    assert column(page, "By genre", 3) == [f"{row['rmse']:.3f}" for row in genres]
    assert column(page, "Test ratings", 3)[-1] == f"{found['model']['metrics']['test']['model']['rmse']:.4f}"
    fit = [row["valid_rmse"] for row in found["history"] if row["phase"] == "fit" and row["valid_rmse"] is not None]
    assert page.locator("#training-panels .chart").first.locator(".dot").count() == len(fit)
    label = page.locator("#training-panels .chart").first.get_attribute("aria-label")
    assert label is not None
    assert f"best {min(fit):.4f}" in label
    assert column(page, "Movies by number of lists", 3) == [f"{row['number']:,}" for row in found["lists"]["histogram"]]
    assert column(page, "Methods on films", 1) == ["residual", "svd"]
    assert column(page, "Methods on films", 3) == ["0.8125", "0.8750"]
    visit.photograph(f"insights-{scheme}")
    assert visit.barriers() == []


def test_lists_of_a_user_are_compared_by_keyboard_on_a_phone(visits: Callable[..., Visit], analysed: Server) -> None:
    visit = visits(analysed.address, **SMALL)
    page = opened(visit)
    page.focus("#user")
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    page.get_by_text("User 3: 10 of 10 movies are in both lists.").wait_for()
    stars = [f"{movie['prediction']:.2f}" for movie in told(analysed, "/compare?user=3")["serving"]["movies"]]
    for title in ("Serving model", "Second model"):
        assert column(page, title, 3) == stars
        assert column(page, title, 4) == [str(rank) for rank in range(1, 11)]
    visit.photograph("insights-phone")
    assert visit.barriers() == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.fill("#user", "nobody")
    page.keyboard.press("Enter")
    page.get_by_text("User nobody is not in the training data.").wait_for()
    assert page.locator("#compare-lists table").count() == 0
    visit.complaints[:] = [complaint for complaint in visit.complaints if "status of 404" not in complaint]


def test_missing_options_are_named_and_the_start_page_links_here(visit: Visit) -> None:
    page = visit.open()
    page.get_by_role("link", name="Model insights").click()
    page.get_by_text("No bench results.").wait_for()
    page.fill("#user", "3")
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_text("User 3.", exact=True).wait_for()
    assert page.locator("#compare-lists table").count() == 1
    page.context.route("**/api/insights", lambda route: route.abort())
    page.reload()
    page.get_by_text("The server cannot be reached.").wait_for()
    page.context.unroute_all()
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector("#sections:not([hidden])")
    page.get_by_role("link", name="Back to movies").first.click()
    page.wait_for_selector(".card")
    visit.complaints[:] = [complaint for complaint in visit.complaints if "ERR_FAILED" not in complaint]


def test_rounds_of_learning_are_shown(visits: Callable[..., Visit], analysed: Server) -> None:
    visit, found = visits(analysed.address), told(analysed)
    assert found["learning"] == {"state": "off", "next": None, "rounds": []}
    page = opened(visit)
    assert "reelgraph serve … --learn-every 1h" in page.inner_text("#learning-lead")
    measures = {"rmse": {"service": 0.91234, "candidate": 0.90126, "chance": 0.9}}
    entry = {"kind": "update", "outcome": "taken", "why": "no worse", "new": 1234, "measures": measures}
    failed = {"kind": "refit", "outcome": "failed", "why": "killed by signal 9"}
    times = {"began": "2026-01-02T03:04:05Z", "ended": "2026-01-02T03:05:05Z"}
    coming = {"at": "2026-01-02T04:05:05Z", "refit": True}
    found["learning"] = {"state": "waiting", "next": coming, "rounds": [entry | times, failed | times]}
    page.route("**/api/insights", lambda route: route.fulfill(json=found))
    opened(visit)
    assert page.inner_text("#learning-lead") == "The next training begins at 2026-01-02 04:05 (UTC)."
    caption = "Latest rounds, on the newest ratings before and after"
    assert column(page, caption, 1) == ["2026-01-02 03:05"] * 2
    assert column(page, caption, 3) == ["taken", "failed"]
    assert column(page, caption, 4)[0] == "1,234"
    assert column(page, caption, 5)[0] == "0.9123 → 0.9013"
    assert visit.barriers() == []

"""The exported page in the browser, opened from disk."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.service.report import export_page
from tests.page.browsing import SMALL, WIDE, barriers

COLD = {
    "users": 7, "ratings": 123, "movies": {
        "movies": 5, "ratings": 50, "rmse": 1.0125, "bias_rmse": 1.1, "ndcg": 0.25, "random_ndcg": 0.05,
    },
    "curve": [
        {"revealed": 0, "rmse": 1.0, "bias_rmse": 1.01, "ndcg": 0.3},
        {"revealed": 5, "rmse": 0.9375, "bias_rmse": 1.0, "ndcg": 0.4},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def model(cinema: Path) -> Recommender:
    return open_model(cinema)


@pytest.fixture
def report(browser: Browser, tmp_path: Path) -> Any:
    """Opens a page from disk; it must log no messages and load nothing else."""
    messages: list[str] = []
    pages: list[Page] = []

    def show(text: str, **options: Any) -> Page:
        path = tmp_path / "report.html"
        path.write_text(text, encoding="utf-8")
        page = browser.new_context(**({"viewport": WIDE} | options)).new_page()
        pages.append(page)
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: messages.append(request.url) if loads(request.url) else None)

        def loads(url: str) -> bool:
            return not url.startswith("data:") and url != path.as_uri()

        page.goto(path.as_uri())
        page.wait_for_selector("#sections:not([hidden])")
        return page

    yield show
    for page in pages:
        page.context.close()
    assert messages == []


def cells(page: Page, caption: str) -> list[list[str]]:
    """The rows of the table of a caption."""
    rows = page.get_by_role("table", name=caption, exact=True).locator("tbody tr").all()
    return [row.locator("> *").all_text_contents() for row in rows]


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, SMALL])
def test_it_opens_from_disk(report: Callable[..., Page], model: Recommender, options: dict[str, Any]) -> None:
    manifest = model.artifact.manifest
    page = report(export_page(model), **options)
    assert cells(page, "Test ratings")[-1][2] == f"{manifest['metrics']['test']['model']['rmse']:.4f}"
    lists = manifest["analysis"]["lists"]
    rows = {row[0]: row[1:] for row in cells(page, "List quality by order and option")}
    assert rows["diversity 0.3"][0] == f"{lists['diversity 0.3']['ndcg']:.4f}"
    assert rows["order best (default)"][2] == f"{lists['default']['precision']:.4f}"
    assert len(rows) == len(lists) - 1, "the default is the order best"
    deletion = manifest["analysis"]["deletion"]
    assert [row[1] for row in cells(page, "Effect of the strongest reasons")] == [
        f"{row['top']:.3f}" for row in deletion.values()
    ]
    similar = manifest["analysis"]["similar"]
    assert [row[2] for row in cells(page, "Similar movies")] == [f"{row['lift']:.2f}" for row in similar.values()]
    trials = [*manifest["tuning"], *manifest["ranking"]["tuning"]]
    assert [row[2] for row in cells(page, "Settings tried")] == [f"{trial['valid_error']:.4f}" for trial in trials]
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_nothing_on_it_needs_a_server(report: Callable[..., Page], model: Recommender) -> None:
    page = report(export_page(model))
    targets = page.locator("a[href]").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
    assert targets
    assert all(page.locator(target).count() == 1 for target in targets), "links lead to parts of the page"
    assert page.locator("form").count() == 0
    assert page.locator("#leaderboard, #cold").count() == 0
    page.get_by_role("button", name="Switch to dark mode").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_held_out_users_and_movies(report: Callable[..., Page], model: Recommender) -> None:
    page = report(export_page(model, cold=COLD))
    page.locator("#cold-panels summary").click()
    assert cells(page, "Error by number of known ratings") == [
        ["0", "1.0000", "1.0100", "0.3000"], ["5", "0.9375", "1.0000", "0.4000"],
    ]  # fmt: skip
    assert "1.0125" in page.inner_text("#cold-lead")
    assert page.locator("#cold-panels .chart").first.locator(".line").count() == 2
    assert barriers(page) == []


def test_it_prints_light_and_within_the_page(report: Callable[..., Page], model: Recommender) -> None:
    page = report(export_page(model, cold=COLD), color_scheme="dark", viewport={"width": 690, "height": 1000})
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    wide = (
        "[...document.querySelectorAll('#sections .scroll, .panel')].filter((box) => box.scrollWidth > box.clientWidth)"
    )
    assert page.evaluate(f"{wide}.map((box) => box.innerText)") == []
    assert page.locator(".contents, .tools").locator("visible=true").count() == 0
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_test_ratings_it_says_how_to_get_them(report: Callable[..., Page], model: Recommender) -> None:
    page = report(without_test_ratings(model))
    assert "report --test" in page.inner_text("#errors-lead")
    assert page.get_by_role("table", name="List quality by order and option").count() == 0


def without_test_ratings(model: Recommender) -> str:
    """The page of the model as if it had been trained without test ratings."""
    manifest = {name: value for name, value in model.artifact.manifest.items() if name != "analysis"}
    manifest["metrics"] = {"valid": manifest["metrics"]["valid"]}
    return export_page(Recommender(replace(model.artifact, manifest=manifest)))

"""A real browser before a real server."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from programs import chromium_program

from page.cinema import Server, write_cinema

# A browser that runs as root, without a graphics card, and asks nobody for anything.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="session")
def cinema(tmp_path_factory: pytest.TempPathFactory, command: Callable[..., Any]) -> Path:
    """A model of the cinema's ratings; not to be changed."""
    folder = write_cinema(tmp_path_factory.mktemp("cinema"))
    done = command(
        "train", folder, "--max-steps", 40, "--rank-max-steps", 40, "--tune", "none", "--out", folder / "model"
    )
    assert done.returncode == 0, done.stderr
    return folder / "model"


@pytest.fixture(scope="session")
def server(cinema: Path) -> Iterator[Server]:
    """A server that runs as long as the tests."""
    server = Server(cinema, cinema.parent / "serve.log").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    program = chromium_program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


class Visit:
    """Someone's visit to the page: every complaint of the browser is kept, and every host that was asked."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context, self.url = context, url
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        context.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("console", self._listen)
        self.page: Page = context.new_page()
        self.page.set_default_timeout(10_000)

    def _listen(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def open(self, fragment: str = "") -> Page:
        """Open the page and wait for its list."""
        self.page.goto(self.url + fragment)
        self.page.wait_for_selector(".card")
        self.settled()
        return self.page

    def settled(self) -> None:
        """Wait until the list that the last change asked for is there."""
        self.page.wait_for_timeout(180)  # The page waits a moment for further changes before it asks.
        self.page.wait_for_selector("#list:not([aria-busy])")

    def titles(self) -> list[str]:
        """The titles of the list."""
        return self.page.locator(".card .card-open").all_text_contents()

    def rate(self, title: str, stars: int) -> None:
        """Search a movie and give it stars, by keyboard."""
        page = self.page
        page.fill("#q", title)
        page.keyboard.press("ArrowDown")
        page.locator(f'.found-row .stars-input:focus[aria-label="Your stars for {title}"]').press(str(stars))
        page.keyboard.press("Escape")
        self.settled()

    def rated(self) -> dict[str, str]:
        """The visitor's ratings as the shelf shows them."""
        spines = self.page.locator(".spine").all()
        return {
            spine.locator(".tile-open").inner_text(): spine.locator(".stars-input").get_attribute("aria-valuetext")
            or ""
            for spine in spines
        }

    def photograph(self, name: str) -> None:
        """Keep what the page looks like, where `REELGRAPH_SCREENSHOTS` names a folder."""
        folder = os.environ.get("REELGRAPH_SCREENSHOTS")
        if folder:
            self.page.wait_for_timeout(450)  # Until what moves has come to rest.
            self.page.screenshot(path=Path(folder) / f"{name}.png")

    def barriers(self) -> list[str]:
        """What axe finds that keeps people out, one line each."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']} ({one['impact']}): {node['html'][:200]}"
            for one in found
            if one["impact"] in {"serious", "critical"}
            for node in one["nodes"]
        ]


@pytest.fixture
def visits(browser: Browser, server: Server) -> Iterator[Callable[..., Visit]]:
    """Makes visits with nothing kept of earlier ones; at the end none may have complained or asked another host."""
    made: list[Visit] = []

    def make(url: str | None = None, **options: Any) -> Visit:
        context = browser.new_context(**({"viewport": WIDE, "reduced_motion": "reduce"} | options))
        made.append(Visit(context, url or server.url))
        return made[-1]

    yield make
    for visit in made:
        visit.context.close()
    assert [complaint for visit in made for complaint in visit.complaints] == []
    assert {host for visit in made for host in visit.hosts} <= {urlsplit(visit.url).netloc for visit in made}


@pytest.fixture
def visit(visits: Callable[..., Visit]) -> Visit:
    """A visit with a wide window."""
    return visits()

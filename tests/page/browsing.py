"""Chromium, and a visit to the page with it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.support.programs import chromium_program

# Run as root, without a GPU, and without requests of its own.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SMALL: dict[str, Any] = {"viewport": PHONE, "has_touch": True, "is_mobile": True}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running Chromium."""
    program = chromium_program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


class Visit:
    """A visit to the page that records the browser's warnings and errors, and every host it contacts."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context, self.url = context, f"{url}/"
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
        """Open the page and wait for the list."""
        self.page.goto(self.url + fragment)
        self.settled()
        return self.page

    def reload(self) -> None:
        """Load the page again, and wait for the list."""
        self.page.reload()
        self.settled()

    def close(self) -> None:
        """Close the open movie, and wait for the address of the list, which comes back after the dialog is closed."""
        self.page.keyboard.press("Escape")
        self.page.wait_for_url(self.url)

    def settled(self) -> None:
        """Wait until the list follows the last change; it is busy from the change on, and while the page loads."""
        self.page.wait_for_selector("#list:not([aria-busy])")

    def titles(self) -> list[str]:
        """The titles in the list."""
        return self.page.locator(".card .card-open").all_text_contents()

    def rate(self, title: str, stars: int) -> None:
        """Search for a movie and rate it with the keyboard."""
        page = self.page
        page.fill("#q", title)
        page.keyboard.press("ArrowDown")
        page.locator(f'.found-row .stars-input:focus[aria-label="Your rating for {title}"]').press(str(stars))
        page.keyboard.press("Escape")
        self.settled()

    def rated(self) -> dict[str, str]:
        """The visitor's ratings, as the page shows them."""
        spines = self.page.locator("#shelf .spine").all()
        return {
            spine.locator(".tile-open").inner_text(): spine.locator(".stars-input").get_attribute("aria-valuetext")
            or ""
            for spine in spines
        }

    def photograph(self, name: str) -> None:
        """Save a screenshot if `REELGRAPH_SCREENSHOTS` names a folder."""
        folder = os.environ.get("REELGRAPH_SCREENSHOTS")
        if folder:
            self.page.screenshot(path=Path(folder) / f"{name}.png", animations="disabled")

    def barriers(self, *rules: str) -> list[str]:
        """See `barriers`."""
        return barriers(self.page, *rules)


def barriers(page: Page, *rules: str) -> list[str]:
    """Serious accessibility problems that axe finds, by all its rules or the given ones, one line each."""
    options = {"runOnly": list(rules)} if rules else None
    problems = Axe().run(page, options=options).response["violations"]
    return [
        f"{problem['id']} ({problem['impact']}): {node['html'][:200]}"
        for problem in problems
        if problem["impact"] in {"serious", "critical"}
        for node in problem["nodes"]
    ]

"""Chromium and a running server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser
from sqlalchemy import URL

from tests.page.browsing import WIDE, Visit, chromium
from tests.page.cinema import write_cinema
from tests.support.kills import Server


@pytest.fixture(scope="session")
def cinema(tmp_path_factory: pytest.TempPathFactory, command: Callable[..., Any]) -> Path:
    """A model trained on the cinema data; read-only."""
    folder = write_cinema(tmp_path_factory.mktemp("cinema"))
    steps = ("--max-steps", 40, "--rank-max-steps", 40, "--tune", "none")
    done = command("train", folder, *steps, "--out", folder / "model")
    assert done.returncode == 0, done.stderr
    return folder / "model"


@pytest.fixture(scope="session")
def server(cinema: Path) -> Iterator[Server]:
    """A server for the whole session."""
    server = Server(cinema, URL.create("sqlite", database=str(cinema.parent / "ratings.sqlite")))
    yield server
    server.stop()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, closed after this package: no other test can run an event loop next to Playwright's."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def visits(browser: Browser, server: Server) -> Iterator[Callable[..., Visit]]:
    """Opens visits with empty storage; afterwards checks for warnings, errors and requests to other hosts."""
    made: list[Visit] = []

    def make(url: str | None = None, **options: Any) -> Visit:
        context = browser.new_context(**({"viewport": WIDE, "reduced_motion": "reduce"} | options))
        made.append(Visit(context, url or server.address))
        return made[-1]

    yield make
    for visit in made:
        visit.context.close()
    assert [complaint for visit in made for complaint in visit.complaints] == []
    assert {host for visit in made for host in visit.hosts} <= {urlsplit(visit.url).netloc for visit in made}


@pytest.fixture
def visit(visits: Callable[..., Visit]) -> Visit:
    """A visit in a desktop window."""
    return visits()

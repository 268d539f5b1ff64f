"""The documentation site builds without a warning, and its references follow the code."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

import reelgraph
from reelgraph.cli.main import commands
from reelgraph.config import TrainConfig
from tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", out], cwd=ROOT, capture_output=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return out


def text_of(page: Path) -> str:
    """What a page says, without its menus."""
    article = page.read_text(encoding="utf-8").partition("<article")[2].partition("</article>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", article)).split())


def test_the_references_follow_the_code(site: Path) -> None:
    cli, http, python = (text_of(site / "reference" / name / "index.html") for name in ("cli", "http", "python"))
    for name in commands.modules:
        assert f"reelgraph {name}" in cli
        shown = [parameter for parameter in commands.load(name).params if not getattr(parameter, "hidden", False)]
        assert all(option in cli for parameter in shown for option in parameter.opts if option[0] == "-")
    for route in ("POST /api/recommendations", "GET /api/movies", "POST /api/visitors", "GET /health/ready"):
        assert route in http
    assert set(re.findall(r"\{(\w+)\}", http)) >= {"movie_id"}
    for name in set(reelgraph.__all__) - {"__version__", "open", "update"}:
        assert name in python, f"{name} is not in docs/reference/python.md"
    settings = text_of(site / "reference" / "settings" / "index.html")
    assert all(name in settings for name in TrainConfig.model_fields)


def test_no_code_fence_or_comment_is_left_as_text(site: Path) -> None:
    pages = list(site.rglob("index.html"))
    assert len(pages) > 40
    for page in pages:
        said = text_of(page)
        assert "```" not in said, page
        assert "not run:" not in said, page


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|link rel=\"stylesheet\")[^>]*(?:src|href)=\"?(https?://[^\" >]+)")
    for page in site.rglob("index.html"):
        assert loaded.findall(page.read_text(encoding="utf-8")) == [], page


def test_every_page_is_in_the_menu_or_linked() -> None:
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), yaml.BaseLoader)
    listed = set(re.findall(r"[\w/-]+\.md", str(config["nav"])))
    made = {"reference/cli.md", "reference/http.md", "reference/settings.md"}
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert listed == {page for page in pages if not page.startswith("decisions/0")} | made

"""README.md as people meet it: its length, links, figures, and what an index shows of it."""

import re
import tomllib
from pathlib import Path

import pytest
from hatch_fancy_pypi_readme._builder import build_text
from hatch_fancy_pypi_readme._config import load_and_validate_config

from tests.docs.pages import blocks, files_of
from tests.support.worlds import benchmark

tables = benchmark("tables")
ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^]]+\]: (\S+)$", re.MULTILINE)


def links(text: str) -> list[str]:
    """Targets of links and pictures."""
    return [inline or named for inline, named in LINK.findall(text)]


def test_it_is_short_and_needs_no_files() -> None:
    assert len(README.splitlines()) <= 120
    assert files_of(README) == []


def test_five_commands_lead_to_a_list_of_own_ratings() -> None:
    lines = [line for block in blocks(README) if block.language == "sh" for line in block.code.splitlines()]
    own = next(place for place, line in enumerate(lines) if line.startswith("reelgraph recommend"))
    assert lines[0] == "pip install reelgraph"
    assert own + 1 <= 5


def test_its_links_lead_to_files_or_other_sites() -> None:
    targets = links(README)
    assert len(targets) > 20
    for target in targets:
        assert target.startswith("https://") or (ROOT / target.partition("#")[0]).exists(), target


def test_an_index_shows_absolute_links_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    config = load_and_validate_config(project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"])
    text = build_text(config.fragments, config.substitutions, version="0")
    source = project["project"]["urls"]["Source"]
    for target in links(text):
        assert target.startswith("https://"), target
        assert not target.startswith("https://github.com/reelgraph") or target.startswith(source)
    assert "<!--" not in text
    assert "docs/pictures/page.png" in text


@pytest.mark.parametrize("document", tables.TABLES)
def test_figures_equal_the_committed_results(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert tables.rendered(document) == text, "run: python benchmarks/tables.py"

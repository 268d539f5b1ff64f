"""The exported page: one file with everything in it, whatever the model's data contain."""

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reelgraph.recommend.insights import describe
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.service.report import export_page


class Elements(HTMLParser):
    """Collects the text of each script element by its type, and every address that a browser would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[tuple[str, str]] = []
        self.addresses: list[str] = []
        self._type: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "script":
            self._type = named.get("type") or "classic"
        loads = named.get("src"), named.get("href") if tag == "link" else None
        self.addresses += [address for address in loads if address]

    def handle_endtag(self, tag: str) -> None:
        self._type = None

    def handle_data(self, data: str) -> None:
        if self._type is not None:
            self.scripts.append((self._type, data))

    @property
    def facts(self) -> dict[str, Any]:
        """The facts that the page carries."""
        content: dict[str, Any] = json.loads(dict(self.scripts)["application/json"])
        return content


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Recommender:
    return open_model(model_dir)


def test_it_carries_the_facts_of_the_model(model: Recommender) -> None:
    facts = Elements(export_page(model)).facts
    assert facts["model"]["artifact"]["id"] == model.artifact.checksum
    assert facts["model"]["metrics"] == model.artifact.manifest["metrics"]
    assert {name: facts[name] for name in describe(model)} == json.loads(json.dumps(describe(model)))
    assert facts["cold"] is None


def test_it_loads_nothing(model: Recommender) -> None:
    page = export_page(model)
    elements = Elements(page)
    assert all(address.startswith("data:") for address in elements.addresses)
    assert "import " in dict(elements.scripts)["module"]
    modules = json.loads(dict(elements.scripts)["importmap"])["imports"]
    assert modules.keys() >= {"insights.js", "sections.js", "charts.js", "dom.js", "format.js", "themes.js"}
    assert not re.search(r"url\(|@import", page)


def test_another_evaluation_replaces_that_of_training(model: Recommender) -> None:
    analysis = copy.deepcopy(model.artifact.manifest["analysis"])
    analysis |= {"rmse": 0.125, "mae": 0.0625, "rmse_untimed": None, "similar": None}
    analysis["lists"]["default"]["ndcg"] = 0.75
    facts = Elements(export_page(model, analysis)).facts
    assert facts["model"]["metrics"]["test"]["model"] == {"rmse": 0.125, "mae": 0.0625}
    assert facts["model"]["metrics"]["valid"] == model.artifact.manifest["metrics"]["valid"]
    assert facts["model"]["list_measures"]["default"]["ndcg"] == 0.75
    assert facts["similar"] is None


def test_names_cannot_end_the_script_and_numbers_may_be_missing(model: Recommender) -> None:
    analysis = copy.deepcopy(model.artifact.manifest["analysis"])
    name = "</script><script>alert(1)</script><!--"
    analysis["groups"]["genre"] = [analysis["groups"]["rating"][0] | {"name": name, "rmse": float("nan")}]
    elements = Elements(export_page(model, analysis))
    assert [kind for kind, _ in elements.scripts] == ["classic", "application/json", "importmap", "module"]
    genre = elements.facts["groups"]["genre"][0]
    assert (genre["name"], genre["rmse"]) == (name, None)

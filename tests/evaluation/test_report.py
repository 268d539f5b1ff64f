"""The page on a model: what it says, and that it is a page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reelgraph.evaluation.report import number, render
from reelgraph.metrics.labels import MEASURES
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.training.fit import fit
from tests.support.worlds import checkerboard, settings

COLD = {
    "users": 7, "ratings": 123, "movies": {
        "movies": 5, "ratings": 50, "rmse": 1.0125, "bias_rmse": 1.1, "ndcg": 0.25, "random_ndcg": 0.05,
    },
    "curve": [
        {"revealed": 0, "rmse": 1.0, "bias_rmse": 1.01, "ndcg": 0.3}, {"revealed": 5, "rmse": 0.9375, "bias_rmse": 1.0,
         "ndcg": 0.4},
    ],
}  # fmt: skip


class Tags(HTMLParser):
    """Counts tags, and fails where one is closed that was not opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, int] = {}
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta", "br", "img", "link"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(page: str) -> Tags:
    found = Tags()
    found.feed(page)
    assert found.open == []
    return found


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Recommender:
    return open_model(model_dir)


def test_every_figure_of_the_manifest_is_on_the_page(model: Recommender) -> None:
    manifest = model.artifact.manifest
    page = render(model, manifest["analysis"], COLD)
    for split in ("valid", "test"):
        for row in manifest["metrics"][split].values():
            assert f"{row['rmse']:.4f}" in page
    for row in manifest["analysis"]["lists"].values():
        for measure in MEASURES:
            assert number(row[measure]) in page
    for text in ("0.9375", "1.0125", "diversity of 0.3 changes nDCG@10 by", "co-rating lift", "By genre", "Horror"):
        assert text in page
    for trial in manifest["tuning"] + manifest["ranking"]["tuning"]:
        assert f"{trial['valid_error']:.4f}" in page


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(model: Recommender) -> None:
    page = render(model, model.artifact.manifest["analysis"], COLD)
    found = tags(page)
    assert found.seen["svg"] == 5, "two curves of training, two of new visitors, calibration"
    assert found.seen["figure"] == 5
    assert "script" not in found.seen
    assert all(address.startswith("#") for address in found.addresses), "references within the pictures alone"
    assert "nan" not in re.sub(r"<[^>]*>", " ", page).lower().split()


def test_curves_hold_every_evaluation(model: Recommender) -> None:
    page = render(model, None, None)
    steps = [row for row in model.artifact.history if row["phase"] == "fit"]
    curve = page.split("validation RMSE by step")[1].split("</figure>")[0]
    assert curve.count("<use ") >= len(steps)


def test_without_test_ratings_the_page_says_what_to_do(model: Recommender) -> None:
    page = render(model, None, None)
    assert "train with --test, or name some with report --test" in page
    assert "New visitors" not in page


def test_titles_cannot_write_markup() -> None:
    data = checkerboard()
    model = fit(data, settings(max_steps=2))
    analysis = model.artifact.manifest["analysis"]
    analysis["groups"]["genre"] = analysis["groups"]["rating"][:1]
    group = json.loads(json.dumps(analysis["groups"]["rating"][0]))
    analysis["groups"]["genre"] = [group | {"name": "<script>alert(1)</script>"}]
    page = render(model, analysis, None)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    tags(page)


def test_numbers_for_people() -> None:
    assert [number(value) for value in (None, 0.12345, 9.9, 236.84)] == ["-", "0.123", "9.900", "236.8"]

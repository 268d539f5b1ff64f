"""The picture of an explanation."""

import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from reelgraph.errors import ConfigError, SetupError
from reelgraph.recommend.explain import Explanation, signed
from reelgraph.recommend.explain_plot import draw
from reelgraph.recommend.recommender import Recommender, open_model


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Recommender:
    return open_model(model_dir)


@pytest.fixture(scope="module")
def explanation(model: Recommender) -> Explanation:
    return model.explain("9", movie="20")


def words(path: Path) -> str:
    return " ".join("".join(node.itertext()) for node in ElementTree.parse(path).getroot())


def test_what_is_told_is_drawn(explanation: Explanation, tmp_path: Path) -> None:
    draw(explanation, tmp_path / "g.svg")
    text = words(tmp_path / "g.svg")
    assert explanation.target.title is not None
    assert explanation.target.title in text
    told = explanation.grounds()
    for reason in (*told.supporting, *told.opposing):
        assert signed(reason.contribution) in text
        assert str(reason.movie.title) in text
    assert f"{told.rest_number} other rating" in text
    assert "user " not in text, "no other user is named"


def test_small_numbers_read_well(model: Recommender, tmp_path: Path) -> None:
    explanation = model.explain(ratings={"10": 1.0, "50": 5.0}, movie="20")
    small = tuple(replace(reason, contribution=-0.001) for reason in explanation.because)
    draw(replace(explanation, because=small, user=-0.001), tmp_path / "g.svg")
    text = words(tmp_path / "g.svg")
    assert "-0.00" not in text
    assert "2 ratings" in text


def test_png_output(explanation: Explanation, tmp_path: Path) -> None:
    draw(explanation, tmp_path / "g.PNG")
    assert (tmp_path / "g.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("ratings", [{}, {"10": 5.0}])
def test_visitors_with_few_ratings(model: Recommender, ratings: dict[str, float], tmp_path: Path) -> None:
    draw(model.explain(ratings=ratings, movie="20"), tmp_path / "g.svg")
    assert "stars predicted" in words(tmp_path / "g.svg")


def test_titles_are_not_parsed_as_mathematics(explanation: Explanation, tmp_path: Path) -> None:
    target = replace(explanation.target, title="$\\frac{a}$ <b> & more")
    draw(replace(explanation, target=target), tmp_path / "g.svg")
    assert "\\frac{a}" in words(tmp_path / "g.svg")


def test_long_titles_are_wrapped(explanation: Explanation, tmp_path: Path) -> None:
    title = "Raiders of the Lost Ark (Indiana Jones and the Raiders of the Lost Ark)"
    draw(replace(explanation, target=replace(explanation.target, title=title)), tmp_path / "g.svg")
    text = words(tmp_path / "g.svg")
    assert title not in text
    assert all(word in text for word in title.split())


def test_failures_leave_no_file(explanation: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"\.svg or \.png.*'g\.pdf'"):
        draw(explanation, tmp_path / "g.pdf")
    with pytest.raises(ValueError, match="format"):
        draw(replace(explanation, prediction="many"), tmp_path / "g.svg")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SetupError, match=r"pip install 'reelgraph\[plot\]'"):
        draw(explanation, tmp_path / "g.svg")
    assert list(tmp_path.iterdir()) == []

"""The picture of a small graph."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from reelgraph.errors import ConfigError
from reelgraph.recommend import explain_plot
from reelgraph.recommend.explain import Explanation
from reelgraph.recommend.explain_plot import MOST, draw
from reelgraph.recommend.recommender import Recommender, open_model


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Recommender:
    return open_model(model_dir)


def words(path: Path) -> str:
    return " ".join("".join(node.itertext()) for node in ElementTree.parse(path).getroot())


def test_what_matters_most_is_in_the_picture(model: Recommender, tmp_path: Path) -> None:
    found = model.explain("9", movie="20")
    draw(found, tmp_path / "g.svg")
    text = words(tmp_path / "g.svg")
    assert found.target.title is not None
    assert found.target.title in text
    for reason in found.because[:MOST]:
        assert f"{reason.contribution:+.2f}" in text
        assert str(reason.movie.title) in text
    for reason in found.because[MOST:]:
        assert str(reason.movie) not in text


def test_a_png_is_a_png(model: Recommender, tmp_path: Path) -> None:
    draw(model.explain("9", movie="20"), tmp_path / "g.PNG")
    assert (tmp_path / "g.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("ratings", [{}, {"10": 5.0}])
def test_visitors_of_none_and_one_rating_have_a_picture(
    model: Recommender, ratings: dict[str, float], tmp_path: Path
) -> None:
    draw(model.explain(ratings=ratings, movie="20"), tmp_path / "g.svg")
    assert "stars predicted" in words(tmp_path / "g.svg")


def test_a_title_is_text_and_not_mathematics(model: Recommender, tmp_path: Path) -> None:
    from dataclasses import replace  # noqa: PLC0415

    found = model.explain("9", movie="20")
    odd = replace(found, target=replace(found.target, title="$\\frac{a}$ <b> & more"))
    draw(odd, tmp_path / "g.svg")
    assert "\\frac{a}" in words(tmp_path / "g.svg")


def test_a_wrong_ending_and_a_broken_drawing_leave_nothing(
    model: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = model.explain("9", movie="20")
    with pytest.raises(ConfigError, match=r"expected a file that ends in \.svg or \.png, found 'g\.pdf'"):
        draw(found, tmp_path / "g.pdf")
    monkeypatch.setattr(explain_plot, "MOST", "broken")
    with pytest.raises(TypeError):
        draw(found, tmp_path / "g.svg")
    assert list(tmp_path.iterdir()) == []
    assert isinstance(found, Explanation)


def test_a_long_title_is_set_in_lines(model: Recommender, tmp_path: Path) -> None:
    from dataclasses import replace  # noqa: PLC0415

    found = model.explain("9", movie="20")
    long = "Raiders of the Lost Ark (Indiana Jones and the Raiders of the Lost Ark)"
    draw(replace(found, target=replace(found.target, title=long)), tmp_path / "g.svg")
    text = words(tmp_path / "g.svg")
    assert long not in text
    assert all(word in text for word in long.split())

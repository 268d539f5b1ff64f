"""An explanation as a picture of the ratings behind it; needs matplotlib (`pip install 'reelgraph[plot]'`)."""

import textwrap
from pathlib import Path
from typing import Any

from reelgraph.errors import ConfigError, SetupError
from reelgraph.files import new_file
from reelgraph.recommend.explain import Explanation, Grounds, Reason, signed

RAISES, LOWERS, _NEITHER = "#1a7f5a", "#b3402f", "#707070"

# Text stays text, so that it can be searched and read aloud; the same explanation always gives the same bytes.
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "reelgraph", "font.family": "sans-serif"}


def draw(explanation: Explanation, path: Path) -> None:
    """Draw the `grounds` of an explanation to a .svg or .png file, as the page shows them.

    Green edges raise the prediction and red ones lower it; their width is the size of the contribution, in stars, or
    in a model without stars to the ranking score.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in {"svg", "png"}:
        raise ConfigError(f"--plot: expected a file that ends in .svg or .png, found {path.name!r}", "rename it")
    try:
        from matplotlib import rc_context  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        problem = f"--plot: expected matplotlib, found none that can be imported ({error})"
        raise SetupError(problem, "pip install 'reelgraph[plot]'") from None
    rows = _rows(explanation.grounds(ranking=explanation.prediction is None))
    figure = Figure(figsize=(9, 1.6 + 0.6 * max(len(rows), 1)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(-0.4, 2.5)
    axes.set_ylim(-max(len(rows), 1) - 0.1, 0.9)
    middle = -(max(len(rows), 1) - 1) / 2
    largest = max((abs(part) for _, part in rows), default=1.0) or 1.0
    for row, (label, part) in enumerate(rows):
        colour = _NEITHER if signed(part) == signed(0) else RAISES if part > 0 else LOWERS
        axes.plot([0, 2], [-row, middle], color=colour, linewidth=0.6 + 4.4 * abs(part) / largest, zorder=1)
        axes.text(
            0.9, -row + 0.45 * (middle + row), signed(part), fontsize=8, color=colour, ha="center", va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}, zorder=2,
        )  # fmt: skip
        _node(axes, 0.0, -row, label, 8)
    stars = "" if explanation.prediction is None else f"\n{explanation.prediction:.2f} stars predicted"
    _node(axes, 2.0, middle, _wrapped(explanation.target) + stars, 10)
    axes.set_title(explanation.sum_text(), fontsize=10, loc="left")
    with new_file(path) as temporary, rc_context(_STYLE):
        figure.savefig(temporary, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


def _rows(grounds: Grounds) -> list[tuple[str, float]]:
    """Labels and contributions from top to bottom."""
    rows = [(_label(reason), reason.contribution) for reason in (*grounds.supporting, *grounds.opposing)]
    if grounds.own is not None:
        rows.append((f"this movie itself\n{_given(grounds.own)}", grounds.own.contribution))
    if grounds.rest_number:
        rows.append((grounds.rest_text(), grounds.rest))
    return rows


def _label(reason: Reason) -> str:
    return f"{_wrapped(reason.movie)}\n{_given(reason)}"


def _given(reason: Reason) -> str:
    if reason.rating is None:
        return "you like it"
    return f"you {'disliked it: ' if reason.disliked else 'gave it '}{reason.rating:g}★"


def _wrapped(movie: object) -> str:
    return textwrap.fill(str(movie), 30)


def _node(axes: Any, x: float, y: float, text: str, size: int) -> None:
    box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "#707070", "linewidth": 0.8}
    axes.text(x, y, text, parse_math=False, fontsize=size, ha="center", va="center", bbox=box, zorder=2)

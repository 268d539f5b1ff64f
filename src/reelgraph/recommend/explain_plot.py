"""Pictures: the small graph behind a prediction, and curves."""

import textwrap
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from reelgraph.errors import ConfigError
from reelgraph.files import new_file
from reelgraph.recommend.catalogue import Movie
from reelgraph.recommend.explain import Explanation

MOST = 8  # of each side

UP, DOWN = "#1a7f5a", "#b3402f"

# Text as text can be searched and read aloud; neither date nor chance makes two pictures of one thing differ.
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "reelgraph", "font.family": "sans-serif"}


def draw(found: Explanation, path: Path) -> None:
    """Draw an explanation to a .svg or .png file.

    Green edges raise the prediction and red ones lower it; their width is the size of the contribution, in stars.

    Args:
        found: the explanation.
        path: the file, written whole or not at all.

    Raises:
        ConfigError: if the file has another ending.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in {"svg", "png"}:
        raise ConfigError(f"--plot: expected a file that ends in .svg or .png, found {path.name!r}", "rename it")
    ratings, raters = found.because[:MOST], found.neighbours[:MOST]
    rows = max(len(ratings), len(raters), 1)
    figure = Figure(figsize=(13, 1.6 + 0.6 * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(-0.6, 3.6)
    axes.set_ylim(-rows - 0.1, 0.9)
    middle = -(rows - 1) / 2
    labels = [(1.0, f"{_wrapped(one.movie)}\n{one.rating:g} stars", one.contribution) for one in ratings]
    labels += [(3.0, f"user {one.user_id}: {one.rating:g}", one.contribution) for one in raters]
    largest = max((abs(part) for _, _, part in labels), default=1.0) or 1.0
    ends = {1.0: (0.0, middle), 3.0: (2.0, middle)}
    counts = {1.0: len(ratings), 3.0: len(raters)}
    placed = {1.0: 0, 3.0: 0}
    for x, text, part in labels:
        y = middle + (counts[x] - 1) / 2 - placed[x]
        placed[x] += 1
        colour, width = (UP if part >= 0 else DOWN), 0.6 + 4.4 * abs(part) / largest
        tail, head = ends[x], (2.0, middle)
        axes.plot([tail[0], x], [tail[1], y], color="#b8b8b8", linewidth=1, zorder=1)
        axes.plot([x, head[0]], [y, head[1]], color=colour, linewidth=width, zorder=1)
        at = 0.4  # near the rating's end, where the edges are apart
        axes.text(
            x + at * (head[0] - x), y + at * (head[1] - y), f"{part:+.2f}", fontsize=8, color=colour, ha="center",
            va="center", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}, zorder=2,
        )  # fmt: skip
        _node(axes, x, y, text, 8)
    _node(axes, 0.0, middle, "you", 10)
    _node(axes, 2.0, middle, f"{_wrapped(found.target)}\n{found.prediction:.2f} stars predicted", 10)
    axes.set_title(
        f"{found.mean:.2f} on average, you {found.user:+.2f}, the movie {found.movie:+.2f}, "
        f"your ratings {sum(one.contribution for one in found.because):+.2f}"
        + (f", what else is known of you {found.free + found.side:+.2f}" if found.free or found.side else ""),
        fontsize=10,
        loc="left",
    )
    with new_file(path) as temporary, rc_context(_STYLE):
        figure.savefig(temporary, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


def _wrapped(movie: Movie) -> str:
    """A title in lines that leave room between the columns."""
    return textwrap.fill(str(movie), 26)


def _node(axes: object, x: float, y: float, text: str, size: int) -> None:
    box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "#707070", "linewidth": 0.8}
    look = {"fontsize": size, "ha": "center", "va": "center", "bbox": box, "zorder": 2}
    axes.text(x, y, text, parse_math=False, **look)  # type: ignore[attr-defined]

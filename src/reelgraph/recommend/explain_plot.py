"""An explanation as a picture of the graph behind it; needs matplotlib (`pip install 'reelgraph[plot]'`)."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reelgraph.errors import ConfigError, SetupError
from reelgraph.files import new_file
from reelgraph.recommend.explain import Explanation, Neighbour, Reason

MAX_NODES = 8  # on each side
RAISES, LOWERS = "#1a7f5a", "#b3402f"

# Text stays text, so that it can be searched and read aloud; the same explanation always gives the same bytes.
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "reelgraph", "font.family": "sans-serif"}


def draw(explanation: Explanation, path: Path) -> None:
    """Draw an explanation to a .svg or .png file.

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
    parts = explanation if explanation.prediction is not None else explanation.ranking
    assert parts is not None
    reasons, neighbours = parts.because[:MAX_NODES], parts.neighbours[:MAX_NODES]
    rows = max(len(reasons), len(neighbours), 1)
    figure = Figure(figsize=(13, 1.6 + 0.6 * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(-0.6, 3.6)
    axes.set_ylim(-rows - 0.1, 0.9)
    middle = -(rows - 1) / 2
    sizes = [abs(reason.contribution) for reason in reasons] + [abs(other.contribution) for other in neighbours]
    largest = max(sizes, default=1.0) or 1.0
    labels = [_wrapped(reason.movie) + _stars("\n{:g} stars", reason.rating) for reason in reasons]
    _column(axes, (0.0, 1.0, 2.0), middle, reasons, labels, largest)
    labels = [f"user {neighbour.user_id}" + _stars(": {:g}", neighbour.rating) for neighbour in neighbours]
    _column(axes, (2.0, 3.0, 2.0), middle, neighbours, labels, largest)
    _node(axes, 0.0, middle, "you", 10)
    _node(
        axes, 2.0, middle, _wrapped(explanation.target) + _stars("\n{:.2f} stars predicted", explanation.prediction), 10
    )
    axes.set_title(_title(explanation), fontsize=10, loc="left")
    with new_file(path) as temporary, rc_context(_STYLE):
        figure.savefig(temporary, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


def _stars(form: str, stars: float | None) -> str:
    return "" if stars is None else form.format(stars)


def _title(explanation: Explanation) -> str:
    if explanation.prediction is None and (score := explanation.ranking) is not None:
        own = score.score - score.movie
        return f"ranking score {score.score:.2f}: the movie itself {score.movie:+.2f}, your movies {own:+.2f}"
    by_ratings = sum(reason.contribution for reason in explanation.because)
    title = f"{explanation.mean:.2f} on average, you {explanation.user:+.2f}, the movie {explanation.movie:+.2f}, "
    title += f"your ratings {by_ratings:+.2f}"
    if explanation.free or explanation.side:
        title += f", what else is known of you {explanation.free + explanation.side:+.2f}"
    return title


def _column(
    axes: Any,
    places: tuple[float, float, float],
    middle: float,
    ratings: Sequence[Reason | Neighbour],
    labels: Sequence[str],
    largest: float,
) -> None:
    """Nodes below one another at the second of three places, with grey edges from the first, coloured to the third."""
    start, x, end = places
    for row, (rating, label) in enumerate(zip(ratings, labels, strict=True)):
        part, y = rating.contribution, middle + (len(ratings) - 1) / 2 - row
        colour, width = (RAISES if part >= 0 else LOWERS), 0.6 + 4.4 * abs(part) / largest
        axes.plot([start, x], [middle, y], color="#b8b8b8", linewidth=1, zorder=1)
        axes.plot([x, end], [y, middle], color=colour, linewidth=width, zorder=1)
        at = 0.4  # near the node, where the edges are apart
        axes.text(
            x + at * (end - x), y + at * (middle - y), f"{part:+.2f}", fontsize=8, color=colour, ha="center",
            va="center", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}, zorder=2,
        )  # fmt: skip
        _node(axes, x, y, label, 8)


def _wrapped(movie: object) -> str:
    return textwrap.fill(str(movie), 26)


def _node(axes: Any, x: float, y: float, text: str, size: int) -> None:
    box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "#707070", "linewidth": 0.8}
    axes.text(x, y, text, parse_math=False, fontsize=size, ha="center", va="center", bbox=box, zorder=2)

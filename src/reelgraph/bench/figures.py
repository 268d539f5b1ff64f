"""Figures of benchmark results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reelgraph.bench.results import PUBLISHED, cold_summary, summary
from reelgraph.errors import SetupError
from reelgraph.files import new_file

try:
    from matplotlib.figure import Figure
except ImportError as error:
    problem = f"bench: expected matplotlib, found none that can be imported ({error})"
    raise SetupError(problem, "pip install 'reelgraph[bench]'") from None


def method_figure(runs: Sequence[dict[str, Any]], published: bool, out: Path) -> list[Path]:
    """Write RMSE against time, one panel per data set, to `figure.svg` and `figure.png`."""
    rows = [row for row in summary(runs) if row["rmse"] is not None]
    names = list(dict.fromkeys(row["dataset"] for row in rows))
    if not names:
        return []
    drawing = Figure(figsize=(7.5 * len(names), 5.5), layout="constrained")
    for place, name in enumerate(names, start=1):
        panel = drawing.add_subplot(1, len(names), place)
        _draw(panel, [row for row in rows if row["dataset"] == name])
        for number, (method, error, _) in enumerate(PUBLISHED.get(name, ()) if published else ()):
            side, edge = (("right", 1.0), ("left", 0.0))[number % 2]  # labels of neighbours would overlap
            panel.axhline(error, color="0.75", linewidth=0.8, linestyle="--", zorder=0)
            panel.annotate(f"{method} (published)", (edge, error), xycoords=("axes fraction", "data"), fontsize=7,
                           color="0.45", ha=side, va="bottom")  # fmt: skip
        panel.set(title=name, xscale="log", xlabel="seconds to tune and fit", ylabel="test RMSE")
    return _save(drawing, out, "figure")


def cold_figure(rows: Sequence[dict[str, Any]], out: Path) -> list[Path]:
    """Write the cold-start curves, one column per data set, to `cold.svg` and `cold.png`."""
    lines = cold_summary(rows)
    names = list(dict.fromkeys(line["dataset"] for line in lines))
    if not names:
        return []
    drawing = Figure(figsize=(6 * len(names), 7), layout="constrained")
    panels = drawing.subplots(2, len(names), squeeze=False, sharex="col")
    for place, name in enumerate(names):
        own = [line for line in lines if line["dataset"] == name]
        revealed = [line["revealed"] for line in own]
        for row, measure, label, colour in (
            (0, "rmse", "residual", "tab:red"), (0, "bias_rmse", "damped biases", "0.5"),
            (1, "ndcg", "residual", "tab:red"),
        ):  # fmt: skip
            panels[row][place].errorbar(
                revealed, [line[measure] for line in own], yerr=[line[f"{measure}_half"] or 0 for line in own],
                marker="o", markersize=4, capsize=3, color=colour, label=label,
            )  # fmt: skip
        panels[0][place].set(title=name, ylabel="RMSE")
        panels[1][place].set(xlabel="revealed ratings of a new user", ylabel="nDCG@10")
        panels[0][place].legend(frameon=False)
        for panel in panels[:, place]:
            panel.grid(alpha=0.25)
    return _save(drawing, out, "cold")


def _save(drawing: Figure, out: Path, name: str) -> list[Path]:
    paths = [out / f"{name}.svg", out / f"{name}.png"]
    for path in paths:
        with new_file(path) as temporary:
            drawing.savefig(temporary, format=path.suffix[1:], dpi=120)
    return paths


def _draw(panel: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Draw points with intervals; methods far above the best, such as the mean, are left out."""
    best = min(row["rmse"] for row in rows)
    for row in (row for row in rows if row["rmse"] < best * 1.15):
        own = row["method"].startswith("residual")
        seconds = max(row["seconds"], 0.01)
        panel.errorbar(seconds, row["rmse"], yerr=row["rmse_half"] or 0, fmt="o", capsize=3,
                       color="tab:red" if own else "tab:blue")  # fmt: skip
        panel.annotate(row["method"], (seconds, row["rmse"]), textcoords="offset points", xytext=(6, 5), fontsize=8)
    panel.grid(alpha=0.25, which="both")
    panel.margins(x=0.2)

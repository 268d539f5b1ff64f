"""The report on a model: errors, lists and what wishes cost, reasons, similar movies, new visitors; one HTML file."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from jinja2 import Environment
from matplotlib import rc_context
from matplotlib.figure import Figure

from reelgraph.metrics.labels import GROUPS, MEASURES, PREDICTORS
from reelgraph.recommend.explain_plot import _STYLE
from reelgraph.recommend.recommender import Recommender


@dataclass(frozen=True)
class Line:
    """Points of a curve."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Picture:
    """An SVG element as text, and what it shows in words."""

    label: str
    svg: str


def picture(title: str, x_label: str, y_label: str, lines: Sequence[Line]) -> Picture:
    """One curve or two over a common axis."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=x_label, ylabel=y_label)
    for number, line in enumerate(lines):
        axes.plot(
            line.x, line.y, marker="o", markersize=3.5, color=("#2f6fb3", "#9a9a9a")[number % 2], label=line.label
        )
    if len(lines) > 1:
        axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    text = io.StringIO()
    with rc_context(_STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None})
    whole = text.getvalue()
    return Picture(title, whole[whole.index("<svg") :])


@dataclass(frozen=True)
class Table:
    """A table of text cells."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, what is said below it, pictures and tables."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = field(default=())


def render(model: Recommender, analysis: dict[str, Any] | None, cold: dict[str, Any] | None) -> str:
    """The report as one HTML page that needs nothing from elsewhere.

    Args:
        model: the model.
        analysis: what `EvaluationReport.to_json` and `quality.measure_quality` say of test ratings; None without any.
        cold: what `cold.ColdReport.to_json` says; None where it was not asked for.
    """
    manifest = model.artifact.manifest
    subtitle = (
        f"{len(model.users):,} users, {len(model.items):,} movies, {len(model.predictor.seen_rating):,} training "
        f"ratings; trained {manifest['created']} in {manifest['seconds']:.0f} s, seed {manifest['config']['seed']}"
    )
    sections = [_errors(manifest), _training(model)]
    if analysis is None:
        remedy = "There are no test ratings to judge on: train with --test, or name some with report --test."
        sections.append(Section("Lists", [remedy]))
    else:
        sections += [_lists(analysis["lists"]), *_reasons(analysis["deletion"]), *_similar(analysis["similar"])]
    sections += [] if cold is None else _cold(cold)
    sections += [] if analysis is None else [_groups(analysis)]
    template = files("reelgraph.evaluation").joinpath("templates/report.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True).from_string(template)
    return page.render(title=f"reelgraph: {manifest['config']['model']} model", subtitle=subtitle, sections=sections)


def _errors(manifest: dict[str, Any]) -> Section:
    rows = [
        [label, split, f"{found[name]['rmse']:.4f}", f"{found[name]['mae']:.4f}"]
        for split, found in manifest["metrics"].items()
        for name, label in PREDICTORS.items()
        if name in found
    ]
    changes = manifest.get("changes")
    text = ["Errors of predicted stars, in stars, beside what every model has to beat."]
    if changes:
        done = ", ".join(f"{number:,} {what}" for what, number in changes.items())
        text.append(f"Since the fit the model was changed ({done}); these figures are those of the fit.")
    return Section("Predicted stars", text, [Table(["", "ratings", "RMSE", "MAE"], rows)])


def _training(model: Recommender) -> Section:
    history, manifest = model.artifact.history, model.artifact.manifest
    pictures = []
    for phase, column, label in (
        ("fit", "valid_rmse", "validation RMSE"),
        ("rank fit", "valid_ndcg", "validation nDCG@10"),
    ):
        lines = [row for row in history if row["phase"] == phase and row[column] is not None]
        if lines:
            line = Line(label, [row["step"] for row in lines], [row[column] for row in lines])
            pictures.append(picture(f"{label} by step", "step", label, [line]))
    trials = [("stars", trial) for trial in manifest["tuning"]]
    trials += [("lists", trial) for trial in (manifest.get("ranking") or {}).get("tuning", [])]
    rows = [
        [head, trial["change"], f"{trial['valid_error']:.4f}", str(trial["steps"]), trial["outcome"]]
        for head, trial in trials
    ]
    text = ["Settings and steps are chosen by validation ratings: by RMSE for stars, by 1 - nDCG@10 for lists."]
    return Section("Training", text, [Table(["head", "setting", "validation error", "steps", ""], rows)], pictures)


def _lists(lists: dict[str, dict[str, Any]]) -> Section:
    default, diverse = lists["default"], lists["diversity 0.3"]
    text = [
        f"Lists of the whole catalogue minus what each user has seen, for {default['users']:,} users with a liked test "
        "movie (4 of 5 stars, or as much of another scale). Lists are ordered by blend unless asked otherwise."
    ]
    if default["ndcg"]:
        change = diverse["ndcg"] - default["ndcg"]
        text.append(
            f"A diversity of 0.3 changes nDCG@10 by {change:+.4f} ({change / default['ndcg']:+.1%}) and the mean "
            f"distance of two movies of a list from {number(default['diversity'])} to {number(diverse['diversity'])}."
        )
    rows = [[name, *(number(row[measure]) for measure in MEASURES)] for name, row in lists.items()]
    return Section("Lists, and what wishes cost", text, [Table(["", *MEASURES.values()], rows)])


def _reasons(deletion: dict[str, dict[str, float]] | None) -> list[Section]:
    if not deletion:
        return []
    units = {"prediction": "stars", "ranking": "log of odds"}
    rows = [
        [f"{name}, {units[name]}", f"{row['pairs']:,}", f"{row['top']:.3f}", f"{row['random']:.3f}"]
        for name, row in deletion.items()
    ]
    text = ["How far a prediction moves when a user's three largest contributions are taken away, and three at random."]
    return [Section("Are the reasons reasons?", text, [Table(["", "pairs", "largest", "random"], rows)])]


def _similar(similar: dict[str, dict[str, float | None]] | None) -> list[Section]:
    if not similar:
        return []
    rows = [[name, number(row["genre"]), number(row["lift"])] for name, row in similar.items()]
    text = [
        "The ten nearest movies of a movie beside ten at random and the ten most popular: how many share a genre with "
        "it, and how many times as many users rated both as would if tastes did not matter."
    ]
    return [Section("Similar movies", text, [Table(["", "share a genre", "co-rating lift"], rows)])]


def _cold(cold: dict[str, Any]) -> list[Section]:
    curve, movies = cold["curve"], cold["movies"]
    revealed = [point["revealed"] for point in curve]
    pictures = [
        picture("Error by ratings revealed", "ratings revealed", "RMSE", [
            Line("this model", revealed, [point["rmse"] for point in curve]),
            Line("damped biases", revealed, [point["bias_rmse"] for point in curve]),
        ]),
        picture("Lists by ratings revealed", "ratings revealed", "nDCG@10", [
            Line("this model", revealed, [point["ndcg"] for point in curve]),
        ]),
    ]  # fmt: skip
    rows = [
        [str(point["revealed"]), *(f"{point[name]:.4f}" for name in ("rmse", "bias_rmse", "ndcg"))] for point in curve
    ]
    text = [
        f"Models fitted without {cold['users']:,} users, then shown some of their ratings; judged on their "
        f"{cold['ratings']:,} ratings after the first 20."
    ]
    if movies is not None:
        text.append(
            f"{movies['movies']:,} movies without any rating, known by side features alone: RMSE "
            f"{movies['rmse']:.4f} (users' biases alone {movies['bias_rmse']:.4f}), nDCG@10 among themselves "
            f"{movies['ndcg']:.3f} (in random order {movies['random_ndcg']:.3f})."
        )
    table = Table(["ratings revealed", "RMSE", "RMSE of damped biases", "nDCG@10"], rows)
    return [Section("New visitors and new movies", text, [table], pictures)]


def _groups(analysis: dict[str, Any]) -> Section:
    tables, pictures = [], []
    columns = ["", "pairs", "RMSE", "MAE", "mean predicted", "mean actual"]
    for name, groups in (analysis["groups"] | {"calibration": analysis["calibration"]}).items():
        rows = [
            [group["name"], f"{group['pairs']:,}",
             *(f"{group[measure]:.3f}" for measure in ("rmse", "mae", "predicted", "actual"))]
            for group in groups
        ]  # fmt: skip
        if rows:
            tables.append(Table(columns, rows, GROUPS[name]))
    if analysis["calibration"]:
        axes = [[group[name] for group in analysis["calibration"]] for name in ("predicted", "actual")]
        lines = [Line("measured", *axes), Line("perfect", axes[0], axes[0])]
        pictures.append(picture("Predicted and actual stars", "mean predicted", "mean actual", lines))
    return Section("Where predictions err", (), tables, pictures)


def number(value: float | None) -> str:
    """A measure with three or four digits that say something; "-" for none."""
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"

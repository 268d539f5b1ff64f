"""Tables and lines of results on stdout."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from reelgraph.cli.progress import note
from reelgraph.evaluation.verdict import verdict
from reelgraph.metrics.labels import GROUPS, MEASURES, PREDICTORS
from reelgraph.metrics.ratings import EvaluationReport
from reelgraph.recommend.explain import Explanation
from reelgraph.recommend.lists import ORDERS, Suggestion
from reelgraph.recommend.results import GroupSuggestions
from reelgraph.recommend.together import GroupSuggestion
from reelgraph.tabular import WIDTH, make_table

if TYPE_CHECKING:
    from reelgraph.doctor.check import Check


# Measures of lists that narrow screens do without, the first first.
_SPARE_MEASURES = ("novelty", "precision", "hit_rate", "diversity", "coverage")


def stdout() -> Console:
    """The console for results; without a terminal it has the same width everywhere."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def say(line: str) -> None:
    """Print one line on stdout; a terminal breaks it between words."""
    note(line, stdout())


def show_json(value: Any) -> None:
    """Print a value as indented JSON; characters that stdout cannot encode are escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    sys.stdout.write(f"{text}\n")


def show_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], **options: Any) -> None:
    """Print a table below its title, which is not wrapped; see `make_table`."""
    if title:
        stdout().print(Text(title, "bold"), soft_wrap=True)
    screen = stdout()
    screen.print(make_table("", header, rows, width=screen.width, **options))


def show_data(manifest: dict[str, Any]) -> None:
    """Users, movies, ratings, density, scale and split of prepared data."""
    counts, scale, split, implicit = (
        *(manifest[name] for name in ("counts", "scale", "split")),
        manifest.get("implicit"),
    )
    pairs = counts["users"] * counts["movies"]
    rows = [(name, f"{counts[name]:,}") for name in ("users", "movies", "ratings")]
    rows += [
        ("density", f"{counts['ratings'] / pairs:.2%}" if pairs else "-"),
        ("scale", f"{scale['low']:g} to {scale['high']:g}") if implicit is None else ("counts", implicit["counts"]),
        (f"split ({split['kind']})", " / ".join(f"{counts[name]:,} {name}" for name in ("train", "valid", "test"))),
    ]
    optional = {
        "unknown_test_users": "test users without training ratings",
        "unknown_test_movies": "test movies without training ratings",
        "rejected": "refused rows",
    }
    rows += [(label, f"{counts[name]:,}") for name, label in optional.items() if counts[name]]
    show_table("Data", ["", ""], rows)


def show_errors(metrics: dict[str, dict[str, dict[str, float]]]) -> None:
    """RMSE and MAE, or measures of lists, of the model and the baselines on the validation and test ratings."""
    splits = {split: label for split, label in (("valid", "validation"), ("test", "test")) if split in metrics}
    names = {name: MEASURES.get(name, name.upper()) for split in splits for name in metrics[split]["model"]}
    rows = []
    for predictor, label in PREDICTORS.items():
        errors = [metrics[split].get(predictor) for split in splits]
        if any(errors):
            cells = [f"{row[name]:.4f}" if row else "" for row in errors for name in names]
            rows.append([label, *cells])
    if splits:
        header = ["", *(f"{label} {name}" for label in splits.values() for name in names.values())]
        show_table("Errors" if "rmse" in names else "Lists", header, rows, bold=PREDICTORS["model"])


def show_evaluation(report: EvaluationReport) -> None:
    """Errors on test ratings, over all of them and by group."""
    known = " (too low: of known ratings)" if report.seen_pairs else ""
    rows = [("pairs", f"{report.pairs:,}")]
    if report.seen_pairs:
        rows.append(("pairs among the model's own ratings", f"{report.seen_pairs:,}"))
    rows += [(f"RMSE{known}", f"{report.rmse:.4f}"), (f"MAE{known}", f"{report.mae:.4f}")]
    if report.rmse_untimed is not None and report.mae_untimed is not None:
        rows.append(("RMSE without the time of rating", f"{report.rmse_untimed:.4f}"))
        rows.append(("MAE without the time of rating", f"{report.mae_untimed:.4f}"))
    if report.interval is not None:
        level, coverage, width = (report.interval[name] for name in ("level", "coverage", "mean_width"))
        rows.append((f"ratings within the {level:.0%} intervals", f"{coverage:.1%}"))
        rows.append(("mean width of the intervals", f"{width:.2f}"))
    rows.append(("users without training ratings", f"{report.unknown_users:,}"))
    rows.append(("movies without training ratings", f"{report.unknown_movies:,}"))
    rows.append(("pairs with such a user or movie", f"{report.unknown_pairs:,}"))
    show_table("Evaluation", ["", ""], rows)
    header = ["", "pairs", "RMSE", "MAE", "mean predicted", "mean actual"]
    spare = (5, 4, 3)
    for name, groups in (report.groups | {"calibration": report.calibration}).items():
        cells = [
            [group.name, f"{group.pairs:,}", *map(_number, (group.rmse, group.mae, group.predicted, group.actual))]
            for group in groups
        ]
        if cells:
            show_table(GROUPS[name], header, cells, spare=spare)


def show_list_measures(lists: dict[str, dict[str, float | None]]) -> None:
    """Ranking measures of each order, and the cost of diversity and of a popularity penalty."""
    names = ("ndcg", "recall", "precision", "hit_rate", "coverage", "novelty", "diversity")
    orders = [f"order {order}" for order in ORDERS]
    default = next((name for name in orders if lists.get(name) == lists["default"]), "")
    kept = (*orders, "popularity", "diversity 0.3", "calibration 0.5", "popularity penalty 0.3")
    rows = [
        [name + " (default)" * (name == default), *(_number(lists[name][measure]) for measure in names)]
        for name in kept
        if name in lists
    ]
    header = ["", *(MEASURES[name] for name in names)]
    spare = [header.index(MEASURES[name]) for name in _SPARE_MEASURES]
    show_table("Lists", header, rows, spare=spare, narrow=max((len(row[0]) for row in rows), default=0))


def show_quality(quality: dict[str, Any]) -> None:
    """The quality of lists, explanations and similar movies."""
    show_list_measures(quality["lists"])
    deletion, similar = quality["deletion"] or {}, quality["similar"] or {}
    if deletion:
        title = "Change of a prediction without three of its contributions"
        rows = [
            [name, f"{row['pairs']:,}", f"{row['top']:.3f}", f"{row['random']:.3f}"] for name, row in deletion.items()
        ]
        show_table(title, ["", "pairs", "largest", "random"], rows)
    if similar:
        rows = [[name, _number(row["genre"]), _number(row["lift"])] for name, row in similar.items()]
        show_table("Similar movies", ["", "share a genre", "co-rating lift"], rows)


def show_list(title: str, suggestions: Sequence[Suggestion] | GroupSuggestions) -> None:
    """A recommendation list: movies with titles, years, genres and predicted stars, or else scores.

    For several people, each one's predicted stars.
    """
    if not suggestions:
        say(f"{title}: no movie passes these filters")
        return
    if isinstance(suggestions, GroupSuggestions):
        _show_together(title, suggestions)
    else:
        _show_suggestions(title, suggestions)


def _show_suggestions(title: str, suggestions: Sequence[Suggestion]) -> None:
    stars = suggestions[0].prediction is not None
    rows = [
        [str(rank), *_movie_cells(asdict(line.movie)), f"{line.prediction if stars else line.score:.2f}"]
        for rank, line in enumerate(suggestions, start=1)
    ]
    header = ["", "movie", "title", "year", "genres", "stars" if stars else "score"]
    show_table(title, header, rows, left=(1, 2, 4), spare=(4, 3))


def _show_together(title: str, suggestions: GroupSuggestions) -> None:
    names = [opinion.name for opinion in suggestions[0].opinions]
    stars = suggestions[0].prediction is not None
    rows = []
    for rank, line in enumerate(suggestions, start=1):
        own = [f"{opinion.prediction:.2f}" for opinion in line.opinions] if stars else [f"{line.score:.2f}"]
        rows.append([str(rank), *_movie_cells(asdict(line.movie)), *own, _main_reason(line)])
    header = ["", "movie", "title", "year", "genres", *(names if stars else ["score"]), "because"]
    show_table(title, header, rows, left=(1, 2, 4, len(header) - 1), spare=(4, 3, len(header) - 1), narrow=18)


def _main_reason(line: GroupSuggestion) -> str:
    """Whose rating supports a movie most, and which; all reasons are in `--json`."""
    reasons = [(reason, opinion.name) for opinion in line.opinions for reason in opinion.because[:1]]
    if not reasons:
        return ""
    reason, name = max(reasons, key=lambda pair: pair[0].contribution)
    title = shorten(reason.movie.title or str(reason.movie), 24, placeholder=" \u2026")
    return f"{name} likes {title}" if reason.rating is None else f"{name} gave {title} {reason.rating:g}"


def show_movies(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Movies with their ids, titles, years and genres."""
    if not rows:
        say(f"{title}: none")
        return
    cells = [_movie_cells(row) for row in rows]
    show_table(title, ["movie", "title", "year", "genres"], cells, left=(0, 1, 3), spare=(3, 2))


def show_similar(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Movies or users with their similarities."""
    if rows and "movie_id" in rows[0]:
        cells = [[*_movie_cells(row), f"{row['similarity']:.3f}"] for row in rows]
        header = ["movie", "title", "year", "genres", "similarity"]
        show_table(title, header, cells, left=(0, 1, 3), spare=(3, 2))
    else:
        show_table(title, ["user", "similarity"], [[row["user_id"], f"{row['similarity']:.3f}"] for row in rows])


def show_explanation(explanation: Explanation) -> None:
    """The contributions to a prediction and to the ranking score."""
    for line in explanation.text():
        say(line)


def show_fit(manifest: dict[str, Any], out: Path) -> None:
    """Steps and time of a fit, and where the model is."""
    refit = ", refitted on training and validation ratings" if manifest["refitted"] else ""
    say(f"{manifest['config']['model']}: {manifest['steps']} steps{refit}, {manifest['seconds']:.1f} s; model in {out}")
    if added := manifest["seen"]["after_metrics"]:
        say(f"{added:,} held-out ratings were added to the model after these errors were measured.")


def show_verdict(metrics: dict[str, Any], analysis: dict[str, Any] | None, *, warn: bool = True) -> None:
    """The measures of a model in one line, and warnings on stderr if it is no better than its baselines."""
    found = verdict(metrics, analysis)
    if found.line:
        say(found.line)
    for warning in found.warnings if warn else ():
        note(f"warning: {warning}")


def show_checks(checks: Sequence["Check"]) -> None:
    """The findings of `doctor`."""
    signs = {True: "ok", False: "FAIL", None: "-"}
    rows = [[signs[check.ok], check.name, check.found, "" if check.ok else check.remedy] for check in checks]
    show_table("", ["", "check", "found", "what to do"], rows, left=range(4))


def _movie_cells(movie: dict[str, Any]) -> list[str]:
    return [movie["movie_id"], movie["title"] or "", str(movie["year"] or ""), ", ".join(movie["genres"])]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

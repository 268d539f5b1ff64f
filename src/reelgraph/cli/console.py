"""What a person sees: tables on stdout, progress on stderr."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reelgraph.metrics import ratings
from reelgraph.metrics.labels import GROUPS, MEASURES, PREDICTORS
from reelgraph.metrics.ratings import EvaluationReport
from reelgraph.recommend.explain import Explanation
from reelgraph.recommend.lists import Suggestion

if TYPE_CHECKING:
    from reelgraph.doctor.check import Check


def stdout(width: int = 120) -> Console:
    """Where results go; a pipe gets plain text of one width, so that it reads the same everywhere."""
    console = Console(highlight=False, soft_wrap=False)
    return console if console.is_terminal else Console(highlight=False, width=width)


def say(line: str) -> None:
    """One line of result, on stdout."""
    stdout().print(escape(line), soft_wrap=True)


def show_data(manifest: dict[str, Any]) -> None:
    """What was read: users, movies, ratings, density, scale, splits."""
    counts, scale, split = manifest["counts"], manifest["scale"], manifest["split"]
    cells = counts["users"] * counts["movies"]
    table = _table("Data", ["", ""], right=[1])
    for name in ("users", "movies", "ratings"):
        table.add_row(name, f"{counts[name]:,}")
    table.add_row("density", f"{counts['ratings'] / cells:.2%}" if cells else "-")
    table.add_row("scale", f"{scale['low']:g} to {scale['high']:g}")
    table.add_row(
        f"split ({split['kind']})", " / ".join(f"{counts[name]:,} {name}" for name in ("train", "valid", "test"))
    )
    for name in ("users", "movies"):
        if counts[f"unknown_test_{name}"]:
            table.add_row(f"test {name} without training ratings", f"{counts[f'unknown_test_{name}']:,}")
    if counts["rejected"]:
        table.add_row("refused rows", f"{counts['rejected']:,}")
    stdout().print(table)


def show_errors(metrics: dict[str, dict[str, dict[str, float]]]) -> None:
    """RMSE and MAE of the model beside the baselines, for each split that was judged."""
    splits = [name for name in ("valid", "test") if name in metrics]
    names = {"valid": "validation", "test": "test"}
    table = _table("Errors", ["", *(f"{names[split]} {error}" for split in splits for error in ("RMSE", "MAE"))])
    for predictor, label in PREDICTORS.items():
        rows = [metrics[split].get(predictor) for split in splits]
        if not any(rows):
            continue
        cells = [f"{row[error]:.4f}" if row else "" for row in rows for error in ("rmse", "mae")]
        table.add_row(label, *cells, style="bold" if predictor == "model" else None)
    if splits:
        stdout().print(table)


def show_evaluation(report: EvaluationReport) -> None:
    """An evaluation of test ratings."""
    table = _table("Evaluation", ["", ""], right=[1])
    table.add_row("pairs", f"{report.pairs:,}")
    table.add_row("RMSE", f"{report.rmse:.4f}")
    table.add_row("MAE", f"{report.mae:.4f}")
    if report.rmse_untimed is not None and report.mae_untimed is not None:
        table.add_row("RMSE without the time of rating", f"{report.rmse_untimed:.4f}")
        table.add_row("MAE without the time of rating", f"{report.mae_untimed:.4f}")
    if report.interval is not None:
        level, coverage, width = (report.interval[name] for name in ("level", "coverage", "mean_width"))
        table.add_row(f"ratings within {level:.0%} intervals", f"{coverage:.1%}")
        table.add_row("mean width of the intervals", f"{width:.2f}")
    table.add_row("users without training ratings", f"{report.unknown_users:,}")
    table.add_row("movies without training ratings", f"{report.unknown_movies:,}")
    table.add_row("pairs with such a user or movie", f"{report.unknown_pairs:,}")
    stdout().print(table)
    for name, groups in (report.groups | {"calibration": report.calibration}).items():
        if groups:
            _show_groups(GROUPS[name], groups)


def show_lists(lists: dict[str, dict[str, float | None]]) -> None:
    """How good lists are by order, and what some diversity costs."""
    names = ("ndcg", "recall", "precision", "hit_rate", "coverage", "novelty", "diversity")
    table = _table("Lists", ["", *(MEASURES[name] for name in names)])
    for name in ("order rank", "order stars", "order blend", "diversity 0.3", "popularity penalty 0.3"):
        if name in lists:
            cells = [lists[name][measure] for measure in names]
            label = f"{name} (default)" if lists[name] == lists["default"] and name.startswith("order") else name
            table.add_row(label, *("-" if cell is None else f"{cell:.3f}" for cell in cells))
    stdout().print(table)


def show_judged(judged: dict[str, Any]) -> None:
    """How good lists, reasons and similar movies are; see `quality.judge`."""
    show_lists(judged["lists"])
    if judged["deletion"]:
        table = _table("What a prediction moves by without three contributions", ["", "pairs", "largest", "random"])
        for name, row in judged["deletion"].items():
            table.add_row(name, f"{row['pairs']:,}", f"{row['top']:.3f}", f"{row['random']:.3f}")
        stdout().print(table)
    if judged["similar"]:
        table = _table("Similar movies", ["", "share a genre", "co-rating lift"])
        for name, row in judged["similar"].items():
            cells = (row["genre"], row["lift"])
            table.add_row(name, *("-" if cell is None else f"{cell:.3f}" for cell in cells))
        stdout().print(table)


def _show_groups(title: str, groups: Sequence[ratings.Group]) -> None:
    table = _table(title, ["", "pairs", "RMSE", "MAE", "mean predicted", "mean actual"])
    for group in groups:
        numbers = (group.rmse, group.mae, group.predicted, group.actual)
        table.add_row(escape(group.name), f"{group.pairs:,}", *(f"{number:.3f}" for number in numbers))
    stdout().print(table)


def show_list(title: str, suggestions: Sequence[Suggestion]) -> None:
    """A list of movies with titles, years, genres and predicted stars."""
    if not suggestions:
        stdout().print(f"{escape(title)}: no movie is left by these filters")
        return
    table = _table(title, ["", "movie", "title", "year", "genres", "stars"], right=[0, 3, 5])
    for rank, suggestion in enumerate(suggestions, start=1):
        movie = suggestion.movie
        table.add_row(
            str(rank), escape(movie.movie_id), escape(movie.title or ""), str(movie.year or ""),
            escape(", ".join(movie.genres)), f"{suggestion.prediction:.2f}",
        )  # fmt: skip
    stdout().print(table)


def show_similar(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Movies or users with their similarities."""
    movies = bool(rows) and "movie_id" in rows[0]
    columns = ["movie", "title", "year", "genres"] if movies else ["user"]
    table = _table(title, [*columns, "similarity"], right=[len(columns)] + ([2] if movies else []))
    for row in rows:
        if movies:
            cells = [row["movie_id"], row["title"] or "", str(row["year"] or ""), ", ".join(row["genres"])]
        else:
            cells = [row["user_id"]]
        table.add_row(*map(escape, cells), f"{row['similarity']:.3f}")
    stdout().print(table)


def show_explanation(found: Explanation) -> None:
    """Why a movie is predicted and ranked as it is."""
    console = stdout()
    for line in found.text():
        console.print(escape(line))
    if found.neighbours:
        together = found.movie_free + found.movie_side + sum(one.contribution for one in found.neighbours)
        console.print(f"seen from the movie: what its {len(found.neighbours):,} raters made of it adds {together:+.2f}")
    if found.ranking is not None:
        console.print(f"ranking score {found.ranking.score:.2f}: the movie {found.ranking.movie:+.2f}, and most of all")
        for reason in found.ranking.because[:5]:
            console.print(escape(f"  {reason}"))


def show_fit(manifest: dict[str, Any], out: Path) -> None:
    """What was fitted, how long it took, and where the model is."""
    again = ", then again on train and validation" if manifest["refitted"] else ""
    took = f"{manifest['steps']} steps{again}, {manifest['seconds']:.1f} s"
    stdout().print(escape(f"{manifest['config']['model']}: {took}; model in {out}"))


def show_tables(made: Callable[[int], Sequence[Table]]) -> None:
    """Tables made for a width in characters."""
    console = stdout(width=200)
    for table in made(console.width):
        console.print(table)


def show_checks(checks: Sequence["Check"]) -> None:
    """What `doctor` found."""
    table = _table("", ["", "check", "found", "what to do"], right=[])
    for check in checks:
        sign = {True: "ok", False: "FAIL", None: "-"}[check.ok]
        table.add_row(sign, escape(check.name), escape(check.found), escape("" if check.ok else check.remedy))
    stdout().print(table)


def _table(title: str, columns: Iterable[str], right: Sequence[int] | None = None) -> Table:
    table = Table(title=escape(title), title_justify="left", title_style="bold", pad_edge=False, box=None)
    for place, column in enumerate(columns):
        on_right = place in right if right is not None else place > 0
        table.add_column(column, justify="right" if on_right else "left", overflow="fold")
    return table

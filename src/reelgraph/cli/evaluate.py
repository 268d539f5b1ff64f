"""The commands `evaluate`, `report` and `bench`."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from reelgraph.cli import console, progress
from reelgraph.cli.help import examples
from reelgraph.cli.options import JSON, PATH, reading
from reelgraph.config import DataConfig
from reelgraph.data import pair_files
from reelgraph.data.vocabulary import describe_overlap
from reelgraph.evaluation import quality
from reelgraph.files import new_file
from reelgraph.manifest import read_config
from reelgraph.metrics.ratings import EvaluationReport
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.tabular import make_table


@click.command(epilog=examples("reelgraph evaluate model test.csv"))
@click.argument("model", type=PATH)
@click.argument("test", type=PATH)
@JSON
@reading()
def evaluate(config: DataConfig, model: Path, test: Path, as_json: bool) -> None:
    """Measure MODEL on the ratings in TEST.

    Measures its predictions, lists, explanations and similar movies.

    Train MODEL with --no-use-all or on other files: TEST must be ratings that it does not know.
    """
    report, analysis, warning = _evaluate(open_model(model), test, config)
    if as_json:
        console.show_json(analysis)
        return
    if report is not None:
        console.show_evaluation(report)
    console.show_quality(analysis)
    console.show_verdict({} if report is None else {"test": report.errors()}, analysis, warn=warning is None)


@click.command(epilog=examples("reelgraph report model --out report.html"))
@click.argument("model", type=PATH)
@click.option("--out", type=PATH, required=True, help="HTML file to write")
@click.option("--test", type=PATH, help="test ratings [default: the results of training]")
@click.option("--cold/--no-cold", default=False, help="also fit twice more, to measure held-out users and movies")
@reading()
def report(config: DataConfig, model: Path, out: Path, test: Path | None, cold: bool) -> None:
    """Write a page about MODEL to one HTML file.

    It is the insights page of the service.
    """
    from reelgraph.service.report import export_page  # noqa: PLC0415

    recommender = open_model(model)
    analysis = None
    if test is not None:
        _, analysis, _ = _evaluate(recommender, test, config)
    cold_facts = _cold(recommender) if cold else None
    with new_file(out) as temporary:
        temporary.write_text(export_page(recommender, analysis, cold_facts), encoding="utf-8")
    console.say(f"report in {out}")


def _cold(model: Recommender) -> dict[str, Any] | None:
    model.predictor.require_stars("--cold")
    from reelgraph.evaluation.cold_start import evaluate_cold  # noqa: PLC0415
    from reelgraph.training.fit import fit  # noqa: PLC0415
    from reelgraph.training.update import training_data  # noqa: PLC0415

    progress.note("fitting two models without some users and movies")
    config = read_config(model.artifact.manifest["config"])
    results = evaluate_cold(training_data(model.artifact), fit, config, config.seed)
    if results is None:
        progress.note("new users cannot be evaluated: no held-out user has more than 20 ratings")
    return None if results is None else results.to_json()


@click.command(
    epilog=examples(
        "reelgraph bench ml-100k-u1 --models bias,myfm,residual --out results",
        "reelgraph bench ratings.csv --seeds 5 --out results",
    )
)
@click.argument("names", metavar="DATASET...", nargs=-1, required=True)
@click.option("--models", help="methods, separated by commas [default: all whose libraries are installed]")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="runs per method")
@click.option(
    "--budget", type=click.FloatRange(min=0), help="processor seconds to search settings [default: as residual takes]"
)
@click.option("--at-once", type=click.IntRange(min=1), default=1, show_default=True, help="runs at a time")
@click.option("--cold/--no-cold", default=None, help="also measure held-out users and movies [default: with residual]")
@click.option("--published", is_flag=True, help="also show published results, marked as such")
@JSON
@click.option("--out", type=PATH, required=True, help="directory for results and figures; finished runs are kept")
def bench(
    names: tuple[str, ...], models: str | None, seeds: int, budget: float | None, at_once: int, cold: bool | None,
    published: bool, as_json: bool, out: Path,
) -> None:  # fmt: skip
    """Compare methods on data sets.

    A DATASET is a name such as ml-100k-u1, or a ratings file.
    """
    from reelgraph.bench import compare, figures, methods, results  # noqa: PLC0415

    chosen = methods.choose(models)
    jobs = compare.list_jobs(names, chosen, seeds, budget, "residual" in chosen if cold is None else cold)
    result: dict[str, Any] = {}

    def method_tables(runs: list[dict[str, Any]], published: bool, width: int) -> list[Table]:
        return [make_table(*table, width=width) for table in results.method_tables(runs, published, width)]

    with progress.live() as show:
        for result in compare.run_jobs(jobs, out, "reelgraph " + " ".join(sys.argv[1:]), progress.note, at_once):
            show(partial(method_tables, result["runs"], False))
    pictures = figures.method_figure(result["runs"], published, out) + figures.cold_figure(result["cold"], out)
    if as_json:
        summaries = {"summary": results.summary(result["runs"]), "cold_summary": results.cold_summary(result["cold"])}
        console.show_json(result | summaries)
        return
    screen = console.stdout()
    cold_tables = [make_table(*table, width=screen.width) for table in results.cold_tables(result["cold"])]
    screen.print(*method_tables(result["runs"], published, screen.width), *cold_tables)
    progress.note(", ".join(map(str, [out / results.RESULTS, out / compare.TABLE, *pictures])))


def _evaluate(
    model: Recommender, test: Path, config: DataConfig
) -> tuple[EvaluationReport | None, dict[str, Any], str | None]:
    """Errors of predictions, if the model makes any; all measures as JSON values; what distorts them, if anything."""
    predictor, report = model.predictor, None
    scale = (predictor.low, predictor.high) if predictor.has_stars else None
    rows = progress.noted(pair_files.read_ratings(test, config, scale))
    progress.note(describe_overlap(str(test), (model.users, rows.user_ids), (model.items, rows.movie_ids)))
    if predictor.has_stars:
        report = predictor.evaluate(rows.user_ids, rows.movie_ids, rows.rating, rows.timestamps)
        pairs = predictor.known_pairs(rows.user_ids, rows.movie_ids, rows.rating)
        warning = report.warning
    else:
        pairs = predictor.known_pairs(rows.user_ids, rows.movie_ids)
        warning = predictor.warn_of_seen(pairs)
    if warning is not None:
        progress.note(f"warning: {warning}")
    errors = {} if report is None else report.to_json()
    return report, errors | quality.measure_quality(model, pairs), warning

"""The commands that judge a model: `evaluate` and `report`."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from reelgraph.cli import console, progress
from reelgraph.cli.options import COLUMNS, PATH
from reelgraph.config import TrainConfig
from reelgraph.data import pair_files
from reelgraph.evaluation import quality
from reelgraph.files import new_file
from reelgraph.metrics.ratings import EvaluationReport
from reelgraph.recommend.recommender import Recommender, open_model


def _judged(model: Recommender, test: Path, columns: dict[str, str] | None) -> tuple[EvaluationReport, dict[str, Any]]:
    """Errors of predicted stars, and how good lists, reasons and similar movies are."""
    rows = pair_files.read_ratings(test, columns or {})
    results = model.predictor.evaluate(rows.user_ids, rows.movie_ids, rows.rating, rows.timestamps)
    return results, quality.judge(model, quality.known_pairs(model, rows.user_ids, rows.movie_ids, rows.rating))


@click.command()
@click.argument("model", type=PATH)
@click.argument("test", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of tables")
@COLUMNS
def evaluate(model: Path, test: Path, as_json: bool, columns: dict[str, str] | None) -> None:
    """Errors, lists, reasons and similar movies of a MODEL, judged on the ratings of TEST."""
    results, judged = _judged(open_model(model), test, columns)
    if as_json:
        click.echo(json.dumps(results.to_json() | judged, indent=2))
    else:
        console.show_evaluation(results)
        console.show_judged(judged)


@click.command()
@click.argument("model", type=PATH)
@click.option("--out", type=PATH, required=True, help="HTML file for the report")
@click.option("--test", type=PATH, help="test ratings to judge on; what training judged on when not given")
@click.option("--cold/--no-cold", default=True, help="fit twice more, without some users and movies, to judge on them")
@COLUMNS
def report(model: Path, out: Path, test: Path | None, cold: bool, columns: dict[str, str] | None) -> None:
    """A page on a MODEL: errors, training, lists and the cost of wishes, reasons, similar movies, new visitors."""
    recommender = open_model(model)
    manifest = recommender.artifact.manifest
    analysis = manifest.get("analysis")
    if test is not None:
        errors, judged = _judged(recommender, test, columns)
        analysis = errors.to_json() | judged
    found = None
    if cold:
        progress.note("fitting without some users and without some movies; --no-cold leaves this out")
        from reelgraph.evaluation.cold_start import evaluate_cold  # noqa: PLC0415
        from reelgraph.training.fit import fit  # noqa: PLC0415
        from reelgraph.training.update import training_data  # noqa: PLC0415

        config = TrainConfig.model_validate(manifest["config"])
        seen = evaluate_cold(training_data(recommender.artifact), fit, config, config.seed)
        if seen is None:
            progress.note("too few ratings to judge new visitors: nobody held out has more than 20")
        found = None if seen is None else seen.to_json()
    from reelgraph.evaluation import report as reporting  # noqa: PLC0415

    with new_file(out) as temporary:
        temporary.write_text(reporting.render(recommender, analysis, found), encoding="utf-8")
    console.say(f"report in {out}")


@click.command()
@click.argument("names", metavar="DATASET...", nargs=-1, required=True)
@click.option("--models", help="methods, separated by commas; all whose library is there when not given")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="runs of each method")
@click.option("--budget", type=click.FloatRange(min=0), help="seconds for settings; what residual takes when not given")
@click.option("--cold/--no-cold", default=None, help="hold users and movies out, too; if residual is there")
@click.option("--published", is_flag=True, help="show published figures beside, marked as such")
@click.option("--json", "as_json", is_flag=True, help="print the results as JSON instead of tables")
@click.option(
    "--out", type=PATH, required=True, help="directory for results and figure; what is there is not run again"
)
def bench(
    names: tuple[str, ...],
    models: str | None,
    seeds: int,
    budget: float | None,
    cold: bool | None,
    published: bool,
    as_json: bool,
    out: Path,
) -> None:
    """Compare methods on DATASETs: names such as ml-100k-u1, or files of yours."""
    from reelgraph.bench import (  # noqa: PLC0415
        compare,
        figures,
        methods,
        results,
    )

    chosen = methods.chosen(models)
    todo = compare.jobs(names, chosen, seeds, budget, "residual" in chosen if cold is None else cold)
    result: dict[str, Any] = {}
    with progress.live() as show:
        for result in compare.race(todo, out, "reelgraph " + " ".join(sys.argv[1:]), progress.note):
            show(lambda width: results.table(result["runs"], False, width))  # noqa: B023 (called at once)
    pictures = figures.figure(result["runs"], published, out) + figures.cold_figure(result["cold"], out)
    if as_json:
        summaries = {"summary": results.summary(result["runs"]), "cold_summary": results.cold_summary(result["cold"])}
        click.echo(json.dumps(result | summaries, indent=2))
        return
    console.show_tables(
        lambda width: results.table(result["runs"], published, width) + results.cold_table(result["cold"])
    )
    progress.note(f"{', '.join(map(str, [out / results.RESULTS, out / compare.TABLE, *pictures]))}")

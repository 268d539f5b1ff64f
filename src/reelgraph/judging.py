"""The commands that judge a model: `evaluate` and `report`."""

import json
from pathlib import Path
from typing import Any

import click

from reelgraph import console, quality
from reelgraph.atomic import new_file
from reelgraph.config import TrainConfig
from reelgraph.data import pairs
from reelgraph.evaluation import EvaluationReport
from reelgraph.options import COLUMNS, PATH
from reelgraph.recommender import Recommender, open_model


def _judged(model: Recommender, test: Path, columns: dict[str, str] | None) -> tuple[EvaluationReport, dict[str, Any]]:
    """Errors of predicted stars, and how good lists, reasons and similar movies are."""
    rows = pairs.read_ratings(test, columns or {})
    report = model.predictor.evaluate(rows.user_ids, rows.movie_ids, rows.rating, rows.timestamps)
    return report, quality.judge(model, quality.known_pairs(model, rows.user_ids, rows.movie_ids, rows.rating))


@click.command()
@click.argument("model", type=PATH)
@click.argument("test", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of tables")
@COLUMNS
def evaluate(model: Path, test: Path, as_json: bool, columns: dict[str, str] | None) -> None:
    """Errors, lists, reasons and similar movies of a MODEL, judged on the ratings of TEST."""
    report, judged = _judged(open_model(model), test, columns)
    if as_json:
        click.echo(json.dumps(report.to_json() | judged, indent=2))
    else:
        console.show_evaluation(report)
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
        console.note("fitting without some users and without some movies; --no-cold leaves this out")
        from reelgraph.cold import evaluate_cold  # noqa: PLC0415 (torch is slow to import)
        from reelgraph.rebuild import training_data  # noqa: PLC0415

        config = TrainConfig.model_validate(manifest["config"])
        seen = evaluate_cold(training_data(recommender.artifact), config, config.seed)
        if seen is None:
            console.note("too few ratings to judge new visitors: nobody held out has more than 20")
        found = None if seen is None else seen.to_json()
    from reelgraph import reporting  # noqa: PLC0415 (matplotlib is slow to import)

    with new_file(out) as temporary:
        temporary.write_text(reporting.render(recommender, analysis, found), encoding="utf-8")
    console.say(f"report in {out}")

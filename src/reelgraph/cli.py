"""The command line: each command is a few lines over the library; results on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from reelgraph import (
    __version__,
    artifact,
    asking,
    bars,
    capacity,
    changing,
    console,
    estimating,
    hosting,
    judging,
    machine,
    planning,
)
from reelgraph.atomic import check_target, new_file
from reelgraph.config import DataConfig, TrainConfig
from reelgraph.data import counting, pairs
from reelgraph.data.dataset import read_manifest
from reelgraph.errors import ReelgraphError, StoppedError
from reelgraph.options import COLUMNS, PATH, data_options, settings, settings_of
from reelgraph.recommender import open_model


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 2 the user's input or environment is at fault, 1 a bug, 130 interrupted."""
    machine.set_environment()
    try:
        code = commands.main(arguments, prog_name="reelgraph", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "reelgraph"
        _fail(f"{where}: {error.format_message()} (see {where} --help)")
    except StoppedError as error:
        sys.stderr.write(f"reelgraph: interrupted: {error}; --resume goes on\n")
        sys.exit(130)
    except ReelgraphError as error:
        _fail(str(error))
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("reelgraph: interrupted\n")
        sys.exit(130)
    except BrokenPipeError:  # The reader of our output, such as head, has had enough.
        sys.stderr.close()
        sys.exit(0)


def _fail(line: str) -> None:
    sys.stderr.write(f"error: {' '.join(line.split())}\n")
    sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="reelgraph")
def commands() -> None:
    """Predict ratings and recommend movies with a graph neural network."""


@commands.command()
@click.argument("ratings", type=PATH, required=False)
@data_options
@click.option("--out", type=PATH, required=True, help="directory for the model")
@click.option("--resume", is_flag=True, help="go on from the checkpoint of an interrupted training")
@click.option("--plan-check/--no-plan-check", default=True, help="refuse what cannot fit into the free memory")
@click.option("--json", "as_json", is_flag=True, help="print the manifest as JSON instead of tables")
@settings_of(TrainConfig, DataConfig)
def train(
    ratings: Path | None,
    items: Path | None,
    users: Path | None,
    test: Path | None,
    config_file: Path | None,
    out: Path,
    resume: bool,
    plan_check: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train a model on RATINGS: a file, a MovieLens folder, a prepared directory, or the bundled sample."""
    config = settings(TrainConfig, config_file, given)
    data_config = settings(DataConfig, config_file, given)
    check_target(out, artifact.KIND)
    if plan_check and not planning.elsewhere(config, data_config.engine):
        planning.check(counting.size_of(ratings, items, users, test, data_config), config, capacity.free_memory())
    # Torch is slow to import; what is wrong above is said without it.
    from reelgraph import pipeline, runs  # noqa: PLC0415
    from reelgraph.spark import launch, process  # noqa: PLC0415

    files, stage = (ratings, items, users, test), data_config.stage
    checkpoints = runs.Checkpoints(out.with_name(f"{out.name}.checkpoint"), resume)
    with process.joined(), launch.room(config, checkpoints, None if stage is None else Path(stage)) as target:
        with bars.job_progress() as shown:
            where = pipeline.prepared(*files, config=data_config, out=target, report=shown.note, watch=shown.jobs)
        if not as_json:
            console.show_data(read_manifest(where))
        with console.fit_progress() as observe:
            model = launch.train(where, out, config, checkpoints, data_config.engine, observe)
    if model is None:
        return  # Another process of this training tells what came of it.
    manifest = model.artifact.manifest
    if manifest["interrupted"]:
        console.note(f"Stopped as asked: the best so far, of step {manifest['steps']}, is kept; --resume goes on.")
    if as_json:
        click.echo(json.dumps(manifest, indent=2))
        return
    console.show_errors(manifest["metrics"])
    if "analysis" in manifest:
        console.show_lists(manifest["analysis"]["lists"])
    console.show_fit(manifest, out)


@commands.command()
@click.argument("ratings", type=PATH, required=False)
@data_options
@click.option("--out", type=PATH, required=True, help="directory for the prepared ratings")
@settings_of(DataConfig)
def prepare(
    ratings: Path | None,
    items: Path | None,
    users: Path | None,
    test: Path | None,
    config_file: Path | None,
    out: Path,
    **given: Any,
) -> None:
    """Check, index and split RATINGS; `train` takes the result in place of ratings."""
    from reelgraph.data import dataset, prepare, sources  # noqa: PLC0415 (the engine is slow to import)

    config = settings(DataConfig, config_file, given)
    if test is not None:
        config = config.model_copy(update={"split": "given"})
    check_target(out, dataset.KIND)
    with bars.job_progress() as shown:
        prepare.prepare(sources.find(ratings, items, users, test), config, out, shown.note, shown.jobs)
    console.show_data(dataset.read_manifest(out))


@commands.command()
@click.argument("model", type=PATH)
@click.argument("pairs_file", metavar="PAIRS", type=PATH)
@click.option("--out", type=PATH, required=True, help="CSV file for the pairs with their predictions")
@click.option("--interval", "level", type=float, help="add low and high, which hold this share of ratings: 0.9, ...")
@COLUMNS
def predict(model: Path, pairs_file: Path, out: Path, level: float | None, columns: dict[str, str] | None) -> None:
    """Add a `prediction` column to the userId, movieId rows of PAIRS; their order is kept."""
    predictor = open_model(model).predictor
    rows = pairs.read_pairs(pairs_file, columns or {})
    which = rows.user_ids, rows.movie_ids
    found = {"prediction": predictor.predict(*which, rows.timestamps)}
    if level is not None:
        found["low"], found["high"] = predictor.interval(*which, level, rows.timestamps)
    with new_file(out) as temporary:
        pairs.write_predictions(rows, found, temporary)
    console.note(f"{out}: {len(rows.user_ids):,} predictions")


for command in (
    judging.evaluate, judging.report, asking.recommend, asking.similar, asking.explain, changing.update,
    changing.forget, hosting.serve, hosting.export, estimating.plan,
):  # fmt: skip
    commands.add_command(command)


@commands.command()
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
    from reelgraph.bench import figures, methods, race, report  # noqa: PLC0415 (most commands need none of it)

    chosen = methods.chosen(models)
    todo = race.jobs(names, chosen, seeds, budget, "residual" in chosen if cold is None else cold)
    result: dict[str, Any] = {}
    with console.live() as show:
        for result in race.race(todo, out, "reelgraph " + " ".join(sys.argv[1:]), console.note):
            show(lambda width: report.table(result["runs"], False, width))  # noqa: B023 (called at once)
    pictures = figures.figure(result["runs"], published, out) + figures.cold_figure(result["cold"], out)
    if as_json:
        summaries = {"summary": report.summary(result["runs"]), "cold_summary": report.cold_summary(result["cold"])}
        click.echo(json.dumps(result | summaries, indent=2))
        return
    console.show_tables(
        lambda width: report.table(result["runs"], published, width) + report.cold_table(result["cold"])
    )
    console.note(f"{', '.join(map(str, [out / report.RESULTS, out / race.TABLE, *pictures]))}")


@commands.command()
@click.option("--engine", help="try this engine, too, such as spark://host:port, and its workers")
@click.option("--stage", help="directory that its workers should share; that of temporary files when not given")
def doctor(engine: str | None, stage: str | None) -> None:
    """Check the environment, and say what mends what is wrong."""
    from reelgraph.doctor import checks  # noqa: PLC0415

    found = checks(engine, stage)
    console.show_checks(found)
    if any(check.ok is False for check in found):
        sys.exit(2)

"""The commands `train`, `update` and `forget`."""

from dataclasses import asdict
from pathlib import Path

import click

from reelgraph import artifact, machine, planning
from reelgraph.cli import console, progress
from reelgraph.cli.help import GroupedCommand, examples
from reelgraph.cli.options import JSON, PATH, Files, data_options, reading, settings_of
from reelgraph.config import DataConfig, TrainConfig
from reelgraph.data import pair_files, side_tables
from reelgraph.data.dataset import read_manifest
from reelgraph.data.rows import Malformed, describe_refused
from reelgraph.files import check_target, locked


@click.command(
    cls=GroupedCommand,
    epilog=examples(
        "reelgraph train --out model                          # the bundled sample",
        "reelgraph train ratings.csv --items movies.csv --out model",
        "reelgraph train ml-1m --split time --no-use-all --out model",
        "reelgraph train train.csv --test test.csv --seed 1 --out model",
        "reelgraph train views.csv --implicit --columns user=who,item=what --out model",
    ),
)
@data_options
@click.option("--out", type=PATH, required=True, help="directory for the model")
@click.option("--resume", is_flag=True, help="continue from the checkpoint of an interrupted training")
@click.option("--plan-check/--no-plan-check", default=True, help="refuse to train what cannot fit in free memory")
@JSON
@settings_of(TrainConfig, DataConfig)
def train(
    files: Files, config: TrainConfig, data_config: DataConfig, out: Path, resume: bool, plan_check: bool, as_json: bool
) -> None:
    """Train a model on RATINGS and measure it.

    RATINGS is a file, a MovieLens folder, a prepared directory, or by default the bundled sample.
    """
    check_target(out, artifact.KIND)
    if data_config.implicit:
        config = config.without_stars()
    if plan_check and not planning.elsewhere(config, data_config.engine):
        planning.check(planning.size_of(*files, data_config), config, machine.free_memory())
    # Importing torch takes seconds; the errors above are reported before.
    from reelgraph.data import load  # noqa: PLC0415
    from reelgraph.training import launch, process, runner  # noqa: PLC0415

    stage = data_config.stage
    checkpoints = runner.Checkpoints(out.with_name(f"{out.name}.checkpoint"), resume)
    with process.joined(), launch.prepared_place(config, checkpoints, None if stage is None else Path(stage)) as target:
        with progress.job_progress() as report:
            where = load.prepared(*files, config=data_config, out=target, report=report.note, watch=report.jobs)
        if not as_json:
            console.show_data(read_manifest(where))
        with progress.fit_progress() as observe:
            model = launch.train(where, out, config, checkpoints, data_config.engine, observe)
    if model is None:
        return  # another process of this training reports the result
    manifest = model.artifact.manifest
    if manifest["interrupted"]:
        progress.note(f"Interrupted: saved the best model so far, of step {manifest['steps']}; continue with --resume.")
    if as_json:
        console.show_json(manifest)
        return
    console.show_errors(manifest["metrics"])
    if "analysis" in manifest:
        console.show_list_measures(manifest["analysis"]["lists"])
    console.show_fit(manifest, out)
    console.show_verdict(manifest["metrics"], manifest.get("analysis"))


@click.command(epilog=examples("reelgraph update model new-ratings.parquet --out model"))
@click.argument("model", type=PATH)
@click.argument("ratings", type=PATH)
@click.option("--out", type=PATH, required=True, help="directory for the new model")
@click.option("--items", type=PATH, help="movie table with the titles, years, genres and side features of new movies")
@click.option("--steps", type=click.IntRange(min=0), help="training steps on all ratings [default: a few]")
@click.option("--compare", is_flag=True, help="also train a full model and report how much the two differ")
@JSON
@reading("item_columns")
def update(
    config: DataConfig, model: Path, ratings: Path, out: Path, items: Path | None, steps: int | None, compare: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Add the ratings in RATINGS to MODEL without a full training.

    Users and movies may be new.
    """
    old_model = _read_to_replace(model, out)
    stars = old_model.has_stars
    scale = old_model.manifest["scale"]
    rows = progress.noted(pair_files.read_ratings(ratings, config, (scale["low"], scale["high"]) if stars else None))
    item_table = None
    if items is not None:
        refused: list[Malformed] = []
        item_table = side_tables.read_items(
            items, refused.append, columns=config.item_columns, rating_column=config.columns.get("item")
        )
        for line in describe_refused(items.name, refused):
            progress.note(line)
    given = rows.user_ids, rows.movie_ids, rows.rating if stars else None, rows.timestamps
    from reelgraph.training import update as updates  # noqa: PLC0415

    number = updates.WARM_STEPS if steps is None else steps
    new_model, change = updates.update(old_model, *given, item_table=item_table, steps=number)
    artifact.write_artifact(new_model, out)
    found = updates.compare(new_model) if compare else None
    if as_json:
        distance = None if found is None else asdict(found[0]) | {"seconds": found[1]}
        console.show_json(asdict(change) | {"distance": distance})
        return
    console.say(
        f"{change.added:,} ratings added and {change.replaced:,} replaced, {change.new_users:,} new users and "
        f"{change.new_movies:,} new movies, {change.steps} steps, {change.seconds:.1f} s; model in {out}"
    )
    if found is None:
        console.say("To measure the difference from a full training, use --compare.")
    else:
        apart, seconds = found
        console.say(f"Compared with a full training ({seconds:.1f} s), {apart}")


@click.command(epilog=examples("reelgraph forget model --user 17"))
@click.argument("model", type=PATH)
@click.option("--user", required=True, help="the user to remove")
@click.option("--out", type=PATH, help="directory for the new model [default: replace MODEL]")
def forget(model: Path, user: str, out: Path | None) -> None:
    """Remove a --user from MODEL.

    Nothing of the user is left in its graph, seen ratings, states and statistics.
    """
    target = model if out is None else out
    old_model = _read_to_replace(model, target)
    from reelgraph.training import update as updates  # noqa: PLC0415

    new_model = updates.forget(old_model, user)
    artifact.write_artifact(new_model, target, keep=False)
    if target == model:
        from reelgraph.training.learning import forget_everywhere  # noqa: PLC0415

        forget_everywhere(model, user)
    removed = old_model.seen.num_rows - new_model.seen.num_rows
    console.say(f"removed user {user} and {removed:,} ratings; model in {target}")


def _read_to_replace(model: Path, out: Path) -> artifact.Artifact:
    """Read a model of which a changed one is written to `out`, which is locked until this command ends."""
    check_target(out, artifact.KIND)
    click.get_current_context().with_resource(locked(out, progress.note))
    return artifact.read_artifact(model)

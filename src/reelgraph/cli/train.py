"""The commands that change a model without a full fit: new ratings into it, users out of it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from reelgraph import artifact, machine, planning
from reelgraph.cli import console, progress
from reelgraph.cli.options import COLUMNS, PATH, data_options, settings, settings_of
from reelgraph.config import DataConfig, TrainConfig
from reelgraph.data import pair_files, side_tables
from reelgraph.data.dataset import read_manifest
from reelgraph.files import check_target


@click.command()
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
        planning.check(planning.size_of(ratings, items, users, test, data_config), config, machine.free_memory())
    # Torch is slow to import; what is wrong above is said without it.
    from reelgraph.data import load  # noqa: PLC0415
    from reelgraph.training import (  # noqa: PLC0415
        launch,
        process,
        runner,
    )

    files, stage = (ratings, items, users, test), data_config.stage
    checkpoints = runner.Checkpoints(out.with_name(f"{out.name}.checkpoint"), resume)
    with process.joined(), launch.room(config, checkpoints, None if stage is None else Path(stage)) as target:
        with progress.job_progress() as shown:
            where = load.prepared(*files, config=data_config, out=target, report=shown.note, watch=shown.jobs)
        if not as_json:
            console.show_data(read_manifest(where))
        with progress.fit_progress() as observe:
            model = launch.train(where, out, config, checkpoints, data_config.engine, observe)
    if model is None:
        return  # Another process of this training tells what came of it.
    manifest = model.artifact.manifest
    if manifest["interrupted"]:
        progress.note(f"Stopped as asked: the best so far, of step {manifest['steps']}, is kept; --resume goes on.")
    if as_json:
        click.echo(json.dumps(manifest, indent=2))
        return
    console.show_errors(manifest["metrics"])
    if "analysis" in manifest:
        console.show_lists(manifest["analysis"]["lists"])
    console.show_fit(manifest, out)


@click.command()
@click.argument("model", type=PATH)
@click.argument("ratings", type=PATH)
@click.option("--out", type=PATH, required=True, help="directory for the new model")
@click.option("--items", type=PATH, help="movie table: titles, years, genres, other side features of new movies")
@click.option(
    "--steps", type=click.IntRange(min=0), help="steps of the training loop on all ratings; a few when not given"
)
@click.option("--compare", is_flag=True, help="also fit the whole model anew, and say how far apart the two are")
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of text")
@COLUMNS
def update(
    model: Path,
    ratings: Path,
    out: Path,
    items: Path | None,
    steps: int | None,
    compare: bool,
    as_json: bool,
    columns: dict[str, str] | None,
) -> None:
    """MODEL with the ratings of RATINGS added, of users and movies known or new, without a full fit."""
    check_target(out, artifact.KIND)
    whole = artifact.read_artifact(model)
    rows = pair_files.read_ratings(ratings, columns or {})
    facts = None if items is None else side_tables.read_items(items)
    given = rows.user_ids, rows.movie_ids, rows.rating, rows.timestamps
    from reelgraph.training import update as updates  # noqa: PLC0415

    number = updates.WARM_STEPS if steps is None else steps
    larger, change = updates.update(whole, *given, item_table=facts, steps=number)
    artifact.write_artifact(larger, out)
    apart = updates.distance(larger) if compare else None
    if as_json:
        click.echo(json.dumps(asdict(change) | {"distance": None if apart is None else asdict(apart)}, indent=2))
        return
    console.say(
        f"{change.added:,} ratings added and {change.replaced:,} replaced, {change.new_users:,} users and "
        f"{change.new_movies:,} movies new, {change.steps} steps, {change.seconds:.1f} s; model in {out}"
    )
    if apart is None:
        console.say("How far this is from a full fit: --compare makes one and says; or train again.")
    else:
        console.say(
            f"From a full fit ({apart.seconds:.1f} s) predictions are {apart.prediction:.3f} away (root mean square of "
            f"{apart.pairs:,} pairs), and {apart.overlap:.0%} of the lists of 10 are the same ({apart.users:,} users)"
        )


@click.command()
@click.argument("model", type=PATH)
@click.option("--user", required=True, help="the user to forget")
@click.option("--out", type=PATH, help="directory for the new model; MODEL itself is replaced when not given")
def forget(model: Path, user: str, out: Path | None) -> None:
    """MODEL without a --user: not in its graph, its lists of what was seen, its states, or its statistics."""
    target = model if out is None else out
    check_target(target, artifact.KIND)
    whole = artifact.read_artifact(model)
    from reelgraph.training import update as updates  # noqa: PLC0415

    smaller = updates.forget(whole, user)
    artifact.write_artifact(smaller, target)
    gone = whole.seen.num_rows - smaller.seen.num_rows
    console.say(f"user {user} and {gone:,} ratings are gone; model in {target}")

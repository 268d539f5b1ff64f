"""The command that says what a run will take."""

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from reelgraph import machine, planning
from reelgraph.cli import console, progress
from reelgraph.cli.options import PATH, data_options, settings, settings_of
from reelgraph.config import DataConfig, TrainConfig
from reelgraph.errors import ConfigError
from reelgraph.files import check_target


@click.command()
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
    from reelgraph.data import dataset, sources  # noqa: PLC0415
    from reelgraph.data.prepare import prepare  # noqa: PLC0415

    config = settings(DataConfig, config_file, given)
    if test is not None:
        config = config.model_copy(update={"split": "given"})
    check_target(out, dataset.KIND)
    with progress.job_progress() as shown:
        prepare.prepare(sources.find(ratings, items, users, test), config, out, shown.note, shown.jobs)
    console.show_data(dataset.read_manifest(out))


COUNT = click.FloatRange(min=1)


@click.command()
@click.argument("ratings", type=PATH, required=False)
@data_options
@click.option("--num-ratings", type=COUNT, help="number of ratings, in place of RATINGS; such as 20e6")
@click.option("--num-users", type=COUNT, help="number of users, likewise")
@click.option("--num-movies", type=COUNT, help="number of movies, likewise")
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of a table")
@settings_of(TrainConfig, DataConfig)
def plan(
    ratings: Path | None,
    items: Path | None,
    users: Path | None,
    test: Path | None,
    config_file: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """What time and memory preparation, training and lists over RATINGS will take on this machine."""
    config, data_config = settings(TrainConfig, config_file, given), settings(DataConfig, config_file, given)
    counts = [given[f"num_{name}"] for name in ("ratings", "users", "movies")]
    if any(counts) and (ratings is not None or not all(counts)):
        raise ConfigError(
            "plan: expected RATINGS, or all three of --num-ratings, --num-users and --num-movies, found otherwise",
            "give the one or the other",
        )
    if all(counts):
        size = planning.Size(*map(int, counts))
    else:
        size = planning.size_of(ratings, items, users, test, data_config)
    found = planning.plan(size, config, planning.Speed(machine.gathers(), machine.threads()), machine.free_memory())
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
        return
    console.say(f"{found.size}:")
    console.show_tables(lambda _: [shown(found)])
    if found.memory is not None:
        free, total = planning.gigabytes(found.memory.free), planning.gigabytes(found.memory.total)
        console.say(
            f"{free} of {total} are free {found.memory.where}: training {'fits' if found.fits else 'does not fit'}"
        )


def shown(found: planning.Plan) -> Table:
    """A plan as a table."""
    table = Table("", pad_edge=False, box=None)
    for title in ("time", "memory"):
        table.add_column(title, justify="right")
    for stage in (found.prepare, found.train, *found.parts, found.lists):
        inside = stage in found.parts
        time = f"{'at most ' if stage.most else ''}{duration(stage.seconds)}"
        table.add_row(f"  {stage.name}" if inside else stage.name, time, planning.gigabytes(stage.memory))
    return table


def duration(seconds: float) -> str:
    """Seconds for people, to two digits of what matters."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"

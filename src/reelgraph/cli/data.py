"""The commands `prepare` and `plan`."""

from pathlib import Path

import click

from reelgraph import machine, planning
from reelgraph.cli import console, progress
from reelgraph.cli.help import GroupedCommand, examples
from reelgraph.cli.options import JSON, PATH, Files, data_options, settings_of
from reelgraph.config import DataConfig, TrainConfig
from reelgraph.errors import ConfigError
from reelgraph.files import check_target

COUNT = click.FloatRange(min=1)


@click.command(
    cls=GroupedCommand,
    epilog=examples(
        "reelgraph prepare ratings.csv --items movies.csv --out prepared",
        "reelgraph prepare ratings.csv --split time --test-share 0.2 --out prepared",
        "reelgraph prepare matrix.csv --matrix --missing 99 --scale 1-5 --out prepared",
    ),
)
@data_options
@click.option("--out", type=PATH, required=True, help="directory for the prepared ratings")
@settings_of(DataConfig)
def prepare(files: Files, config: DataConfig, out: Path) -> None:
    """Check, index and split RATINGS for later training.

    `train` accepts the result in place of a ratings file.
    """
    from reelgraph.data import dataset, sources  # noqa: PLC0415
    from reelgraph.data.prepare import prepare  # noqa: PLC0415

    if files.test is not None:
        config = config.model_copy(update={"split": "given"})
    check_target(out, dataset.KIND)
    with progress.job_progress() as report:
        prepare.prepare(sources.find(*files), config, out, report.note, report.jobs)
    console.show_data(dataset.read_manifest(out))


@click.command(
    cls=GroupedCommand,
    epilog=examples(
        "reelgraph plan ratings.csv",
        "reelgraph plan --num-ratings 20e6 --num-users 138e3 --num-movies 27e3",
    ),
)
@data_options
@click.option("--num-ratings", type=COUNT, help="number of ratings, instead of RATINGS; for example 20e6")
@click.option("--num-users", type=COUNT, help="number of users, instead of RATINGS")
@click.option("--num-movies", type=COUNT, help="number of movies, instead of RATINGS")
@JSON
@settings_of(TrainConfig, DataConfig)
def plan(
    files: Files, config: TrainConfig, data_config: DataConfig, num_ratings: float | None, num_users: float | None,
    num_movies: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Estimate the time and memory that a training needs.

    The estimate is for this machine, and covers preparation, training and lists for all users.
    """
    if data_config.implicit:
        config = config.without_stars()
    counts = [int(count) for count in (num_ratings, num_users, num_movies) if count]
    if counts and (files.ratings is not None or len(counts) < 3):
        expected = "either RATINGS or all of --num-ratings, --num-users and --num-movies"
        raise ConfigError(f"plan: expected {expected}", "give one or the other")
    size = planning.Size(*counts) if counts else planning.size_of(*files, data_config)
    speed = planning.Speed(machine.gathers(), machine.threads())
    estimate = planning.plan(size, config, speed, machine.free_memory())
    if as_json:
        console.show_json(estimate.to_json())
        return
    console.say(f"{estimate.size}:")
    rows = []
    for stage in (estimate.prepare, estimate.train, *estimate.parts, estimate.lists):
        name = f"  {stage.name}" if stage in estimate.parts else stage.name
        time = f"{'at most ' if stage.most else ''}{_duration(stage.seconds)}"
        rows.append((name, time, planning.gigabytes(stage.memory)))
    console.show_table("", ["", "time", "memory"], rows)
    if estimate.memory is not None:
        free, total = planning.gigabytes(estimate.memory.free), planning.gigabytes(estimate.memory.total)
        fits = "fits" if estimate.fits else "does not fit"
        console.say(f"{free} of {total} are free {estimate.memory.where}: training {fits}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"

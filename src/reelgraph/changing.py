"""The commands that change a model without a full fit: new ratings into it, users out of it."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from reelgraph import artifact, console
from reelgraph.atomic import check_target
from reelgraph.data import pairs, tables
from reelgraph.options import COLUMNS, PATH


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
    rows = pairs.read_ratings(ratings, columns or {})
    facts = None if items is None else tables.read_items(items)
    given = rows.user_ids, rows.movie_ids, rows.rating, rows.timestamps
    from reelgraph import update as updating  # noqa: PLC0415 (torch is slow to import)

    number = updating.WARM_STEPS if steps is None else steps
    larger, change = updating.update(whole, *given, item_table=facts, steps=number)
    artifact.write_artifact(larger, out)
    apart = updating.distance(larger) if compare else None
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
    from reelgraph import update as updating  # noqa: PLC0415 (torch is slow to import)

    smaller = updating.forget(whole, user)
    artifact.write_artifact(smaller, target)
    gone = whole.seen.num_rows - smaller.seen.num_rows
    console.say(f"user {user} and {gone:,} ratings are gone; model in {target}")

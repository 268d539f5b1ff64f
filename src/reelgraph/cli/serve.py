"""The commands `serve` and `export`."""

import os
from pathlib import Path

import click

from reelgraph.cli import progress
from reelgraph.cli.options import PATH, settings_of
from reelgraph.service.settings import Settings, keys_of


@click.command()
@click.argument("model", metavar="DIR", type=PATH)
@settings_of(Settings)
def serve(config: Settings, model: Path) -> None:
    """Serve the model in DIR over HTTP, with a page for visitors."""
    from reelgraph.service.server import run  # noqa: PLC0415

    run(model, config, keys_of(os.environ))


@click.command()
@click.option("--database", help="database of the service [default: REELGRAPH_DATABASE]")
@click.option("--out", type=PATH, required=True, help="Parquet file for the ratings; `train` and `update` accept it")
def export(database: str | None, out: Path) -> None:
    """Write the ratings that the service has collected.

    The columns are userId, movieId, rating and timestamp.
    """
    from reelgraph.service.database.connection import address  # noqa: PLC0415
    from reelgraph.service.database.store import Store  # noqa: PLC0415

    store = Store.open(address(database), create=False)
    count = store.export(out)
    store.close()
    progress.note(f"{out}: {count:,} ratings")

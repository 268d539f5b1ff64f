"""The command that puts a model in service."""

import os
from pathlib import Path
from typing import Any

import click

from reelgraph.options import PATH, settings, settings_of
from reelgraph.service.settings import Settings, keys_of


@click.command()
@click.argument("model", metavar="DIR", type=PATH)
@settings_of(Settings)
def serve(model: Path, **given: Any) -> None:
    """Serve the model of DIR over HTTP, with a page for visitors at /."""
    chosen = settings(Settings, None, given)
    from reelgraph.service.server import run  # noqa: PLC0415 (most commands need no web server)

    run(model, chosen, keys_of(os.environ))

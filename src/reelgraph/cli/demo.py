"""The command `demo`."""

import os
import subprocess
import sys
import threading
import webbrowser
from pathlib import Path

import click

from reelgraph import artifact
from reelgraph._version import __version__
from reelgraph.cli import progress
from reelgraph.errors import ArtifactError
from reelgraph.files import locked, output_errors
from reelgraph.service.settings import Settings, keys_of

TRAIN = ("train",)  # with the settings of the model; without any, on the bundled sample


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, help="port to listen on; 0 takes a free one [8000]"
)
@click.option("--browser/--no-browser", default=True, help="open the page in a browser")
def demo(port: int, browser: bool) -> None:
    """Serve a model of the bundled sample and open its page.

    The first run trains the model and keeps it.
    """
    import platformdirs  # noqa: PLC0415 (only this command needs it)

    model = platformdirs.user_cache_path("reelgraph") / f"demo-{__version__}"
    with output_errors(model):
        model.parent.mkdir(parents=True, exist_ok=True)
        with locked(model.parent, progress.note) as lock:
            if not _is_complete(model):
                # Another process, so that the service does not hold PyTorch; it keeps the lock if this one is killed.
                train = [sys.executable, "-m", "reelgraph", *TRAIN, "--out", str(model)]
                code = subprocess.run(train, check=False, pass_fds=lock).returncode  # noqa: S603
                if code or not _is_complete(model):
                    sys.exit(code or 130)
    from reelgraph.service.server import run  # noqa: PLC0415

    def show(url: str) -> None:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    run(model, Settings(port=port), keys_of(os.environ), ready=show if browser else None)


def _is_complete(model: Path) -> bool:
    """Whether the model can be read and its training was not interrupted."""
    try:
        return not artifact.read_artifact(model).manifest["interrupted"]
    except ArtifactError:
        return False

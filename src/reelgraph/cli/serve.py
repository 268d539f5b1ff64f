"""The commands `serve`, `export` and `learn`."""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import pyarrow as pa

from reelgraph import artifact, machine
from reelgraph.cli import console, progress
from reelgraph.cli.help import examples
from reelgraph.cli.options import JSON, PATH, settings_of
from reelgraph.config import DataConfig
from reelgraph.data import pair_files
from reelgraph.errors import ArtifactError, SetupError
from reelgraph.files import check_target
from reelgraph.service.settings import Settings, keys_of

if TYPE_CHECKING:
    from reelgraph.service.database.store import Store


@click.command(epilog=examples("reelgraph serve model", "reelgraph serve model --host 0.0.0.0 --learn-every 1h"))
@click.argument("model", metavar="DIR", type=PATH)
@settings_of(Settings)
def serve(config: Settings, model: Path) -> None:
    """Serve the model in DIR over HTTP, with a page for visitors."""
    from reelgraph.service.server import run  # noqa: PLC0415

    run(model, config, keys_of(os.environ))


@click.command(epilog=examples("reelgraph export --database model.ratings.sqlite --out new-ratings.parquet"))
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


@click.command(epilog=examples("reelgraph learn model", "reelgraph learn model --refit --memory 4"))
@click.argument("model", type=PATH)
@click.option("--database", help="database of the service [default: REELGRAPH_DATABASE, or a file beside MODEL]")
@click.option("--refit", is_flag=True, help="train anew instead of an update")
@click.option("--memory", type=click.FloatRange(min=0, min_open=True), help="most memory, in GB")
@click.option("--threads", type=click.IntRange(min=1), default=1, help="threads [1]")
@click.option(
    "--priority", type=click.Choice(["idle", "low", "normal"]), default="low", help="among other processes [low]"
)
@click.option("--parent", type=int, hidden=True, help="process with which this one ends")
@JSON
def learn(
    model: Path, database: str | None, refit: bool, memory: float | None, threads: int, parent: int | None,
    priority: Literal["idle", "low", "normal"], as_json: bool,
) -> None:  # fmt: skip
    """Learn from the ratings that the service has collected.

    The result replaces MODEL if it is no worse on the newest ratings, which neither knows. `serve --learn-every` runs
    such rounds by itself.
    """
    from reelgraph.service import learning  # noqa: PLC0415
    from reelgraph.service.database.connection import address  # noqa: PLC0415
    from reelgraph.service.database.store import Store  # noqa: PLC0415

    check_target(model, artifact.KIND)
    machine.step_back(priority)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # PyTorch reads it when it is imported.
    facts: dict[str, Any]
    began, store = time.time(), Store.open(address(database, beside=model), create=False)
    try:
        with learning.leased(store, parent) as confirm:
            if confirm is None:
                facts = {"outcome": learning.BUSY, "why": f"{store.learner()} learns at present"}
            else:
                position = store.position()
                facts = _limited_round(model, store, refit, confirm, memory) | {"position": position, "began": began}
                facts |= {"memory": machine.peak_memory(), "ended": time.time()}
                learning.record(model, facts)
    finally:
        store.close()
    if as_json:
        console.show_json(facts)
    else:
        console.say(f"{facts['outcome']}: {facts['why']}")
        for name, values in facts.get("measures", {}).items():
            console.say(
                f"{name} on the newest ratings: {values['service']:.4f} before, {values['candidate']:.4f} after"
            )


def _limited_round(
    model: Path, store: "Store", refit: bool, confirm: Callable[[], None], memory: float | None
) -> dict[str, Any]:
    try:
        with machine.limited_memory(None if memory is None else memory * 1e9):
            return _round(model, store, refit, confirm)
    except (MemoryError, RuntimeError, ArtifactError) as error:
        lack = "expected enough memory" if isinstance(error, ArtifactError) else "memory"
        if not isinstance(error, MemoryError) and lack not in str(error):
            raise
        raise SetupError(f"learn: expected to need at most {memory} GB, found more", "allow more memory") from None


def _round(model: Path, store: "Store", refit: bool, confirm: Callable[[], None]) -> dict[str, Any]:
    """Export the ratings, and learn from them."""
    old = artifact.read_artifact(model)
    stars, scale = old.has_stars, old.manifest["scale"]
    with tempfile.TemporaryDirectory(prefix="reelgraph-") as folder:
        file = Path(folder) / "ratings.parquet"
        if store.export(file):
            limits = (scale["low"], scale["high"]) if stars else None
            rows = progress.noted(pair_files.read_ratings(file, DataConfig(), limits))
            columns = [rows.user_ids, rows.movie_ids, rows.rating, rows.timestamps]
        else:
            columns = [[], [], [], []]
    from reelgraph.service.database.store import EXPORT_SCHEMA  # noqa: PLC0415
    from reelgraph.training.learning import learn as learn_from  # noqa: PLC0415

    collected = pa.table(columns, schema=EXPORT_SCHEMA)
    return asdict(learn_from(model, collected, refit=refit, may_write=confirm))

"""The commands `diff` and `rerun`."""

import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from reelgraph import artifact
from reelgraph.cli import console, progress
from reelgraph.cli.help import examples
from reelgraph.cli.options import JSON, PATH, read_settings
from reelgraph.config import DataConfig, TrainConfig
from reelgraph.data.stored_files import exists
from reelgraph.errors import ArtifactError, DataError, TrainingError
from reelgraph.evaluation.differences import SECTIONS, Differences, compare
from reelgraph.files import check_target
from reelgraph.recommend.recommender import open_model

_LONGEST_WORD = 20  # characters, so that a name and two values fit a line
_SHOWN = ("metrics.", "ranking.", "analysis.lists.default.")  # of the metrics; --json has all of them


@click.command(epilog=examples("reelgraph diff earlier model"))
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@JSON
def diff(first: Path, second: Path, as_json: bool) -> None:
    """Show how two models differ.

    Compares their data, settings, versions, metrics, weights, predictions and lists.
    """
    _show(compare(open_model(first), open_model(second)), (str(first), str(second)), as_json)


@click.command(epilog=examples("reelgraph rerun model", "reelgraph rerun model --ratings moved/ratings.csv"))
@click.argument("model", type=PATH)
@click.option("--ratings", type=PATH, help="the ratings, if they are no longer where the training read them")
@click.option("--items", type=PATH, help="the movie table, likewise")
@click.option("--users", type=PATH, help="the user table, likewise")
@click.option("--test", type=PATH, help="the test ratings, likewise")
@click.option("--out", type=PATH, help="directory for the new model [default: it is not kept]")
@JSON
def rerun(model: Path, out: Path | None, as_json: bool, **moved: Path | None) -> None:
    """Repeat the training of MODEL and compare the results.

    The training is repeated as the manifest of MODEL describes it. The exit code is 2 if the result differs.
    """
    old = open_model(model)
    manifest = old.artifact.manifest
    _check_repeatable(manifest, model)
    files = [_input(manifest["data"]["inputs"], name, path) for name, path in moved.items()]
    data_config = read_settings(DataConfig, None, manifest["data"]["settings"])
    several = {"processes": manifest["processes"]} if manifest["processes"] > 1 else {}  # not given to each of them
    config = read_settings(TrainConfig, None, manifest["given"] | several)
    # Sums over other numbers of threads round differently. PyTorch reads this when it is imported.
    os.environ["OMP_NUM_THREADS"] = str(manifest["machine"]["threads"])
    from reelgraph.data import load  # noqa: PLC0415
    from reelgraph.training import launch, runner  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="reelgraph-") as folder:
        target = Path(folder) / "model" if out is None else out
        check_target(target, artifact.KIND)
        checkpoints = runner.Checkpoints(target.with_name(f"{target.name}.checkpoint"))
        with launch.prepared_place(config, checkpoints, None) as place:
            with progress.job_progress() as report:
                where = load.prepared(*files, config=data_config, out=place, report=report.note, watch=report.jobs)
            with progress.fit_progress() as observe:
                new = launch.train(where, target, config, checkpoints, data_config.engine, observe)
        assert new is not None  # only a launched process has none
        found = compare(old, new)
    _show(found, ("before", "now"), as_json)
    if not found.same_result:
        raise TrainingError(
            f"{model}: expected the same weights and metrics again, found others",
            "see above whether data, settings or versions differ",
        )


def _check_repeatable(manifest: dict[str, Any], model: Path) -> None:
    if manifest.get("changes"):
        problem, remedy = "a model that was updated or forgot users", "repeat the training of the model before that"
    elif manifest.get("interrupted"):
        problem, remedy = "an interrupted one", "train again with --resume"
    elif not {"given", "machine"} <= manifest.keys() or not {"inputs", "settings"} <= manifest["data"].keys():
        problem, remedy = "no record of its inputs and settings", "train again with this version"
    else:
        return
    raise ArtifactError(f"{model}: expected a complete training that can be repeated, found {problem}", remedy)


def _input(inputs: dict[str, dict[str, Any]], name: str, moved: Path | None) -> Path | None:
    """The file to read: as given, else as the training read it; None for the bundled sample."""
    path = inputs.get(name, {}).get("path")
    if moved is None and path is not None and not exists(Path(path)):
        raise DataError(f"{path}: expected the {name} of the training, found no such file", f"name it with --{name}")
    return moved or (None if path is None else Path(path))


def _show(found: Differences, names: tuple[str, str], as_json: bool) -> None:
    if as_json:
        console.show_json(asdict(found) | {"same_result": found.same_result})
        return
    for section in SECTIONS:
        rows = [
            [name, *map(_cell, values)]
            for name, values in getattr(found, section).items()
            if section != "metrics" or name.startswith(_SHOWN)
        ]
        if rows:
            console.show_table(section.capitalize(), ["", *names], rows, left=(0, 1, 2))
    if found.same_result:
        console.say("Weights and metrics are identical.")
    else:
        sizes = [size for size in found.weights.values() if size is not None]
        others = len(found.weights) - len(sizes)
        console.say(
            f"Weights: {len(sizes)} arrays differ, by at most {max(sizes, default=0.0):.2g}"
            + (f"; {others} have another shape or are in one model only" if others else "")
        )
    apart = found.distance
    if apart is None:
        console.say("The models have no user or no movie in common.")
        return
    text = str(apart)
    console.say(text[0].upper() + text[1:])


def _cell(value: Any) -> str:
    text = "-" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
    short = len(text) <= 40 and all(len(word) <= _LONGEST_WORD for word in text.split())
    return text if short else f"{text[:16]}... ({len(text)} characters)"

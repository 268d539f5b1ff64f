"""Checkpoints of a fit as safetensors files; a resumed fit ends with the same result as one never stopped."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from reelgraph.errors import ArtifactError, OutputError
from reelgraph.files import new_file, output_errors
from reelgraph.training.loop import Evaluation, Fit

VERSION = 2


def save(fit: Fit, path: Path, identity: dict[str, Any]) -> None:
    """Write a checkpoint; if that fails, an older one stays. The identity must be the same on resume, as JSON."""
    progress, moments, random = fit.progress, fit.adam.moments, fit.random_state
    groups = {
        "model": fit.model.state_dict(),
        "best": progress.best,
        "average": progress.average,
        "random": {} if random is None else {random_name(fit): random},
        "adam": {f"{part}.{name}": value for part, values in moments.items() for name, value in values.items()},
    }
    groups = _each_table(fit, groups, fit.shard.whole)
    if fit.shard.rank:
        return  # Rank 0 writes the tables of all processes, so that any number of processes can resume.
    # Weights and best weights may share storage, which the format forbids.
    tensors = {
        f"{group}/{name}": value.contiguous().clone() for group, part in groups.items() for name, value in part.items()
    }
    state = {
        "version": VERSION,
        "identity": identity,
        "step": progress.step,
        "best_step": progress.best_step,
        "seconds": progress.seconds,
        "history": [asdict(line) for line in progress.history],
    }
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with new_file(path) as temporary:
            save_file(tensors, temporary, {"state": json.dumps(state)})
    except OutputError:
        with suppress(OSError):
            path.parent.rmdir()  # The directory stays if it holds an older checkpoint.
        raise


def restore(fit: Fit, path: Path, identity: dict[str, Any]) -> None:
    """Set a new fit and the random generator to the state in a checkpoint of the same settings and data."""
    remedy = f"remove {path} to start afresh, or run again without --resume"
    try:
        with safe_open(path, framework="pt", device=str(fit.model.graph.rating.device)) as file:
            state = json.loads(file.metadata()["state"])
            version = state["version"]
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: expected a checkpoint, found a damaged file ({error})", remedy) from None
    if version != VERSION:
        raise ArtifactError(f"{path}: expected checkpoint version {VERSION}, found {version}", remedy)
    changed = [name for name in identity if state["identity"].get(name) != identity[name]]
    if changed:
        raise ArtifactError(f"{path}: expected the same {', '.join(changed)} as this run's, found others", remedy)
    parts: dict[str, dict[str, Tensor]] = {"best": {}, "average": {}, "model": {}, "random": {}, "adam": {}}
    for key, value in tensors.items():
        group, name = key.split("/", 1)
        parts[group][name] = value
    parts = _each_table(fit, parts, fit.shard.own)
    constants = {name: value for name, value in fit.weights().items() if name in fit.model.constants}
    for group in ("model", "best", "average"):
        if parts[group]:
            parts[group] |= constants
    fit.model.load_state_dict(parts["model"])
    for key, value in parts["adam"].items():
        part, name = key.split(".", 1)
        fit.adam.moments[part][name] = value
    progress = fit.progress
    progress.step, progress.best_step, progress.seconds = state["step"], state["best_step"], state["seconds"]
    progress.history = [Evaluation(**line) for line in state["history"]]
    progress.best, progress.average = parts["best"], parts["average"]
    random, name = fit.shard.random, random_name(fit)
    if random is not None and name in parts["random"]:  # not of another device
        random.set_state(parts["random"][name].cpu())


def random_name(fit: Fit) -> str:
    """The name of the state of a fit's random generator, which depends on the device."""
    device = fit.model.graph.rating.device.type
    return "state" if device == "cpu" else device


def _each_table(
    fit: Fit, groups: dict[str, dict[str, Tensor]], change: Callable[[Tensor], Tensor]
) -> dict[str, dict[str, Tensor]]:
    """Apply `change` to the tensors with one row per node, and leave out the model's constants."""

    def changed(group: str, key: str, value: Tensor) -> Tensor:
        name = key.split(".", maxsplit=1)[1] if group == "adam" else key
        return change(value) if name in fit.model.node_tables else value

    return {
        group: {key: changed(group, key, value) for key, value in part.items() if key not in fit.model.constants}
        for group, part in groups.items()
    }

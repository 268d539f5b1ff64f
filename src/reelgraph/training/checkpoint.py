"""A fit that stopped midway, on disk: it goes on to the same result as if it had never stopped.

One safetensors file holds the weights, the best ones, the running average, Adam's moments and the state of the random
generator; the rest is JSON in its header. No pickle.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from reelgraph.errors import ArtifactError, OutputError
from reelgraph.files import new_file, output_errors
from reelgraph.training.loop import Evaluation, Fit

VERSION = 1


def save(fit: Fit, path: Path, identity: dict[str, Any]) -> None:
    """Write where a fit stands.

    Args:
        fit: the fit, between two steps.
        path: the file, replaced whole.
        identity: what must be the same when the fit goes on: settings, data, phase; JSON values.

    Raises:
        OutputError: if it cannot be written; an older checkpoint is then left as it was.
    """
    progress = fit.progress
    groups = {
        "model": fit.model.state_dict(),
        "best": progress.best,
        "average": progress.average,
        "random": {"state": torch.get_rng_state()},
        "adam": {
            f"{number}.{name}": value
            for number, moments in fit.optimizer.state_dict()["state"].items()
            for name, value in moments.items()
        },
    }
    groups = _each_table(fit, groups, fit.shard.whole)
    if fit.shard.rank:
        return  # The leader writes all processes' tables, so that any number of processes can go on.
    tensors = {f"{group}/{name}": value.contiguous() for group, part in groups.items() for name, value in part.items()}
    state = {
        "version": VERSION,
        "identity": identity,
        "step": progress.step,
        "best_step": progress.best_step,
        "seconds": progress.seconds,
        "history": [asdict(line) for line in progress.history],
    }
    # Weights and best weights may share storage, which the format forbids; a clone is cheap against the fit.
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with new_file(path) as temporary:
            save_file({name: value.clone() for name, value in tensors.items()}, temporary, {"state": json.dumps(state)})
    except OutputError:
        with suppress(OSError):
            path.parent.rmdir()  # Nothing is left behind, unless an older checkpoint is there.
        raise


def restore(fit: Fit, path: Path, identity: dict[str, Any]) -> None:
    """Put a fresh fit where the checkpoint's stood, the random generator included.

    Raises:
        ArtifactError: if the file is damaged, of another version, or of other settings or data.
    """
    remedy = f"remove {path} to start afresh, or run again without --resume"
    try:
        with safe_open(path, framework="pt") as file:
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
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in parts["adam"].items():
        number, name = key.split(".", 1)
        moments.setdefault(int(number), {})[name] = value
    fit.optimizer.load_state_dict(fit.optimizer.state_dict() | {"state": moments})
    progress = fit.progress
    progress.step, progress.best_step, progress.seconds = state["step"], state["best_step"], state["seconds"]
    progress.history = [Evaluation(**line) for line in state["history"]]
    progress.best, progress.average = parts["best"], parts["average"]
    torch.set_rng_state(parts["random"]["state"])


def _each_table(
    fit: Fit, groups: dict[str, dict[str, Tensor]], change: Callable[[Tensor], Tensor]
) -> dict[str, dict[str, Tensor]]:
    """The groups without the model's constants, with every tensor changed that has one row per node."""
    names = {parameter: name for name, parameter in fit.model.named_parameters()}
    numbered = [names[parameter] for group in fit.optimizer.param_groups for parameter in group["params"]]

    def changed(group: str, key: str, value: Tensor) -> Tensor:
        name = numbered[int(key.split(".", maxsplit=1)[0])] if group == "adam" else key
        return change(value) if value.ndim and name in fit.model.node_tables else value

    return {
        group: {key: changed(group, key, value) for key, value in part.items() if key not in fit.model.constants}
        for group, part in groups.items()
    }

"""One run: builds a model over the ratings, checks it for leaks, fits it and keeps checkpoints."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any

import torch

from reelgraph.artifact import Artifact
from reelgraph.config import TrainConfig
from reelgraph.data.dataset import Interactions, merge
from reelgraph.files import remove
from reelgraph.models import RankingModel
from reelgraph.models.graph import BipartiteGraph, build_graph
from reelgraph.models.shard import Shard
from reelgraph.training import checkpoint
from reelgraph.training.leaks import check_model
from reelgraph.training.loop import Fit, Progress, Spare, history_rows
from reelgraph.training.runs import Runs
from reelgraph.training.validation import Validation

Observe = Callable[[str, Progress, TrainConfig], None]
State = dict[str, torch.Tensor]

# A resumed fit may change these settings.
RESUMABLE = {"max_steps", "patience", "checkpoint_seconds", "processes", "use_all", "device"}


@dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints are kept."""

    directory: Path  # of one file per phase, such as `fit.safetensors`; removed after a complete training
    resume: bool = False

    def remove(self, artifact: Artifact) -> None:
        """Remove the checkpoints if the training is complete."""
        if not artifact.manifest["interrupted"]:
            remove(self.directory)


@dataclass(frozen=True)
class Run:
    """A fitted model."""

    model: Any  # in a distributed training, this process's part of it
    progress: Progress
    config: TrainConfig
    train: Interactions  # the ratings it was fitted to
    before: int  # steps of the run that it continues, and its history
    earlier: list[dict[str, Any]]
    fit: Fit | None = None  # that made it, where other runs continue it

    @property
    def steps(self) -> int:
        """The steps that lead to the model."""
        return self.before + (self.progress.best_step or self.progress.step)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of `history.csv` from the first step on."""
        rows, lines = history_rows(self.progress), self.progress.history
        own = [row | {"step": self.before + line.step} for row, line in zip(rows, lines, strict=True)]
        return [row for row in self.earlier if row["step"] <= self.before] + own


@dataclass(frozen=True)
class Runner:
    """Runs fits of one kind."""

    runs: Runs
    observe: Observe  # called after every step with the phase, its progress and its settings
    checkpoints: Checkpoints | None = None  # None keeps none
    stop: Event | None = None  # set by Ctrl-C; ends the fits of all runners that share it
    spare: Spare | None = None  # processors that the fits of all runners share

    def fit(self, phase: str, config: TrainConfig, start: Run | None = None) -> Run:
        """Fit on the training ratings, stopping by validation where there are validation ratings; see `Fit`.

        With a start, go on from its weights and its step size. The phase names the checkpoint; it must be the same when
        the fit is resumed.
        """
        return self._run(phase, self._graph, self.runs.data.train, self.runs.valid, config, start)

    def refit(self, chosen: Run, rescale: bool) -> Run:
        """Continue or repeat the chosen fit on training and validation ratings together, with its settings.

        `rescale` adapts the L2 strength to the number of ratings.
        """
        data, config = self.runs.data, chosen.config
        train = merge(data.train, data.valid)
        if rescale:
            change = self.runs.l2_rule(len(train)) / self.runs.l2_rule(len(data.train))
            config = config.model_copy(update={"l2": config.rates(len(data.train)).l2 * change})
        start = None if self.runs.refit_anew else chosen
        steps = chosen.steps if start is None else config.refit_steps(chosen.steps, len(data.train))
        later = config.model_copy(update={"max_steps": steps})
        return replace(self._run("refit", self._build(train), train, None, later, start), config=config)

    def whole(self, run: Run) -> Any:
        """A run's model with all users; in a distributed training None in all processes but rank 0."""
        shard = run.model.graph.shard
        if shard.size == 1:
            return run.model
        state = whole_state(run.model)
        if shard.rank:
            return None
        graph = build_graph(run.train, shard.num_users, shard.num_items, alone=True)
        model: Any = self.runs.build(graph, run.train, run.config)
        model.load_state_dict(state)
        return model

    @cached_property
    def _graph(self) -> BipartiteGraph:
        return self._build(self.runs.data.train)

    def _build(self, train: Interactions) -> BipartiteGraph:
        return build_graph(train, len(self.runs.data.users), len(self.runs.data.items))

    def _run(
        self, phase: str, graph: BipartiteGraph, train: Interactions, valid: Validation | None, config: TrainConfig,
        start: Run | None = None,
    ) -> Run:  # fmt: skip
        phase = self.runs.prefix + phase
        graph.shard.seed(config.seed)
        model: Any = self.runs.build(graph, train, config)
        if start is not None:
            model.load_state_dict(map_tables(start.model, whole_state(start.model), graph.shard.own))
        elif isinstance(model, RankingModel):
            model.start_linear()
        check_model(model, train)
        fit = Fit(model, config, valid, 0 if start is None else start.steps, self.spare)
        if start is not None:
            fit.adam.moments = moments_for(start, graph.shard)
        kept = None if self.runs.refit_anew else fit
        run = Run(model, fit.progress, config, train, fit.before, [] if start is None else start.history, kept)
        if self.checkpoints is None:
            fit.run(lambda progress: self.observe(phase, progress, config), self.stop)
            return run
        path = self.checkpoints.directory / f"{phase.replace(' ', '-')}.safetensors"
        identity = {"settings": config.model_dump(mode="json", exclude=RESUMABLE), "data": self._identity}
        if self.checkpoints.resume and path.exists():
            checkpoint.restore(fit, path, identity)
        saved = time.monotonic()

        def keep(progress: Progress) -> None:
            nonlocal saved
            self.observe(phase, progress, config)
            due = time.monotonic() - saved >= config.checkpoint_seconds
            if graph.shard.agree(fit.done or progress.interrupted or due):
                checkpoint.save(fit, path, identity)
                saved = time.monotonic()

        fit.run(keep, self.stop)
        return run

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """Everything that a fit reads of its data, as JSON."""
        data = self.runs.data
        tables = repr([table.to_pydict() for table in (data.user_table, data.item_table)])
        return {
            "ratings": data.manifest["split"]["fingerprints"],
            "scale": list(data.scale),
            "tables": hashlib.sha256(tables.encode()).hexdigest(),
        }


def moments_for(start: Run, shard: Shard) -> dict[str, State]:
    """Copies of Adam's moments at the end of a run, with the rows of a shard."""
    assert start.fit is not None
    moments = {}
    for part, values in start.fit.adam.moments.items():
        whole = map_tables(start.model, values, start.model.graph.shard.whole)
        moments[part] = {name: value.clone() for name, value in map_tables(start.model, whole, shard.own).items()}
    return moments


def whole_state(model: Any) -> State:
    """A model's parameters with the rows of all users, in every process of a distributed training."""
    return map_tables(model, model.state_dict(), model.graph.shard.whole)


def map_tables(model: Any, state: State, change: Callable[[torch.Tensor], torch.Tensor]) -> State:
    """Apply `change` to the parameters with one row per node."""
    return {name: change(value) if name in model.node_tables else value for name, value in state.items()}

"""One run of a model over a data set: graph, leak check, loop, checkpoint."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from reelgraph.arrays import Float32s
from reelgraph.config import LIKED, TrainConfig, l2_rule, rank_l2_rule
from reelgraph.data import side_features
from reelgraph.data.dataset import Dataset, Interactions, merge
from reelgraph.models import GCNModel, RankingModel, ResidualModel
from reelgraph.models.graph import BipartiteGraph, build_graph
from reelgraph.training import checkpoint
from reelgraph.training.leaks import check_model
from reelgraph.training.loop import Fit, Progress

Features = Float32s | None

Observe = Callable[[str, Progress, TrainConfig], None]


@dataclass(frozen=True)
class Checkpoints:
    """Where a fit's checkpoints go, and whether to go on from them.

    Attributes:
        directory: holds one file a phase, such as `fit.safetensors` and `refit.safetensors`; removed after a whole fit.
        resume: go on from the files that are there.
    """

    directory: Path
    resume: bool = False


@dataclass(frozen=True)
class Run:
    """A fitted model and how it got there.

    Attributes:
        model: the model; in a distributed training, this process's part of it.
        progress: its fit.
        config: its settings.
        train: the ratings it was fitted to.
    """

    model: Any
    progress: Progress
    config: TrainConfig
    train: Interactions


@dataclass(frozen=True)
class Runner:
    """What all runs of one fit share.

    Attributes:
        data: the ratings.
        observe: called after every step with the phase, its progress and its settings.
        checkpoints: where to keep checkpoints; None keeps none.
        ranks: fit the ranking head in place of a rating model; its phases are called "rank fit" and so on.
    """

    data: Dataset
    observe: Observe
    checkpoints: Checkpoints | None = None
    ranks: bool = False

    def fit(self, phase: str, config: TrainConfig, give_up: Callable[[Progress], bool] | None = None) -> Run:
        """Fit on the training ratings, stopping by the validation ratings where there are any.

        Args:
            phase: a name, the same when the fit is resumed.
            config: settings.
            give_up: asked before every step whether to stop early; must depend on the progress alone.
        """
        judged = self.data.valid.rating >= self.liked if self.ranks else self.data.valid.rating
        valid = self.data.valid if len(self.data.valid) and judged.any() else None
        return self._run(phase, self._graph, self.data.train, valid, config, give_up)

    def refit(self, chosen: Run, rescale: bool) -> Run:
        """Fit on training and validation ratings: from the start, or from a fit's weights where ratings are many.

        Args:
            chosen: the fit on the training ratings alone, with the settings chosen by it.
            rescale: weaken the L2 strength as the rule does for so many more ratings.
        """
        train, config = merge(self.data.train, self.data.valid), chosen.config
        best = chosen.progress.best_step or chosen.progress.step
        if rescale:
            rule = rank_l2_rule if self.ranks else l2_rule
            more = rule(len(train)) / rule(len(self.data.train))
            config = config.model_copy(update={"l2": config.rates(len(self.data.train)).l2 * more})
        graph, state, exact = self._build(train), None, config.going_on(len(self.data.train), best)
        if exact is None:
            exact = config.model_copy(update={"max_steps": best})
        else:
            state = {
                name: graph.shard.own(value) if name in chosen.model.node_tables else value
                for name, value in _whole_state(chosen.model).items()
            }
        run = self._run("refit", graph, train, None, exact, None, state)
        return replace(run, config=config)

    def whole(self, run: Run) -> Any:
        """A run's model with all users; in a distributed training the leader's, and None in the other processes."""
        shard = run.model.graph.shard
        if shard.size == 1:
            return run.model
        state = _whole_state(run.model)
        if shard.rank:
            return None
        graph = build_graph(run.train, shard.num_users, shard.num_items, alone=True)
        model = self._ranking_model(graph, run.train, run.config) if self.ranks else self._model(graph, run.config)
        model.load_state_dict(state)
        return model

    @property
    def liked(self) -> float:
        """The rating from which on a movie counts as liked."""
        return LIKED * self.data.scale[1]

    def has_features(self, config: TrainConfig) -> bool:
        """Whether users or movies have side features that a model with these settings uses."""
        used = self._features[1:] if self.ranks else self._features
        return config.side_features and any(matrix is not None for matrix in used)

    @cached_property
    def _features(self) -> tuple[Features, Features]:
        """Side features of users and of movies."""
        user, item = (side_features.encode(table) for table in (self.data.user_table, self.data.item_table))
        return user and user[0], item and item[0]

    @cached_property
    def _graph(self) -> BipartiteGraph:
        return self._build(self.data.train)

    def _build(self, train: Interactions) -> BipartiteGraph:
        return build_graph(train, len(self.data.users), len(self.data.items))

    def _run(
        self,
        phase: str,
        graph: BipartiteGraph,
        train: Interactions,
        valid: Interactions | None,
        config: TrainConfig,
        give_up: Callable[[Progress], bool] | None,
        state: dict[str, torch.Tensor] | None = None,
    ) -> Run:
        phase = f"rank {phase}" if self.ranks else phase
        torch.manual_seed(config.seed)
        model = self._ranking_model(graph, train, config) if self.ranks else self._model(graph, config)
        check_model(model, graph, train)
        if state is not None:
            model.load_state_dict(state)
        fitting = Fit(model, config, valid, self.data.scale, give_up)
        if self.checkpoints is None:
            return Run(model, fitting.run(lambda progress: self.observe(phase, progress, config)), config, train)
        path = self.checkpoints.directory / f"{phase.replace(' ', '-')}.safetensors"
        # max_steps and patience may be raised for a resumed fit; everything else must be what it was.
        settings = config.model_dump(mode="json", exclude={"max_steps", "patience", "checkpoint_seconds", "processes"})
        identity = {"settings": settings, "data": self._identity}
        if self.checkpoints.resume and path.exists():
            checkpoint.restore(fitting, path, identity)
        saved = time.monotonic()

        def keep(progress: Progress) -> None:
            nonlocal saved
            self.observe(phase, progress, config)
            due = time.monotonic() - saved >= config.checkpoint_seconds
            if graph.shard.agree(fitting.done or progress.interrupted or due):
                checkpoint.save(fitting, path, identity)
                saved = time.monotonic()

        return Run(model, fitting.run(keep), config, train)

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """All that a fit reads of its data, as JSON."""
        tables = repr([table.to_pydict() for table in (self.data.user_table, self.data.item_table)])
        return {
            "ratings": self.data.manifest["split"]["fingerprints"],
            "scale": list(self.data.scale),
            "tables": hashlib.sha256(tables.encode()).hexdigest(),
        }

    def _ranking_model(self, graph: BipartiteGraph, train: Interactions, config: TrainConfig) -> RankingModel:
        item = self._features[1] if config.side_features else None
        return RankingModel(
            graph,
            torch.from_numpy(graph.shard.local(train).rating >= self.liked),
            dim=config.dim,
            hide=config.hide,
            newcomers=config.newcomers,
            dropout=config.dropout,
            temperature=config.temperature,
            item_features=item,
        )

    def _model(self, graph: BipartiteGraph, config: TrainConfig) -> GCNModel | ResidualModel:
        if config.model == "gcn":
            return GCNModel(graph, scale=self.data.scale, dim=config.dim, dropout=config.dropout)
        user, item = self._features if config.side_features else (None, None)
        if user is not None:
            user = user[slice(*graph.shard.users)]
        return ResidualModel(
            graph,
            dim=config.dim,
            hide=config.hide,
            newcomers=config.newcomers,
            dropout=config.dropout,
            user_features=user,
            item_features=item,
        )


def _whole_state(model: Any) -> dict[str, torch.Tensor]:
    """A model's parameters with the rows of all users, in every process of a distributed training."""
    shard = model.graph.shard
    return {
        name: shard.whole(value) if name in model.node_tables else value for name, value in model.state_dict().items()
    }

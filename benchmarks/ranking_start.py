"""Validation measures of the ranking head by step: python benchmarks/ranking_start.py PREPARED [NAME=VALUE ...].

NAME is a setting of the head's loop, such as `dim`, or a constant of its start, such as `PENALTY`. `--random` starts
from random tables, `--block` sets half of the ratings of a quarter of the users aside in place of the validation
ratings. Prints the mean over seeds. No test rating takes part.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from reelgraph import machine
from reelgraph.config import TrainConfig
from reelgraph.data.dataset import Dataset, load_prepared, merge

EVERY = 10  # steps between two measures


def main() -> None:
    """Fit the head for each seed and print its measures."""
    machine.set_environment()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("changes", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seeds", default="0,1", help="of tables and blocks [0,1]")
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--block", action="store_true")
    given = parser.parse_intermixed_args()
    changes = {name: float(value) if "." in value else int(value) for name, value in map(_pair, given.changes)}
    runs = [fit(given, int(seed), changes) for seed in given.seeds.split(",")]
    measures = np.mean([run[0] for run in runs], axis=0)
    start, step = np.mean([run[1] for run in runs], axis=0)
    for (ndcg, recall), number in zip(measures, range(0, given.steps + 1, EVERY), strict=True):
        sys.stdout.write(f"step {number:3}: nDCG@10 {ndcg:.4f}, Recall@20 {recall:.4f}\n")
    sys.stdout.write(f"start {start:.2f} s, step {step:.3f} s of CPU time\n")


def _pair(change: str) -> tuple[str, str]:
    name, _, value = change.partition("=")
    return name, value


def block(data: Dataset, seed: int) -> Dataset:
    """Half of the ratings of a quarter of the users as validation ratings, all others as training ratings."""
    rng, every = np.random.default_rng(seed), merge(data.train, data.valid)
    aside = (rng.random(len(data.users)) < 0.25)[every.user_index] & (rng.random(len(every)) < 0.5)
    return replace(data, train=every.take(~aside), valid=every.take(aside))


def fit(given: Any, seed: int, changes: dict[str, Any]) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """The measures at each evaluation, and CPU seconds of the start and of a step."""
    from reelgraph.metrics.ranking import evaluate_ranking  # noqa: PLC0415
    from reelgraph.models import linear_start, ranking_head  # noqa: PLC0415
    from reelgraph.models.graph import build_graph  # noqa: PLC0415
    from reelgraph.models.sparse import quiet_sparse  # noqa: PLC0415
    from reelgraph.training.loop import Fit  # noqa: PLC0415
    from reelgraph.training.runs import RankingRuns  # noqa: PLC0415

    data = load_prepared(given.prepared)
    data = block(data, seed) if given.block else data
    constants = {name: changes[name] for name in changes if name.isupper()}
    modules = [(module, name) for module in (ranking_head, linear_start) for name in constants if hasattr(module, name)]
    loop = {name: value for name, value in changes.items() if not name.isupper()}
    config = TrainConfig().for_ranking(len(data.train))
    config = config.model_copy(update=loop | {"max_steps": given.steps})
    measures: list[tuple[float, float]] = []
    spent, began = 0.0, 0.0

    def measure(model: Any) -> None:
        user, item, bias = (array.numpy() for array in model.scores())
        report = evaluate_ranking(
            lambda users: user[users] @ item.T + bias, data.train, data.valid, len(data.items), data.scale[1]
        )
        measures.append((report.ndcg, report.recall))

    def observe(progress: Any) -> None:
        nonlocal spent
        if progress.step % EVERY == 0:
            spent += time.process_time() - began
            live = {name: value.clone() for name, value in model.state_dict().items()}
            model.load_state_dict(fitting.weights())
            measure(model)
            model.load_state_dict(live)
            begin()

    def begin() -> None:
        nonlocal began
        began = time.process_time()

    with quiet_sparse():
        graph = build_graph(data.train, len(data.users), len(data.items))
        graph.shard.seed(seed)
        model: Any = RankingRuns(data).build(graph, data.train, config)
        begin()
        if not given.random:
            for module, name in modules:
                patch.object(module, name, constants[name]).start()
            model.start_linear()
        start = time.process_time() - began
        measure(model)
        begin()
        fitting = Fit(model, config, None)
        fitting.run(observe)
    return measures, (start, spent / max(given.steps, 1))


if __name__ == "__main__":
    main()

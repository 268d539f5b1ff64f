"""Errors of refits by the length of the fit: python benchmarks/lengths.py RATINGS [NAME=VALUE ...].

NAME is a setting of the training, such as `huber_delta`. For each seed, a tenth of the ratings is set aside for judging
and a tenth of the others for validation; `--block` sets half of the ratings of a quarter of the users aside instead. A
fit takes the largest of `--stages` steps without stopping early. From its weights at each stage, a refit on all other
ratings takes as many steps again. Prints the mean validation RMSE of the fit at each stage, and the mean RMSE of the
refit on the ratings set aside after half of its steps and after all of them.
"""

import argparse
import sys
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np

from reelgraph import machine
from reelgraph.config import DataConfig, TrainConfig
from reelgraph.data.dataset import Dataset, merge

Errors = dict[int, tuple[float, float, float]]  # by stage: of the fit, and of the refit after half and all of its steps


def main() -> None:
    """Measure each seed and print the means."""
    machine.set_environment()
    from reelgraph.data.load import load  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ratings")
    parser.add_argument("changes", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--items")
    parser.add_argument("--users")
    parser.add_argument("--stages", default="150,200,300", help="multiples of 20 steps [150,200,300]")
    parser.add_argument("--seeds", default="0,1,2,3", help="of splits, blocks and fits [0,1,2,3]")
    parser.add_argument("--block", action="store_true")
    given = parser.parse_intermixed_args()
    changes = dict(change.split("=", 1) for change in given.changes)
    stages, found = [int(stage) for stage in given.stages.split(",")], []
    for seed in map(int, given.seeds.split(",")):
        split = DataConfig(split="random", split_seed=seed)
        data = load(given.ratings, items=given.items, users=given.users, config=split)
        config = TrainConfig.model_validate(changes | {"seed": seed})
        found.append(measure(block(data, seed) if given.block else data, config, stages))
    for stage in stages:
        fit, half, whole = np.mean([errors[stage] for errors in found], axis=0)
        sys.stdout.write(f"{stage:4} steps: fit {fit:.4f}, refit {half:.4f} after half, {whole:.4f} after all\n")


def block(data: Dataset, seed: int) -> Dataset:
    """The data with half of the ratings of a quarter of the users as test ratings."""
    rng, every = np.random.default_rng(seed), merge(data.train, merge(data.valid, data.test))
    chosen = np.zeros(len(data.users), bool)
    chosen[rng.permutation(len(chosen))[: len(chosen) // 4]] = True
    aside = chosen[every.user_index] & (rng.random(len(every)) < 0.5)
    valid = ~aside & (rng.random(len(every)) < 0.1)
    return replace(data, train=every.take(~aside & ~valid), valid=every.take(valid), test=every.take(aside))


def measure(data: Dataset, config: TrainConfig, stages: list[int]) -> Errors:
    """The errors at each stage."""
    from reelgraph.models.graph import build_graph  # noqa: PLC0415
    from reelgraph.training.devices import running_on  # noqa: PLC0415
    from reelgraph.training.loop import Fit, Progress, few_threads  # noqa: PLC0415
    from reelgraph.training.runs import RatingRuns  # noqa: PLC0415
    from reelgraph.training.validation import RatingValidation  # noqa: PLC0415

    runs, both = RatingRuns(data), merge(data.train, data.valid)
    rates = config.rates(len(data.train))
    config = config.model_copy(update=rates._asdict() | {"patience": 10**6})

    def start(train: Any, steps: int, valid: RatingValidation | None, weights: Any = None, before: int = 0) -> Fit:
        graph = build_graph(train, len(data.users), len(data.items))
        graph.shard.seed(config.seed)
        l2 = rates.l2 * runs.l2_rule(len(train)) / runs.l2_rule(len(data.train))
        model: Any = runs.build(graph, train, config)
        if weights is not None:
            model.load_state_dict(weights)
        return Fit(model, config.model_copy(update={"max_steps": steps, "l2": l2}), valid, before)

    kept: dict[int, tuple[Any, Any]] = {}

    def keep(progress: Progress) -> None:
        if progress.step in stages:
            kept[progress.step] = fit.weights(), deepcopy(fit.adam.moments)

    found: Errors = {}
    with running_on("cpu"), few_threads(len(both)):
        fit = start(data.train, max(stages), runs.valid)
        fit.run(keep)
        for stage in stages:
            weights, moments = kept[stage]
            again = start(both, stage, RatingValidation(data.test, data.scale), weights, stage)
            again.adam.moments = moments
            rows = {line.step: line.valid_rmse for line in again.run(lambda _: None).history}
            fitted = next(line.valid_rmse for line in fit.progress.history if line.step == stage)
            found[stage] = fitted, rows[stage // 20 * 10], rows[stage]
    return found


if __name__ == "__main__":
    main()

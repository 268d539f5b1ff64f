"""Where a step of the rating head spends its time: python benchmarks/step.py PREPARED; PyTorch's profiler, printed.

The steps before the one that is profiled make PyTorch's buffers. Shows the step without the profiler, too, and the
peak of the process's memory.
"""

import argparse
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from reelgraph import capacity
from reelgraph.config import TrainConfig
from reelgraph.data.dataset import load_prepared
from reelgraph.graph import build_graph
from reelgraph.models import ResidualModel
from reelgraph.pipeline import quiet_sparse
from reelgraph.training import Fit

BEFORE = 5  # steps


def main() -> None:
    """Take some steps, profile one more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--rows", type=int, default=12, help="operations to show [12]")
    given = parser.parse_args()
    config = TrainConfig(max_steps=BEFORE, eval_every=BEFORE)
    data = load_prepared(given.prepared)
    torch.manual_seed(0)
    with quiet_sparse():
        graph = build_graph(data.train, len(data.users), len(data.items))
        model = ResidualModel(
            graph, dim=config.dim, hide=config.hide, dropout=config.dropout, newcomers=config.newcomers
        )
        ends = [time.perf_counter()]
        fit = Fit(model, config, None, data.scale)
        fit.run(lambda _: ends.append(time.perf_counter()))
        memory = capacity.peak_memory()
        again = Fit(model, config.model_copy(update={"max_steps": 1}), None, data.scale)
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            again.run(lambda _: None)
    table = profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=given.rows)
    step = statistics.median(end - start for start, end in pairwise(ends[1:]))
    sys.stdout.write(
        f"{table}\n{len(data.train):,} training ratings, {graph.num_nodes:,} users and movies, {config.dim} "
        f"dimensions, {capacity.threads()} threads: a step {1000 * step:.0f} ms, peak {memory / 1e9:.1f} GB\n"
    )


if __name__ == "__main__":
    main()

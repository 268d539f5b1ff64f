"""Profiles a step of the rating model with PyTorch's profiler: python benchmarks/step.py PREPARED.

The steps before it fill PyTorch's buffers. Also prints the median step without the profiler and the peak memory.
"""

import argparse
import statistics
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from reelgraph import machine
from reelgraph.config import TrainConfig
from reelgraph.data.dataset import load_prepared

BEFORE = 5  # steps


def main() -> None:
    """Take some steps and profile one more."""
    import torch  # noqa: PLC0415 (PyTorch reads the environment now)
    from torch.profiler import profile  # noqa: PLC0415

    from reelgraph.training.devices import running_on  # noqa: PLC0415
    from reelgraph.training.runner import Runner  # noqa: PLC0415
    from reelgraph.training.runs import RatingRuns  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--rows", type=int, default=12, help="operations to show [12]")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps [cpu]")
    given = parser.parse_args()
    data, profiled, ends = load_prepared(given.prepared), profile(), list[float]()
    data = replace(data, valid=data.valid.take(slice(0)))  # No validation.

    def observe(_phase: str, progress: Any, _config: TrainConfig) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if progress.step == BEFORE + 1:
            profiled.stop()
        elif progress.step <= BEFORE:
            ends.append(time.perf_counter())
        if progress.step == BEFORE:
            profiled.start()

    config = TrainConfig(max_steps=BEFORE + 1)
    with running_on(given.device) as device:
        Runner(RatingRuns(data), observe).fit("fit", config)
    memory = machine.peak_memory()
    table = profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=given.rows)
    step = 1000 * statistics.median(end - start for start, end in pairwise(ends))
    nodes = len(data.users) + len(data.items)
    sys.stdout.write(
        f"{table}\n{len(data.train):,} training ratings, {nodes:,} users and movies, {config.dim} dimensions, "
        f"{device.type}, {machine.threads()} threads: a step {step:.1f} ms, peak {memory / 1e9:.1f} GB\n"
    )


if __name__ == "__main__":
    main()

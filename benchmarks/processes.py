"""Measures steps in one process and in several: python benchmarks/processes.py PREPARED...

For each prepared directory: the median step of the rating model with 32 dimensions in one process with all threads and
in several that share them, the bytes that a process sends to collectives in a step, and the largest difference of
losses. Writes results/processes.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import describe

from reelgraph.config import TrainConfig
from reelgraph.data.dataset import load_prepared
from reelgraph.files import new_file

RESULTS = Path(__file__).resolve().parent / "results" / "processes.json"
CORES = os.cpu_count() or 1


def child(prepared: Path, steps: int) -> None:
    """Run one process; rank 0 prints its median step without the first steps, losses, and traffic per step."""
    import torch  # noqa: PLC0415 (the parent does not need it)

    from reelgraph.models import ResidualModel  # noqa: PLC0415
    from reelgraph.models.graph import build_graph  # noqa: PLC0415
    from reelgraph.models.sparse import quiet_sparse  # noqa: PLC0415
    from reelgraph.training.loop import Fit, Progress  # noqa: PLC0415
    from reelgraph.training.process import joined  # noqa: PLC0415

    with joined(), quiet_sparse():
        data, config = load_prepared(prepared), TrainConfig(max_steps=steps)
        graph = build_graph(data.train, len(data.users), len(data.items))
        graph.shard.seed(0)
        model = ResidualModel(
            graph, dim=config.dim, hide=config.hide, dropout=config.dropout, newcomers=config.newcomers
        )
        ends, losses, loop = [time.perf_counter()], [], Fit(model, config, None)
        guard = loop._guard

        def note(loss: torch.Tensor) -> None:
            losses.append(loss.item())
            guard(loss)

        loop._guard = note  # type: ignore[method-assign]

        def observe(_: Progress) -> None:
            ends.append(time.perf_counter())

        loop.run(observe)
        traffic = {name: total // steps for name, total in graph.shard.traffic.items()}
    if not graph.shard.rank:
        step = statistics.median(np.diff(ends)[2:])
        sys.__stdout__.write(json.dumps({"step": step, "losses": losses, "traffic": traffic}))  # type: ignore[union-attr]


def run(prepared: Path, processes: int, steps: int) -> dict[str, Any]:
    """Run some processes and return what rank 0 measured."""
    with tempfile.TemporaryDirectory() as directory:
        common = os.environ | {"OMP_NUM_THREADS": str(max(1, CORES // processes)), "TORCH_CPP_LOG_LEVEL": "ERROR"}
        if processes > 1:
            rendezvous = f"file://{directory}/store"
            common |= {"WORLD_SIZE": str(processes), "REELGRAPH_RENDEZVOUS": rendezvous}
            common |= {"GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo"}
        command = [sys.executable, __file__, "--child", str(prepared), "--steps", str(steps)]
        started = [
            subprocess.Popen(
                command, env=common | ({"RANK": str(rank)} if processes > 1 else {}), stdout=subprocess.PIPE
            )
            for rank in range(processes)
        ]
        answers = [process.communicate()[0] for process in started]
        if any(process.returncode for process in started):
            sys.exit(f"{processes} processes on {prepared}: one ended with an error")
        measured: dict[str, Any] = json.loads(answers[0])
        return measured


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path, nargs="+")
    parser.add_argument("--processes", type=int, default=CORES)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.prepared[0], arguments.steps)
        return
    rows = []
    for prepared in arguments.prepared:
        counts = json.loads((prepared / "manifest.json").read_text(encoding="utf-8"))["counts"]
        one, several = (run(prepared, number, arguments.steps) for number in (1, arguments.processes))
        apart = max(abs(first - second) for first, second in zip(one["losses"], several["losses"], strict=True))
        row = {name: counts[name] for name in ("train", "users", "movies")} | {
            "one_process_step": round(one["step"], 4), "threads": CORES,
            "processes": arguments.processes, "processes_step": round(several["step"], 4),
            "ratio": round(several["step"] / one["step"], 3), "largest_loss_difference": apart,
            "bytes_a_step": several["traffic"] | {"all": sum(several["traffic"].values())},
        }  # fmt: skip
        rows.append(row)
        print(json.dumps(row, indent=2))
    result = describe(f"python benchmarks/processes.py PREPARED... --steps {arguments.steps}") | {"rows": rows}
    RESULTS.parent.mkdir(exist_ok=True)
    with new_file(RESULTS) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

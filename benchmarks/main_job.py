"""Accuracy and cost of the commands on real ratings; writes results/main_job.json.

    python benchmarks/main_job.py            all of it, about 20 minutes on two cores
    python benchmarks/main_job.py --quick    one seed, ML-100K only

Finds MovieLens under `REELGRAPH_DATA`, or in ../shared/data beside the repository. Every figure comes from a process of
its own: wall time and peak memory as the operating system counts them, errors from the command's own JSON. Settings and
stopping step come from validation ratings; the test ratings are judged once, by `train` at its end.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reelgraph import __version__

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("REELGRAPH_DATA", HERE.parents[1] / "shared" / "data"))
# Student's t for a 95 % interval of the mean of three, two degrees of freedom.
T_95 = {2: 12.706, 3: 4.303, 5: 2.776}


def run(*arguments: str | Path) -> tuple[str, float, float]:
    """Standard output, seconds and peak memory in MB of a Python process."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([sys.executable, *map(str, arguments)], stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if os.waitstatus_to_exitcode(status):
            raise SystemExit(f"failed: {arguments}")
        out.seek(0)
        # ru_maxrss is in kilobytes on Linux and in bytes on macOS.
        return out.read(), seconds, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def train(name: str, arguments: list[str | Path], seeds: int, model: Path) -> dict[str, Any]:
    """Train over several seeds and report errors with their intervals."""
    rows = []
    for seed in range(seeds):
        command = ["-m", "reelgraph", "train", *arguments, "--seed", str(seed), "--out", model, "--json"]
        text, seconds, memory = run(*command)
        manifest = json.loads(text)
        row = {"seconds": seconds, "memory_mb": memory, "fit_seconds": manifest["seconds"], "steps": manifest["steps"]}
        for split, found in manifest["metrics"].items():
            row |= {f"{split}_{error}": value for error, value in found["model"].items()}
        rows.append(row)
        print(f"{name} seed {seed}: " + ", ".join(f"{key} {value:.4f}" for key, value in row.items()), flush=True)
    summary = {key: interval([row[key] for row in rows]) for key in rows[0]}
    shown = " ".join(Path(part).name if isinstance(part, Path) else part for part in arguments)
    return {"name": name, "command": f"reelgraph train {shown} --seed N", "seeds": seeds, "runs": rows} | summary


def interval(values: list[float]) -> dict[str, float | None]:
    """Mean and half width of the 95 % interval of the mean; None for a single value."""
    width = T_95[len(values)] * statistics.stdev(values) / len(values) ** 0.5 if len(values) in T_95 else None
    return {"mean": statistics.fmean(values), "half_width": width}


def cold(*arguments: str | Path, times: int = 5) -> float:
    """Median seconds of a cold process."""
    return statistics.median(run(*arguments)[1] for _ in range(times))


def main() -> None:
    """Run the benchmarks and write their results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "main_job.json")
    options = parser.parse_args()
    u1: list[str | Path] = [DATA / "ml-100k" / "u1.base", "--test", "u1.test"]
    side: list[str | Path] = [*u1, "--items", "u.item", "--users", "u.user"]
    seeds = 1 if options.quick else 3
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "model"
        results = [
            train("ML-100K u1", u1, seeds, model),
            train("ML-100K u1, side features", side, seeds, model),
            train("ML-100K u1, gcn", [*u1, "--model", "gcn"], seeds, model),
        ]
        if not options.quick:
            results.append(train("ML-1M random 90/10", [DATA / "ml-1m" / "ratings.csv"], seeds, model))
            results.append(train("bundled sample", [], seeds, model))
        costs = {
            "recommend from a cold process, s": cold("-m", "reelgraph", "recommend", model, "--user", "1"),
            "import reelgraph, s": cold("-c", "import reelgraph") - cold("-c", "pass"),
        }
    found = {
        "reelgraph": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
        "command": "python benchmarks/main_job.py" + (" --quick" if options.quick else ""),
        "results": results,
        "costs": costs,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(costs, indent=2))


if __name__ == "__main__":
    main()

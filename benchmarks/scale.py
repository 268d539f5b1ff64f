"""Measures cost by number of ratings and error above the noise floor: python benchmarks/scale.py; writes results/scale.

For each size: makes ratings (`synthetic.py`), prepares them with DuckDB, and fits the rating model with 32 dimensions
and default settings, each in its own process. Sizes in `scale.json` are not run again; `--longer` measures how much
closer to the noise floor a fit of several times the steps comes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import synthetic
from matplotlib.figure import Figure
from measuring import describe, synthetic_of

from reelgraph import machine
from reelgraph.data.dataset import Dataset, Interactions, load_prepared
from reelgraph.files import new_file

HERE = Path(__file__).resolve().parent
OUT = HERE / "results" / "scale"
SIZES = (1e5, 1e6, 1e7, 2e7)
DIM = 32
RESULTS = "scale.json"
RANK_STEPS = 10
SERIES = {  # of the figure: key of a row, label, colour
    "seconds": (
        ("prepare.seconds", "prepare", "tab:blue"),
        ("fit.load_seconds", "load", "tab:cyan"),
        ("fit.seconds", "train", "tab:red"),
        ("fit.step_seconds", "one step", "tab:orange"),
        ("fit.product_seconds", "sparse products of a step", "0.5"),
        ("lists.seconds", "lists for all", "tab:green"),
    ),
    "peak memory, GB": (
        ("prepare.memory_gb", "prepare", "tab:blue"),
        ("fit.memory_gb", "train", "tab:red"),
        ("lists.memory_gb", "lists for all", "tab:green"),
    ),
    "test RMSE": (
        ("rmse.bias", "damped biases", "0.5"),
        ("rmse.model", "reelgraph", "tab:red"),
        ("rmse.floor", "noise floor", "tab:green"),
    ),
}


def measure(ratings: int, work: Path, max_steps: int) -> dict[str, Any]:
    """Measure one size, each stage in its own process to measure its peak memory."""
    made, prepared, model = synthetic_of(ratings, work), work / f"prepared-{ratings}", work / f"model-{ratings}"
    truth = json.loads((made / "manifest.json").read_text(encoding="utf-8"))
    row: dict[str, Any] = {name: truth[name] for name in ("ratings", "users", "movies", "seed")}
    row["prepare"] = run("-m", "reelgraph", "prepare", made / "ratings", "--out", prepared)
    row |= child("fit", prepared, made, model, max_steps)
    row["lists"] = run("-m", "reelgraph", "recommend", model, "--all", "--out", work / f"lists-{ratings}.parquet")
    return row | child("rank", prepared)


def run(*command: object) -> dict[str, float]:
    """Run Python and return its seconds and peak memory."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(map(str, command))}: ended with code {os.waitstatus_to_exitcode(status)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {"seconds": round(time.monotonic() - started, 2), "memory_gb": round(used.ru_maxrss * unit / 1e9, 3)}


def child(name: str, *arguments: object) -> dict[str, Any]:
    """Run one of `CHILDREN` in its own process and return what it measures."""
    with tempfile.TemporaryDirectory() as directory:
        answer = Path(directory) / "answer.json"
        run(Path(__file__), "--child", name, answer, *arguments)
        measured: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return measured


class Watch:
    """An observer that measures the seconds of the steps of a fit."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, float]] = []

    def __call__(self, phase: str, progress: Any, _: Any) -> None:
        """Record a step."""
        self.calls.append((phase, progress.step, time.perf_counter()))

    def seconds(self, eval_every: int) -> dict[str, float]:
        """The median step, and the median extra time of a step with validation."""
        pairs = [(one, other) for one, other in pairwise(self.calls) if one[0] == other[0]]
        plain = [other[2] - one[2] for one, other in pairs if other[1] % eval_every]
        judged = [other[2] - one[2] for one, other in pairs if not other[1] % eval_every]
        step = statistics.median(plain)
        judge = statistics.median(judged) - step if judged else 0.0
        return {"step_seconds": round(step, 5), "judge_seconds": round(judge, 5)}


def fit(prepared: str, made: str, out: str, max_steps: str) -> dict[str, Any]:
    """Train, test and save: seconds, steps, peak memory, and RMSE beside the noise floor of the same rows."""
    from reelgraph.training import fit as pipeline  # noqa: PLC0415

    started = time.perf_counter()
    data = load_prepared(Path(prepared))
    loaded, watch = time.perf_counter(), Watch()
    config = settings(int(max_steps))
    model = pipeline.fit(data, config, observe=watch)
    ended, memory = time.perf_counter(), machine.peak_memory()
    model.save(Path(out))
    test = {name: error["rmse"] for name, error in model.artifact.manifest["metrics"]["test"].items()}
    cost = {
        "load_seconds": round(loaded - started, 2),
        "seconds": round(ended - loaded, 2),
        "steps": model.artifact.manifest["steps"],
        "fit_steps": sum(phase == "fit" for phase, *_ in watch.calls),
        "all_steps": len(watch.calls),
        "product_seconds": round(products(data.train, len(data.users), len(data.items)), 5),
        "memory_gb": round(memory / 1e9, 3),
    }
    return {
        "fit": cost | watch.seconds(config.eval_every),
        "rmse": {"floor": floor(data, data.test, Path(made)), "bias": test["bias"], "model": test["model"]},
    }


def settings(max_steps: int, **others: Any) -> Any:
    """Settings of the fits measured here."""
    from reelgraph.config import TrainConfig  # noqa: PLC0415

    return TrainConfig(dim=DIM, ranking=False, tune="none", max_steps=max_steps, use_all=False, **others)


def floor(data: Dataset, pairs: Interactions, made: Path) -> float:
    """The RMSE of the best possible prediction of these rows."""
    user, movie = (np.array(ids, np.int64) for ids in data.raw_ids(pairs))
    return float(synthetic.Truth.read(made / "truth.npz").floor(user, movie, pairs.rating)["rmse"])


def longer(prepared: str, made: str, usual: str, times: str) -> dict[str, Any]:
    """Measure how much closer to the noise floor several times the steps bring the validation error.

    The first steps are those of the usual fit, so that both distances come from one fit. It is not refitted.
    """
    from reelgraph.models.sparse import quiet_sparse  # noqa: PLC0415
    from reelgraph.training.runner import Runner  # noqa: PLC0415
    from reelgraph.training.runs import RatingRuns  # noqa: PLC0415

    data, steps = load_prepared(Path(prepared)), int(usual) * int(times)
    least = floor(data, data.valid, Path(made))

    def observe(_phase: str, progress: Any, _config: Any) -> None:
        if not progress.step % 100:  # It may take hours.
            distance = progress.best_evaluation.error - least
            sys.stderr.write(f"step {progress.step:,} of {steps:,}: {distance:.6f} from the noise floor\n")

    with quiet_sparse():
        run = Runner(RatingRuns(data), observe).fit("fit", settings(steps, patience=steps))
    curve = [(line.step, line.error - least) for line in run.progress.history]
    distance = min(distance for step, distance in curve if step <= int(usual))
    best = min(distance for _, distance in curve)
    near = next(step for step, distance in curve if distance <= 1.01 * best)
    return {
        "times": int(times),
        "steps": steps,
        "distance": round(distance, 6),
        "longer_distance": round(best, 6),
        "farther": round(distance / best - 1, 4),
        "steps_to_one_percent": near,
        "curve": [(step, round(distance, 6)) for step, distance in curve],
    }


def rank(prepared: str) -> dict[str, Any]:
    """Measure a step of the ranking head and the peak memory."""
    from reelgraph.config import TrainConfig  # noqa: PLC0415
    from reelgraph.models.sparse import quiet_sparse  # noqa: PLC0415
    from reelgraph.training.runner import Runner  # noqa: PLC0415
    from reelgraph.training.runs import RankingRuns  # noqa: PLC0415

    data, watch = load_prepared(Path(prepared)), Watch()
    config = (
        TrainConfig()
        .for_ranking(len(data.train))
        .model_copy(update={"max_steps": RANK_STEPS, "eval_every": RANK_STEPS})
    )
    with quiet_sparse():
        Runner(RankingRuns(data), watch).fit("fit", config)
    return {"rank": watch.seconds(RANK_STEPS) | {"memory_gb": round(machine.peak_memory() / 1e9, 3)}}


def products(train: Interactions, num_users: int, num_items: int) -> float:
    """Seconds of the sparse products of a step, the best of three runs.

    Two channels forward in one buffer and back in one each; degrees, sums, and the sweeps of the biases. Those of the
    scored ratings, at most a million, are left out.
    """
    import torch  # noqa: PLC0415

    from reelgraph.arrays import BIAS_SWEEPS  # noqa: PLC0415
    from reelgraph.models.graph import build_graph  # noqa: PLC0415
    from reelgraph.models.sparse import add_products, quiet_sparse  # noqa: PLC0415

    graph, taken = build_graph(train, num_users, num_items), []
    table, vector = torch.randn(graph.num_nodes, DIM), torch.randn(graph.num_nodes)
    with torch.no_grad(), quiet_sparse():
        matrix = graph.edges.matrix(torch.rand(2 * graph.num_edges))
        for _ in range(3):
            started = time.perf_counter()
            for tables in (2, 1, 1):
                add_products([(matrix, table)] * tables)
            for _ in range(2 + BIAS_SWEEPS):
                matrix @ vector
            taken.append(time.perf_counter() - started)
    return min(taken)


CHILDREN: dict[str, Callable[..., dict[str, Any]]] = {"fit": fit, "rank": rank, "longer": longer}


def drawn(rows: list[dict[str, Any]], out: Path) -> None:
    """Draw cost and error by size as `figure.svg` and `figure.png`."""
    drawing = Figure(figsize=(15, 4.6), layout="constrained")
    for panel, (title, series) in zip(drawing.subplots(1, len(SERIES)), SERIES.items(), strict=True):
        for key, label, colour in series:
            group, name = key.split(".")
            points = [(row["ratings"], row[group][name]) for row in rows if name in row[group]]
            if points:
                panel.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colour, label=label)
        panel.set(xscale="log", xlabel="ratings", ylabel=title, yscale="linear" if "RMSE" in title else "log")
        panel.grid(alpha=0.25, which="both")
        panel.legend(frameon=False, fontsize=8)
    for ending, about in (("svg", {"Date": None}), ("png", None)):
        with new_file(out / f"figure.{ending}") as temporary:
            drawing.savefig(temporary, format=ending, dpi=120, metadata=about)


def main() -> None:
    """Measure missing sizes, write and draw the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=float, nargs="+", default=SIZES, help="sizes; 1e8 takes 100 million")
    parser.add_argument("--work", type=Path, default=Path("scale-data"), help="directory for the data [scale-data]")
    parser.add_argument("--out", type=Path, default=OUT, help="directory for the results")
    parser.add_argument("--max-steps", type=int, default=1000, help="most steps of a fit [1000]")
    parser.add_argument("--longer", type=int, default=1, help="fit again, for so many times the steps")
    parser.add_argument("--again", action="store_true", help="run sizes again that have results")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        name, answer, *arguments = asked.child
        Path(answer).write_text(json.dumps(CHILDREN[name](*arguments)), encoding="utf-8")
        return
    asked.work.mkdir(parents=True, exist_ok=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    rows = {row["ratings"]: row for row in read(asked.out)}
    for ratings in sorted(map(int, asked.ratings)):
        measured, row = asked.again or ratings not in rows, rows.get(ratings, {})
        if measured:
            row = measure(ratings, asked.work, asked.max_steps)
        elif asked.longer in {1, row.get("longer", {}).get("times")}:
            continue
        if asked.longer > 1:
            made, prepared = synthetic_of(ratings, asked.work), asked.work / f"prepared-{ratings}"
            row["longer"] = child("longer", prepared, made, row["fit"]["fit_steps"], asked.longer)
        rows[ratings] = row
        found = earlier(asked.out)
        if measured:  # Else what is there was measured then.
            command = f"python benchmarks/scale.py --ratings {' '.join(map(str, sorted(rows)))}"
            found = describe(command) | {"threads": machine.threads(), "gathers": round(machine.gathers())}
        found["rows"] = [rows[size] for size in sorted(rows)]
        with new_file(asked.out / RESULTS) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        drawn(found["rows"], asked.out)
        if asked.out == OUT:
            from tables import write  # noqa: PLC0415 (the children stay small)

            write("docs/performance.md")
        sys.stdout.write(json.dumps(rows[ratings], indent=1) + "\n")


def read(out: Path) -> list[dict[str, Any]]:
    """The sizes that have results."""
    rows: list[dict[str, Any]] = earlier(out).get("rows", [])
    return rows


def earlier(out: Path) -> dict[str, Any]:
    """The results that are there."""
    path = out / RESULTS
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


if __name__ == "__main__":
    main()

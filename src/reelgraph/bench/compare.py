"""Runs every method on every data set and seed, each in a process of its own, and keeps what they measured.

python -m reelgraph.bench.compare JOB.json      one run; what the race starts
"""

import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reelgraph._version import __version__
from reelgraph.bench import datasets
from reelgraph.bench.methods import TUNES_ITSELF, complete, trial
from reelgraph.bench.results import KIND, RESULTS, read_results
from reelgraph.data.dataset import load_prepared, merge
from reelgraph.errors import DataError
from reelgraph.files import new_file
from reelgraph.machine import peak_memory
from reelgraph.metrics.ranking import evaluate_ranking
from reelgraph.metrics.ratings import mae, rmse

TABLE = "results.csv"

COLD = "cold"  # in the place of a method: users and movies held out, for the default model

BUDGET = 60.0  # seconds for settings where nothing of ours ran before and none was given


Report = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One run: a data set by the name it is reported under and its own, a method, a seed, a budget in seconds."""

    dataset: str
    part: str
    method: str
    seed: int
    budget: float | None

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What makes a run the same run."""
        return self.dataset, self.part, self.method, self.seed


def jobs(
    names: Sequence[str], methods: Sequence[str], seeds: int, budget: float | None, cold: bool = False
) -> list[Job]:
    """All runs in order; within a data set and seed, what tunes itself goes first, since it sets the others' budget."""
    ordered = sorted(methods, key=lambda method: method not in TUNES_ITSELF) + [COLD] * cold
    return [
        Job(name, part, method, seed, budget)
        for name in names
        for part in datasets.parts(name)
        for seed in range(seeds)
        for method in ordered
    ]


def race(todo: Sequence[Job], out: Path, command: str, report: Report) -> Iterator[dict[str, Any]]:
    """Run the jobs that `out` has no result of, one after another, and write the results after each.

    Yields:
        The whole result, as `results.json` holds it, once at the start and after every run.
    """
    from reelgraph.training.leaks import check_data  # noqa: PLC0415

    result = _earlier(out) | _header(command)
    for kind in ("runs", "cold"):
        result[kind] = [row for row in result.get(kind, []) if not row["error"]]
    done = {
        (row["dataset"], row["part"], row["method"], row["seed"]) for row in [*result["runs"], *result["cold"]]
    }  # fmt: skip
    yield result
    with tempfile.TemporaryDirectory(prefix="reelgraph-bench-") as directory:
        ready: dict[tuple[str, int], Path] = {}
        for job in (job for job in todo if job.key not in done):
            place = (job.part, job.seed)
            if place not in ready:
                report(f"{job.part}, seed {job.seed}: preparing")
                ready[place] = datasets.prepared(job.part, job.seed, Path(directory) / f"data{len(ready)}", report)
                check_data(load_prepared(ready[place]))
            report(f"{job.part}, seed {job.seed}: {job.method}")
            budget = job.budget if job.budget is not None else _our_seconds(result["runs"], job)
            result["cold" if job.method == COLD else "runs"].append(_run(job, ready[place], budget, Path(directory)))
            write(result, out)
            yield result


def write(result: dict[str, Any], out: Path) -> None:
    """Write `results.json` and `results.csv`, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    with new_file(out / RESULTS) as temporary:
        temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with new_file(out / TABLE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        columns = list(dict.fromkeys(name for row in result["runs"] for name in row))
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"settings": json.dumps(row["settings"])} for row in result["runs"])


def _earlier(out: Path) -> dict[str, Any]:
    """The results that are there."""
    path = out / RESULTS
    return read_results(path, "choose another --out") if path.exists() else {"kind": KIND, "version": 1, "runs": []}


def _header(command: str) -> dict[str, Any]:
    return {
        "reelgraph": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
        "command": command,
    }


def _our_seconds(runs: Sequence[dict[str, Any]], job: Job) -> float:
    """What `residual` took to tune and fit on the same data and seed, or any other of ours."""
    ours = {
        row["method"]: row["tune_seconds"] + row["fit_seconds"]
        for row in runs
        if (row["dataset"], row["part"], row["seed"]) == (job.dataset, job.part, job.seed) and not row["error"]
    }
    return next((ours[name] for name in TUNES_ITSELF if name in ours), BUDGET)


def _run(job: Job, data: Path, budget: float, directory: Path) -> dict[str, Any]:
    order, answer = directory / "job.json", directory / "answer.json"
    answer.unlink(missing_ok=True)
    order.write_text(json.dumps(asdict(job) | {"budget": budget, "data": str(data), "answer": str(answer)}))
    command = [sys.executable, "-m", "reelgraph.bench.compare", str(order)]
    done = subprocess.run(  # noqa: S603 (this program itself)
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    base = {"dataset": job.dataset, "part": job.part, "method": job.method, "seed": job.seed}
    if done.returncode or not answer.exists():
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return base | {"error": lines[-1] if lines else f"ended with code {done.returncode}", "settings": {}}
    measured: dict[str, Any] = json.loads(answer.read_text())
    return base | {"error": None} | measured


def measure(data_path: Path, method: str, seed: int, budget: float) -> dict[str, Any]:
    """Fit a method on a prepared data set and judge it on the test ratings; errors in the data's scale.

    Returns:
        RMSE and MAE over all pairs and as means over users, nDCG@10, Recall@20 and coverage@10, the number of pairs it
        could not predict, seconds, peak memory in GB; None for what a method does not do.
    """
    data = load_prepared(data_path)
    found = trial(method, data, seed, budget)
    fitted, test = found.fitted, data.test
    both = merge(data.train, data.valid)
    names = ("rmse", "mae", "user_rmse", "user_mae", "ndcg", "recall", "coverage", "predict_seconds", "unpredictable")
    row: dict[str, Any] = dict.fromkeys(names)
    if fitted.predict is not None:
        started = time.monotonic()
        prediction = fitted.predict(test)
        row["predict_seconds"] = time.monotonic() - started
        prediction, row["unpredictable"] = complete(prediction, both, test, data)
        row |= {"rmse": rmse(prediction, test.rating), "mae": mae(prediction, test.rating)}
        error, count = prediction.astype(np.float64) - test.rating, np.bincount(test.user_index)
        tested = count > 0
        row["user_rmse"] = float(np.sqrt(np.bincount(test.user_index, error**2)[tested] / count[tested]).mean())
        row["user_mae"] = float((np.bincount(test.user_index, np.abs(error))[tested] / count[tested]).mean())
    if fitted.score is not None:
        ranking = evaluate_ranking(fitted.score, both, test, len(data.items), data.scale[1])
        row |= {"ndcg": ranking.ndcg, "recall": ranking.recall, "coverage": ranking.coverage}
    row |= {"tune_seconds": found.tune_seconds, "fit_seconds": found.fit_seconds, "memory_gb": peak_memory() / 1e9}
    return row | {"tried": found.tried, "settings": dict(found.settings)}


def measure_cold(data_path: Path, seed: int) -> dict[str, Any]:
    """What the default model, with its settings as they are, is for users and movies it has never seen."""
    from reelgraph.evaluation.cold_start import evaluate_cold  # noqa: PLC0415
    from reelgraph.training.fit import fit  # noqa: PLC0415

    found = evaluate_cold(load_prepared(data_path), fit, seed=seed)
    if found is None:
        raise DataError("cold users: expected some with more than 20 ratings, found none", "leave it out: --no-cold")
    return found.to_json()


def _child(order: Path) -> None:
    job = json.loads(order.read_text())
    data, seed = Path(job["data"]), job["seed"]
    row = measure_cold(data, seed) if job["method"] == COLD else measure(data, job["method"], seed, job["budget"])
    Path(job["answer"]).write_text(json.dumps(row, allow_nan=False))


if __name__ == "__main__":
    _child(Path(sys.argv[1]))

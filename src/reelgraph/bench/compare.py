"""Run each method on each data set and seed in its own process, and keep the measurements."""

import csv
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reelgraph import machine
from reelgraph._version import __version__
from reelgraph.bench import datasets
from reelgraph.bench.datasets import Report
from reelgraph.bench.methods import TUNES_ITSELF, complete, tune_and_fit
from reelgraph.bench.results import KIND, RESULTS, read_results
from reelgraph.data.dataset import load_prepared, merge
from reelgraph.errors import DataError
from reelgraph.files import new_file, output_errors
from reelgraph.metrics.ranking import evaluate_ranking
from reelgraph.metrics.ratings import mae, rmse

TABLE = "results.csv"
COLD = "cold"  # instead of a method's name: the default model on held-out users and movies
BUDGET = 60.0  # seconds to search settings if none are given and no own model has run


@dataclass(frozen=True)
class BenchJob:
    """One run of a method."""

    dataset: str  # the name in the results
    part: str  # the data set itself: one fold where `dataset` has several
    method: str  # or `COLD`
    seed: int  # of the split and the method
    budget: float | None  # seconds to search settings; None for as long as our own model takes

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Identifies a run; finished runs are not repeated."""
        return self.dataset, self.part, self.method, self.seed


def list_jobs(
    names: Sequence[str], methods: Sequence[str], seeds: int, budget: float | None, cold: bool = False
) -> list[BenchJob]:
    """All runs in order; methods that tune themselves come first, since they set the budget of the others."""
    ordered = sorted(methods, key=lambda method: method not in TUNES_ITSELF) + [COLD] * cold
    return [
        BenchJob(name, part, method, seed, budget)
        for name in names
        for part in datasets.list_parts(name)
        for seed in range(seeds)
        for method in ordered
    ]


def run_jobs(jobs: Sequence[BenchJob], out: Path, command: str, report: Report) -> Iterator[dict[str, Any]]:
    """Run the jobs without a result in `out`, and write and yield `results.json` at the start and after each."""
    from reelgraph.training.leaks import check_data  # noqa: PLC0415

    path = out / RESULTS
    result: dict[str, Any] = {"kind": KIND, "version": 1, "runs": []}
    if path.exists():
        result = read_results(path, "choose another --out")
    result |= _describe_run(command)
    for kind in ("runs", "cold"):
        result[kind] = [row for row in result.get(kind, []) if not row["error"]]
    finished = {(row["dataset"], row["part"], row["method"], row["seed"]) for row in result["runs"] + result["cold"]}
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    yield result
    with tempfile.TemporaryDirectory(prefix="reelgraph-bench-") as directory:
        prepared: dict[tuple[str, int], Path] = {}
        for job in (job for job in jobs if job.key not in finished):
            name = f"{job.part}, seed {job.seed}"
            if (job.part, job.seed) not in prepared:
                report(f"{name}: preparing")
                target = Path(directory) / f"data{len(prepared)}"
                prepared[job.part, job.seed] = datasets.prepare_part(job.part, job.seed, target, report)
                check_data(load_prepared(prepared[job.part, job.seed]))
            report(f"{name}: {job.method}")
            budget = job.budget if job.budget is not None else _own_seconds(result["runs"], job)
            row = run_job(job, prepared[job.part, job.seed], budget, Path(directory))
            result["cold" if job.method == COLD else "runs"].append(row)
            write_results(result, out)
            yield result


def write_results(result: dict[str, Any], out: Path) -> None:
    """Write `results.json` and `results.csv`, each atomically."""
    with new_file(out / RESULTS) as temporary:
        temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with new_file(out / TABLE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        columns = list(dict.fromkeys(name for row in result["runs"] for name in row))
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"settings": json.dumps(row["settings"])} for row in result["runs"])


def _describe_run(command: str) -> dict[str, Any]:
    return {
        "reelgraph": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "python": platform.python_version(),
        "command": command,
    }


def _own_seconds(runs: Sequence[dict[str, Any]], job: BenchJob) -> float:
    """Seconds that `residual`, or else another own model, took to tune and fit on the same data and seed."""
    own = {
        row["method"]: row["tune_seconds"] + row["fit_seconds"]
        for row in runs
        if (row["dataset"], row["part"], row["seed"]) == (job.dataset, job.part, job.seed) and not row["error"]
    }
    return next((own[name] for name in TUNES_ITSELF if name in own), BUDGET)


def run_job(job: BenchJob, data: Path, budget: float, directory: Path) -> dict[str, Any]:
    """Run a job in its own process, which exchanges JSON files in `directory`; returns its row of the results."""
    request, answer = directory / "job.json", directory / "answer.json"
    answer.unlink(missing_ok=True)
    request.write_text(json.dumps(asdict(job) | {"budget": budget, "data": str(data), "answer": str(answer)}))
    command = [sys.executable, "-m", "reelgraph.bench.compare", str(request)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (this program itself)
    base = {"dataset": job.dataset, "part": job.part, "method": job.method, "seed": job.seed}
    if done.returncode or not answer.exists():
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return base | {"error": lines[-1] if lines else f"ended with code {done.returncode}", "settings": {}}
    measured: dict[str, Any] = json.loads(answer.read_text())
    return base | {"error": None} | measured


def measure(data_path: Path, method: str, seed: int, budget: float) -> dict[str, Any]:
    """Tune and fit a method on a prepared data set and measure it on test ratings; None for what it does not do."""
    data = load_prepared(data_path)
    trial = tune_and_fit(method, data, seed, budget)
    fitted, test = trial.fitted, data.test
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
    row |= {
        "tune_seconds": trial.tune_seconds,
        "fit_seconds": trial.fit_seconds,
        "memory_gb": machine.peak_memory() / 1e9,
    }
    return row | {"tried": trial.tried, "settings": dict(trial.settings)}


def measure_cold(data_path: Path, seed: int) -> dict[str, Any]:
    """Measure the default model, without tuning, on users and movies that it has never seen."""
    from reelgraph.evaluation.cold_start import evaluate_cold  # noqa: PLC0415
    from reelgraph.training.fit import fit  # noqa: PLC0415

    evaluation = evaluate_cold(load_prepared(data_path), fit, seed=seed)
    if evaluation is None:
        raise DataError("cold start: expected users with more than 20 ratings, found none", "skip it with --no-cold")
    return evaluation.to_json()


def _answer(request: Path) -> None:
    job = json.loads(request.read_text())
    data, seed = Path(job["data"]), job["seed"]
    row = measure_cold(data, seed) if job["method"] == COLD else measure(data, job["method"], seed, job["budget"])
    Path(job["answer"]).write_text(json.dumps(row, allow_nan=False))


if __name__ == "__main__":
    _answer(Path(sys.argv[1]))

"""Run each method on each data set and seed in its own process, and keep the measurements."""

import csv
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reelgraph import machine
from reelgraph._version import __version__
from reelgraph.bench import datasets
from reelgraph.bench.datasets import Report
from reelgraph.bench.fitted import Cost
from reelgraph.bench.methods import TUNES_ITSELF, complete, same_method, tune_and_fit
from reelgraph.bench.paired import USERS, UserErrors, compare_methods
from reelgraph.bench.results import KIND, RESULTS, read_results
from reelgraph.data.dataset import Dataset, load_prepared, merge
from reelgraph.errors import DataError
from reelgraph.files import new_file, output_errors
from reelgraph.metrics.ranking import evaluate_ranking_by_user
from reelgraph.metrics.ratings import mae, rmse

TABLE = "results.csv"
COLD = "cold"  # instead of a method's name: the default model on held-out users and movies
BUDGET = 60.0  # processor seconds to search settings if none are given and no own model has run


@dataclass(frozen=True)
class BenchJob:
    """One run of a method."""

    dataset: str  # the name in the results
    part: str  # the data set itself: one fold where `dataset` has several
    method: str  # or `COLD`
    seed: int  # of the split and the method
    budget: float | None  # processor seconds to search settings; None for as many as our own model takes

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


def run_jobs(
    jobs: Sequence[BenchJob], out: Path, command: str, report: Report, at_once: int = 1
) -> Iterator[dict[str, Any]]:
    """Run the jobs without a result in `out`, and write and yield `results.json` at the start and after each.

    Args:
        jobs: what to run, in this order.
        out: the directory of results; runs of this version that it holds are not repeated, failed ones are.
        command: how the comparison was started, for the results.
        report: called with a line about what begins.
        at_once: number of runs at a time, which share the processors.
    """
    result = _open_results(out, command)
    finished = {_key(row) for row in result["runs"] + result["cold"] if _usable(row)}
    pending = [job for job in jobs if job.key not in finished]
    yield result
    with tempfile.TemporaryDirectory(prefix="reelgraph-bench-") as directory, ThreadPoolExecutor(at_once) as pool:
        prepared = Prepared(Path(directory), report)
        running: dict[Future[dict[str, Any]], BenchJob] = {}
        while pending or running:
            while len(running) < at_once and (job := _next(pending, [*running.values()], prepared, result["runs"])):
                pending.remove(job)
                twin = _twin(result, job, prepared)
                if twin is not None:
                    _keep(result, job, twin, out)
                    continue
                report(f"{job.part}, seed {job.seed}: {job.method}")
                job = replace(job, budget=job.budget if job.budget is not None else _own_seconds(result["runs"], job))
                running[pool.submit(run_job, job, prepared.path(job), out, at_once)] = job
            if running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    _keep(result, job, future.result(), out)
            yield result


def _open_results(out: Path, command: str) -> dict[str, Any]:
    result: dict[str, Any] = {"kind": KIND, "version": 1, "runs": []}
    if (out / RESULTS).exists():
        result = read_results(out / RESULTS, "choose another --out")
    result |= {"reelgraph": __version__, "date": _today(), "machine": machine.describe()}
    result |= {"python": platform.python_version(), "command": command}
    for kind in ("runs", "cold"):
        result[kind] = [row for row in result.get(kind, []) if not row["error"]]
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    return result


def _usable(row: dict[str, Any]) -> bool:
    return not row["error"] and row.get("reelgraph") == __version__


def _key(row: dict[str, Any]) -> tuple[str, str, str, int]:
    return row["dataset"], row["part"], row["method"], row["seed"]


class Prepared:
    """Prepared data sets by part and seed, made in a directory when first asked for."""

    def __init__(self, directory: Path, report: Report) -> None:
        self.directory, self.report = directory, report
        self._data: dict[tuple[str, int], tuple[Path, Dataset]] = {}

    def path(self, job: BenchJob) -> Path:
        """The prepared directory."""
        return self._prepared(job)[0]

    def method(self, job: BenchJob) -> str:
        """The method that the job comes to on these data, see `same_method`."""
        return same_method(job.method, self._prepared(job)[1])

    def _prepared(self, job: BenchJob) -> tuple[Path, Dataset]:
        from reelgraph.training.leaks import check_data  # noqa: PLC0415

        key = job.part, job.seed
        if key not in self._data:
            self.report(f"{job.part}, seed {job.seed}: preparing")
            path = datasets.prepare_part(*key, self.directory / f"data{len(self._data)}", self.report)
            data = load_prepared(path)
            check_data(data)
            self._data[key] = path, data
        return self._data[key]


def _next(pending: Sequence[BenchJob], running: Sequence[BenchJob], prepared: Prepared, runs: Any) -> BenchJob | None:
    """The first job that can start: a twin of a running one waits for it, and other methods for their budget."""

    def waits(job: BenchJob) -> bool:
        own = [one for one in running if (one.part, one.seed) == (job.part, job.seed) and one.method in TUNES_ITSELF]
        if job.method in TUNES_ITSELF:
            return any(prepared.method(one) == prepared.method(job) for one in own)
        needs_budget = job.budget is None and job.method != COLD
        return bool(own) and needs_budget and TUNES_ITSELF[0] not in _of_job(runs, job)

    return next((job for job in pending if not waits(job)), None)


def _twin(result: dict[str, Any], job: BenchJob, prepared: Prepared) -> dict[str, Any] | None:
    """A finished run that did the same, under the name of another data set or of a variant that equals this one."""
    found: list[dict[str, Any]] = [] if job.method == COLD else result["runs"]
    same_data = (row for row in found if (row["part"], row["seed"]) == (job.part, job.seed) and _usable(row))
    method = prepared.method(job)
    return next((row for row in same_data if prepared.method(replace(job, method=row["method"])) == method), None)


def _keep(result: dict[str, Any], job: BenchJob, row: dict[str, Any], out: Path) -> None:
    """Write a job's row, in place of that of an earlier version."""
    kind = "cold" if job.method == COLD else "runs"
    row = row | dict(zip(("dataset", "part", "method", "seed"), job.key, strict=True))
    result[kind] = [other for other in result[kind] if _key(other) != job.key] + [row]
    result["paired"] = compare_methods(result["runs"], out / USERS, result.get("paired", []))
    write_results(result, out)


def write_results(result: dict[str, Any], out: Path) -> None:
    """Write `results.json` and `results.csv`, each atomically."""
    with new_file(out / RESULTS) as temporary:
        temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with new_file(out / TABLE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        columns = list(dict.fromkeys(name for row in result["runs"] for name in row))
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"settings": json.dumps(row["settings"])} for row in result["runs"])


def _today() -> str:
    return time.strftime("%Y-%m-%d")


def _of_job(runs: Sequence[dict[str, Any]], job: BenchJob) -> dict[str, dict[str, Any]]:
    """The finished runs on the same data and seed by method."""
    same = [row for row in runs if (row["dataset"], row["part"], row["seed"]) == (job.dataset, job.part, job.seed)]
    return {row["method"]: row for row in same if _usable(row)}


def _own_seconds(runs: Sequence[dict[str, Any]], job: BenchJob) -> float:
    """Processor seconds that `residual`, or else another own model, took to tune and fit on the same data and seed."""
    found = _of_job(runs, job)
    own = (found[name] for name in TUNES_ITSELF if name in found)
    return next((float(row["tune_cpu_seconds"] + row["fit_cpu_seconds"]) for row in own), BUDGET)


def run_job(job: BenchJob, data: Path, out: Path, at_once: int = 1) -> dict[str, Any]:
    """Run a job in its own process and return its row of the results; errors by user go to a file under `out`."""
    share = str(max(1, machine.processors() // at_once))
    environment = {"OMP_NUM_THREADS": share, "OPENBLAS_NUM_THREADS": share} | os.environ
    with tempfile.TemporaryDirectory(prefix="reelgraph-bench-") as directory:
        request, answer, users = (Path(directory) / name for name in ("job.json", "answer.json", "users.npz"))
        request.write_text(json.dumps(asdict(job) | {"data": str(data), "answer": str(answer), "users": str(users)}))
        command = [sys.executable, "-m", "reelgraph.bench.compare", str(request)]  # this program itself
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
        base: dict[str, Any] = {"reelgraph": __version__, "date": _today(), "users": None}
        if done.returncode or not answer.exists():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            return base | {"error": lines[-1] if lines else f"ended with code {done.returncode}", "settings": {}}
        if users.exists():
            base["users"] = f"{re.sub(r'[^A-Za-z0-9.]+', '-', job.part)}-{job.method}-{job.seed}.npz"
            (out / USERS).mkdir(exist_ok=True)
            with new_file(out / USERS / base["users"]) as temporary:
                temporary.write_bytes(users.read_bytes())
        measured: dict[str, Any] = json.loads(answer.read_text())
        return base | {"error": None} | measured


def measure(data_path: Path, method: str, seed: int, budget: float) -> tuple[dict[str, Any], UserErrors]:
    """Tune and fit a method on a prepared data set and measure it on test ratings; None for what it does not do."""
    data = load_prepared(data_path)
    trial = tune_and_fit(method, data, seed, budget)
    fitted, test = trial.fitted, data.test
    both = merge(data.train, data.valid)
    names = ("rmse", "mae", "user_rmse", "user_mae", "ndcg", "recall", "coverage", "predict_seconds", "unpredictable")
    row: dict[str, Any] = dict.fromkeys(names)
    count = np.bincount(test.user_index, minlength=len(data.users))
    tested = count > 0
    squared = ndcg = recall = np.full(len(count), np.nan)
    if fitted.predict is not None:
        started = Cost.since()
        prediction = fitted.predict(test)
        row["predict_seconds"] = Cost.since(started).seconds
        prediction, row["unpredictable"] = complete(prediction, both, test, data)
        row |= {"rmse": rmse(prediction, test.rating), "mae": mae(prediction, test.rating)}
        error = prediction.astype(np.float64) - test.rating
        squared = np.bincount(test.user_index, error**2, len(count))
        absolute = np.bincount(test.user_index, np.abs(error), len(count))
        row["user_rmse"] = float(np.sqrt(squared[tested] / count[tested]).mean())
        row["user_mae"] = float((absolute[tested] / count[tested]).mean())
    if fitted.score is not None:
        ranking, by_user = evaluate_ranking_by_user(fitted.score, both, test, len(data.items), data.scale[1])
        row |= {"ndcg": ranking.ndcg, "recall": ranking.recall, "coverage": ranking.coverage}
        ndcg, recall = np.full((2, len(count)), np.nan)
        users = np.unique(test.user_index[test.rating >= data.liked])
        ndcg[users], recall[users] = by_user["ndcg"], by_user["recall"]
    for name, cost in (("tune", trial.tune), ("fit", trial.fit)):
        row |= {f"{name}_seconds": cost.seconds, f"{name}_cpu_seconds": cost.cpu_seconds}
    row |= {"memory_gb": machine.peak_memory() / 1e9, "tried": trial.tried, "settings": dict(trial.settings)}
    ids = np.asarray(data.users.ids.to_pylist())
    return row, UserErrors(ids[tested], count[tested], squared[tested], ndcg[tested], recall[tested])


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
    if job["method"] == COLD:
        row = measure_cold(data, seed)
    else:
        row, users = measure(data, job["method"], seed, job["budget"])
        users.write(Path(job["users"]))
    Path(job["answer"]).write_text(json.dumps(row, allow_nan=False))


if __name__ == "__main__":
    _answer(Path(sys.argv[1]))

"""Read, summarise and tabulate benchmark results."""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reelgraph.errors import DataError

RESULTS, KIND = "results.json", "reelgraph-bench"

# Student's t, two-sided 95 %, by degrees of freedom (Fisher and Yates, Statistical Tables); 1.96 beyond the table.
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)

# Name, title and digits of each column.
COLUMNS = (
    ("rmse", "RMSE", 4), ("mae", "MAE", 4), ("user_rmse", "RMSE by user", 4), ("ndcg", "nDCG@10", 4),
    ("recall", "Recall@20", 4), ("coverage", "coverage@10", 3), ("seconds", "tune + fit, s", 1),
    ("cpu_seconds", "CPU, s", 1), ("fit_cpu_seconds", "fit, CPU s", 1),
    ("predict_seconds", "predict, s", 2), ("memory_gb", "memory, GB", 2),
)  # fmt: skip

COLD_COLUMNS = (("rmse", "RMSE", 4), ("bias_rmse", "RMSE of damped biases", 4), ("ndcg", "nDCG@10", 3))
WIDE = 180  # characters needed to show every column
NARROW = ("rmse", "ndcg", "recall", "seconds", "memory_gb")

# Test RMSE as reported in the papers; not measured here.
PUBLISHED = {
    "ml-100k-u1": (
        ("GC-MC", 0.905, "van den Berg et al. 2017"), ("IGMC", 0.905, "Zhang and Chen 2020"),
        ("IMC-GAE", 0.8967, "Shen et al. 2021"), ("MG-GAT", 0.890, "Leng et al. 2020"),
        ("GLocal-K", 0.8889, "Han et al. 2021"), ("GHRS", 0.887, "Darban and Valipour 2022"),
    ),
    "ml-1m-90-10": (
        ("GC-MC", 0.832, "van den Berg et al. 2017"), ("SparseFC", 0.824, "Muller et al. 2018"),
        ("GLocal-K", 0.8227, "Han et al. 2021"),
    ),
}  # fmt: skip


class TextTable(NamedTuple):
    """A table of formatted cells; the first column holds labels."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def read_results(path: Path, remedy: str) -> dict[str, Any]:
    """The content of a benchmark's `results.json`."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected benchmark results, found {error}", remedy) from None
    if not isinstance(results, dict) or results.get("kind") != KIND:
        raise DataError(f"{path}: expected benchmark results, found another file", remedy)
    return results


def summary(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Average the runs of each data set and method, with half widths of 95 % intervals, the lowest RMSE first."""
    rows = []
    for dataset, method in dict.fromkeys((run["dataset"], run["method"]) for run in runs):
        own = [run for run in runs if (run["dataset"], run["method"]) == (dataset, method)]
        complete = [run | _sums(run) for run in own if not run["error"]]
        row: dict[str, Any] = {"dataset": dataset, "method": method, "runs": len(complete)}
        row["seeds"] = len({run["seed"] for run in complete})
        row["dates"] = sorted({run["date"] for run in complete if run.get("date")})
        row["failed"] = next((run["error"] for run in own if run["error"]), None)
        row["unpredictable"] = sum(run["unpredictable"] or 0 for run in complete)
        for name, _, _ in COLUMNS:
            row[name], row[f"{name}_half"] = interval([run[name] for run in complete if run.get(name) is not None])
        rows.append(row)
    order = {dataset: place for place, dataset in enumerate(dict.fromkeys(run["dataset"] for run in runs))}
    return sorted(rows, key=lambda row: (order[row["dataset"]], row["rmse"] or math.inf, -(row["ndcg"] or 0)))


def _sums(run: dict[str, Any]) -> dict[str, float | None]:
    cpu = "tune_cpu_seconds" in run  # earlier results have none
    return {
        "seconds": run["tune_seconds"] + run["fit_seconds"],
        "cpu_seconds": run["tune_cpu_seconds"] + run["fit_cpu_seconds"] if cpu else None,
    }


def cold_summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Average the cold-start curves over the seeds, for each data set and number of revealed ratings; see `summary`."""
    averages = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        curves = [row["curve"] for row in rows if row["dataset"] == dataset and not row["error"]]
        for points in zip(*curves, strict=True):
            average: dict[str, Any] = {"dataset": dataset, "runs": len(points), "revealed": points[0]["revealed"]}
            for name, _, _ in COLD_COLUMNS:
                average[name], average[f"{name}_half"] = interval([point[name] for point in points])
            averages.append(average)
    return averages


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and half width of its 95 % interval; a single value has no interval."""
    if not values:
        return None, None
    if len(values) < 2:
        return float(values[0]), None
    t = T_95[len(values) - 2] if len(values) - 2 < len(T_95) else 1.96
    return statistics.fmean(values), t * statistics.stdev(values) / math.sqrt(len(values))


def cell(row: dict[str, Any], name: str, digits: int, halves: bool = True) -> str:
    """A mean as text, with its half width for errors and ranking measures."""
    value, half = row[name], row[f"{name}_half"]
    if value is None:
        return "-"
    shown = halves and half is not None and not name.endswith("seconds") and name != "memory_gb"
    return f"{value:.{digits}f}" + (f" ± {half:.{digits}f}" if shown else "")


def method_tables(runs: Sequence[dict[str, Any]], published: bool, width: int = WIDE) -> list[TextTable]:
    """One table per data set; narrower than `WIDE` it holds the means of the `NARROW` columns only."""
    rows = summary(runs)
    columns = [column for column in COLUMNS if width >= WIDE or column[0] in NARROW]
    tables = []
    for dataset, title in _titles(rows).items():
        cells = []
        for row in (row for row in rows if row["dataset"] == dataset):
            if row["failed"] and not row["runs"]:
                cells.append([row["method"], f"failed: {row['failed']}"])
                continue
            label = row["method"] + (f" ({row['unpredictable']:,} unpredictable)" if row["unpredictable"] else "")
            cells.append([label, *(cell(row, name, digits, halves=width >= WIDE) for name, _, digits in columns)])
        for method, error, source in PUBLISHED.get(dataset, ()) if published else ():
            cells.append([f"{method} [published: {source}]", f"{error:.4g}"])
        tables.append(TextTable(title, ["", *(name for _, name, _ in columns)], cells))
    return tables


def cold_tables(rows: Sequence[dict[str, Any]]) -> list[TextTable]:
    """One table per data set: errors and ranking for new users by their number of revealed ratings."""
    averages = cold_summary(rows)
    return [
        TextTable(
            f"{title}, new users",
            ["revealed", *(name for _, name, _ in COLD_COLUMNS)],
            [
                [str(row["revealed"]), *(cell(row, name, digits) for name, _, digits in COLD_COLUMNS)]
                for row in averages
                if row["dataset"] == dataset
            ],
        )
        for dataset, title in _titles(averages).items()
    ]


def _titles(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The title of each data set: the file's name instead of its path where that is unambiguous."""
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    names = [Path(dataset).name for dataset in datasets]
    return {dataset: name if names.count(name) == 1 else dataset for dataset, name in zip(datasets, names, strict=True)}

"""The results of a race as tables; the service shows them, too, and has no matplotlib."""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from reelgraph.errors import DataError

RESULTS, KIND = "results.json", "reelgraph-bench"

# Student's t, two-sided 95 %, by degrees of freedom (Fisher and Yates, Statistical Tables); 1.96 beyond the table.
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)

# What each row shows: column, title, digits.
COLUMNS = (
    ("rmse", "RMSE", 4),
    ("mae", "MAE", 4),
    ("user_rmse", "RMSE by user", 4),
    ("ndcg", "nDCG@10", 4),
    ("recall", "Recall@20", 4),
    ("coverage", "coverage@10", 3),
    ("seconds", "tune + fit, s", 1),
    ("fit_seconds", "fit, s", 1),
    ("predict_seconds", "predict, s", 2),
    ("memory_gb", "memory, GB", 2),
)

COLD_COLUMNS = (("rmse", "RMSE", 4), ("bias_rmse", "RMSE of damped biases", 4), ("ndcg", "nDCG@10", 3))

WIDE = 180  # characters that all of them take

NARROW = ("rmse", "ndcg", "recall", "seconds", "memory_gb")

# Test RMSE as the papers report it, on their own runs; never measured here.
PUBLISHED = {
    "ml-100k-u1": (
        ("GC-MC", 0.905, "van den Berg et al. 2017"),
        ("IGMC", 0.905, "Zhang and Chen 2020"),
        ("IMC-GAE", 0.8967, "Shen et al. 2021"),
        ("MG-GAT", 0.890, "Leng et al. 2020"),
        ("GLocal-K", 0.8889, "Han et al. 2021"),
        ("GHRS", 0.887, "Darban and Valipour 2022"),
    ),
    "ml-1m-90-10": (
        ("GC-MC", 0.832, "van den Berg et al. 2017"),
        ("SparseFC", 0.824, "Muller et al. 2018"),
        ("GLocal-K", 0.8227, "Han et al. 2021"),
    ),
}


def read_results(path: Path, remedy: str) -> dict[str, Any]:
    """What `results.json` of a race holds.

    Raises:
        DataError: if it cannot be read or is another file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected results of a bench, found {error}", remedy) from None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise DataError(f"{path}: expected results of a bench, found another file", remedy)
    return found


def summary(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and half width of the 95 % interval over the runs of each data set and method, the lowest RMSE first.

    Returns:
        One row each, with `dataset`, `method`, `runs`, `failed`, `unpredictable` and, for each of `COLUMNS`, `name` and
        `name_half`; None where there is nothing to say.
    """
    rows = []
    for dataset, method in dict.fromkeys((row["dataset"], row["method"]) for row in runs):
        mine = [row for row in runs if (row["dataset"], row["method"]) == (dataset, method)]
        whole = [row | {"seconds": row["tune_seconds"] + row["fit_seconds"]} for row in mine if not row["error"]]
        line: dict[str, Any] = {"dataset": dataset, "method": method, "runs": len(whole)}
        line["failed"] = next((row["error"] for row in mine if row["error"]), None)
        line["unpredictable"] = sum(row["unpredictable"] or 0 for row in whole)
        for name, _, _ in COLUMNS:
            values = [row[name] for row in whole if row[name] is not None]
            line[name], line[f"{name}_half"] = interval(values)
        rows.append(line)
    places = {dataset: place for place, dataset in enumerate(dict.fromkeys(row["dataset"] for row in runs))}
    return sorted(rows, key=lambda row: (places[row["dataset"]], row["rmse"] or math.inf, -(row["ndcg"] or 0)))


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and half width of the 95 % interval of the mean; no width for a single value."""
    if not values:
        return None, None
    if len(values) < 2:
        return float(values[0]), None
    t = T_95[len(values) - 2] if len(values) - 2 < len(T_95) else 1.96
    return statistics.fmean(values), t * statistics.stdev(values) / math.sqrt(len(values))


def table(runs: Sequence[dict[str, Any]], published: bool, width: int = WIDE) -> list[Table]:
    """One table a data set; below `WIDE` characters the means of the main columns alone, so that they can be read."""
    tables, rows = [], summary(runs)
    columns = [column for column in COLUMNS if width >= WIDE or column[0] in NARROW]
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        shown = _titled(dataset)
        shown.add_column("")
        for _, title, _ in columns:
            shown.add_column(title, justify="right")
        for row in (row for row in rows if row["dataset"] == dataset):
            if row["failed"] and not row["runs"]:
                shown.add_row(row["method"], f"failed: {escape(row['failed'])}")
                continue
            marked = (
                f"{row['method']} ({row['unpredictable']:,} unpredictable)" if row["unpredictable"] else row["method"]
            )
            shown.add_row(marked, *(cell(row, name, digits, halves=width >= WIDE) for name, _, digits in columns))
        for method, error, source in PUBLISHED.get(dataset, ()) if published else ():
            shown.add_row(f"{method} [published: {source}]".replace("[", r"\["), f"{error:.4g}")
        tables.append(shown)
    return tables


def cell(row: dict[str, Any], name: str, digits: int, halves: bool = True) -> str:
    """A mean, with its half width where errors and rankings have one and `halves` asks for it."""
    value, half = row[name], row[f"{name}_half"]
    if value is None:
        return "-"
    shown = halves and half is not None and not name.endswith("seconds") and name != "memory_gb"
    return f"{value:.{digits}f}" + (f" ± {half:.{digits}f}" if shown else "")


def cold_summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and half width of the 95 % interval over the seeds, for each data set and number of ratings revealed.

    Args:
        rows: the `cold` rows of a race.

    Returns:
        One row each, with `dataset`, `runs`, `revealed`, and `rmse`, `bias_rmse`, `ndcg` with their `_half`.
    """
    found = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        curves = [row["curve"] for row in rows if row["dataset"] == dataset and not row["error"]]
        for points in zip(*curves, strict=True):
            line: dict[str, Any] = {"dataset": dataset, "runs": len(points), "revealed": points[0]["revealed"]}
            for name, _, _ in COLD_COLUMNS:
                line[name], line[f"{name}_half"] = interval([point[name] for point in points])
            found.append(line)
    return found


def cold_table(rows: Sequence[dict[str, Any]]) -> list[Table]:
    """One table a data set: errors and lists of new users by how many of their ratings are revealed."""
    tables, lines = [], cold_summary(rows)
    for dataset in dict.fromkeys(line["dataset"] for line in lines):
        shown = _titled(f"{dataset}, new users")
        for title in ("revealed", *(title for _, title, _ in COLD_COLUMNS)):
            shown.add_column(title, justify="right")
        for line in (line for line in lines if line["dataset"] == dataset):
            shown.add_row(str(line["revealed"]), *(cell(line, name, digits) for name, _, digits in COLD_COLUMNS))
        tables.append(shown)
    return tables


def _titled(title: str) -> Table:
    return Table(title=escape(title), title_justify="left", title_style="bold", pad_edge=False, box=None)

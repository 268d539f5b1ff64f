"""Write the README's table of results from results/bench/results.json: `python benchmarks/readme.py`."""

import json
from pathlib import Path
from typing import Any

from reelgraph.bench.report import COLD_COLUMNS, PUBLISHED, cell, cold_summary, summary

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
RESULTS = HERE / "results" / "bench"
START, END = "<!-- results:", "<!-- end of results -->"
COLUMNS = (("rmse", 4), ("mae", 4), ("ndcg", 3), ("recall", 3), ("seconds", 0), ("fit_seconds", 0), ("memory_gb", 2))


def table(found: dict[str, Any]) -> str:
    """The results as Markdown, a table a data set."""
    rows = summary(found["runs"])
    lines = ["## Measured", ""]
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        lines += [
            f"**{dataset}**",
            "",
            "| method | seeds | test RMSE | test MAE | nDCG@10 | Recall@20 | tune + fit, s | fit, s | memory, GB |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in (row for row in rows if row["dataset"] == dataset and row["runs"]):
            cells = [cell(row, name, digits) for name, digits in COLUMNS]
            lines.append(f"| {row['method']} | {row['runs']} | {' | '.join(cells)} |")
        published = "; ".join(f"{name} {error:.4g} ({source})" for name, error, source in PUBLISHED.get(dataset, ()))
        lines += ["", *([f"Published test RMSE, not measured here: {published}.", ""] if published else [])]
    return "\n".join([*lines, NOTE.format(**found), *cold(found.get("cold", [])), *visitor()])


def cold(rows: list[dict[str, Any]]) -> list[str]:
    """New users and movies as Markdown, a table a data set."""
    lines, points = [], cold_summary(rows)
    for dataset in dict.fromkeys(point["dataset"] for point in points):
        mine = [row for row in rows if row["dataset"] == dataset]
        lines += [
            "",
            f"**{dataset}, users held out entirely** ({len(mine)} seeds), by how many of their ratings are revealed",
            "",
            "| revealed | RMSE | RMSE of damped biases | nDCG@10 |",
            "|---|---|---|---|",
        ]
        for point in (point for point in points if point["dataset"] == dataset):
            cells = [cell(point, name, digits) for name, _, digits in COLD_COLUMNS]
            lines.append(f"| {point['revealed']} | {' | '.join(cells)} |")
        movies = [row["movies"] for row in mine if row["movies"]]
        if movies:
            mean = {name: sum(one[name] for one in movies) / len(movies) for name in movies[0]}
            lines += [
                "",
                f"Movies held out entirely, known by side features alone: RMSE {mean['rmse']:.3f} (users' biases alone "
                f"{mean['bias_rmse']:.3f}), nDCG@10 among themselves {mean['ndcg']:.3f} (in random order "
                f"{mean['random_ndcg']:.3f}).",
            ]
    return lines


def visitor() -> list[str]:
    """How long a visitor waits, in words."""
    path = HERE / "results" / "visitor.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    waits = "; ".join(f"{name}: {wait['p50']:.1f} ({wait['p99']:.1f})" for name, wait in found["milliseconds"].items())
    return [
        "",
        f"A new visitor waits, in milliseconds at the median (and the 99th percentile), on a catalogue of "
        f"{found['movies']:,} movies with {found['ratings']:,} ratings: {waits}. {found['machine']}, {found['date']}; "
        "made by `benchmarks/visitor.py`.",
    ]


NOTE = """\
Mean over seeds and half width of its 95 % interval; seeds are splits, too, where the split is random. Settings and
stopping step come from validation ratings alone. `residual` uses side features and the time of rating where the data
have them, `residual-no-time` side features alone, `residual-ratings-only` neither; no other method here and none of the
published ones uses the time of rating. Other methods try their list of settings for at most as long as `residual`
takes to tune and fit. `residual`, `ease` and `als-implicit` ran two at a time, on one thread each.
reelgraph {reelgraph}, {machine}, {date}; made by `benchmarks/run.sh`, all figures in
[benchmarks/results/bench](benchmarks/results/bench/results.csv).

![test RMSE against seconds](benchmarks/results/bench/figure.png)"""


def rendered() -> str:
    """The README with the table that belongs into it."""
    text = README.read_text(encoding="utf-8")
    head, rest = text.split(START, 1)
    note, rest = rest.split("-->", 1)
    found = json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))
    return f"{head}{START}{note}-->\n{table(found)}\n{END}{rest.split(END, 1)[1]}"


if __name__ == "__main__":
    README.write_text(rendered(), encoding="utf-8")

"""Write the tables of README.md and docs/ from the committed results: python benchmarks/tables.py."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reelgraph.bench.paired import MEASURES
from reelgraph.bench.results import COLD_COLUMNS, PUBLISHED, cell, cold_summary, summary

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
HEADLINE = "ml-100k-u1"
COLUMNS = (
    ("rmse", 4), ("mae", 4), ("ndcg", 3), ("recall", 3), ("cpu_seconds", 0), ("fit_cpu_seconds", 0), ("seconds", 0),
    ("memory_gb", 2),
)  # fmt: skip
SHOWN = ("residual", "residual-ratings-only", "myfm", "svdpp", "bias", "ease", "als-implicit", "lightgcn")
OURS = ("residual", "residual-ratings-only")  # that the table of differences compares with


def read(name: str) -> dict[str, Any]:
    """A result file."""
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def results() -> list[str]:
    """Accuracy on each data set, on new users and movies, and the speed of the service."""
    found = read("bench/results")
    rows = summary(found["runs"])
    titles = (
        "method", "seeds", "test RMSE", "test MAE", "nDCG@10", "Recall@20", "tune + fit, CPU s", "fit, CPU s",
        "tune + fit, clock s", "memory, GB", "date",
    )  # fmt: skip
    lines = ["## Test ratings", ""]
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        own = [row for row in rows if row["dataset"] == dataset and row["runs"]]
        table = [
            (row["method"], str(row["seeds"]), *(cell(row, *column) for column in COLUMNS), _dates(row["dates"]))
            for row in own
        ]
        lines += [f"**{dataset}**{_folds(own)}", "", *_table(titles, table), "", *differences(found, dataset)]
        published = "; ".join(f"{name} {error:.4g} ({source})" for name, error, source in PUBLISHED.get(dataset, ()))
        lines += [f"Published test RMSE, not measured here: {published}.", ""] if published else []
    return [*lines, NOTE.format(**found), *cold(found.get("cold", [])), *visitor(), *service()]


def _dates(dates: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "-"


def _folds(rows: Sequence[dict[str, Any]]) -> str:
    """What to say of a data set of several parts, of which a run is one."""
    runs = {row["runs"] // row["seeds"] for row in rows}
    return "" if runs == {1} else f", {' or '.join(map(str, sorted(runs)))} folds a seed"


def differences(found: dict[str, Any], dataset: str) -> list[str]:
    """Each method's difference from ours, with interval and p-value."""
    tests = {
        (row["method"], row["measure"], row["own"]): row
        for row in found.get("paired", [])
        if row["dataset"] == dataset and row["own"] in OURS
    }
    methods = [row["method"] for row in summary(found["runs"]) if row["dataset"] == dataset]
    columns = [(measure, own) for measure in MEASURES for own in OURS]
    columns = [column for column in columns if any((method, *column) in tests for method in methods)]
    names = {"rmse": "RMSE", "ndcg": "nDCG@10", "recall": "Recall@20"}
    titles = ("less that of ours, same users", *(f"{names[measure]}, `{own}`" for measure, own in columns))
    table = [
        (method, *(_difference(tests.get((method, *column))) for column in columns))
        for method in methods
        if any((method, *column) in tests for column in columns)
    ]
    return [*_table(titles, table), ""] if table else []


def _difference(test: dict[str, Any] | None) -> str:
    if test is None:
        return "-"
    p = "p < 0.001" if test["p_holm"] < 0.001 else f"p = {test['p_holm']:.3f}"
    return f"{test['difference']:+.4f} ± {test['half']:.4f}, {p}"


def headline() -> list[str]:
    """The default model and the best other methods on ML-100K u1."""
    found = read("bench/results")
    rows = {row["method"]: row for row in summary(found["runs"]) if row["dataset"] == HEADLINE and row["runs"]}
    columns = (("rmse", 4), ("ndcg", 3), ("recall", 3))
    shown = [rows[name] for name in SHOWN if name in rows]
    table = [(row["method"], *(cell(row, *column) for column in columns), str(row["seeds"])) for row in shown]
    note = (
        f"ML-100K, canonical u1 split; mean over seeds and half width of its 95 % interval. `residual` also uses side "
        f"features and the time of rating. {found['machine']}, "
        f"{_dates(sorted({date for row in shown for date in row['dates']}))}: `benchmarks/run.sh`."
    )
    titles = ("method", "test RMSE", "nDCG@10", "Recall@20", "seeds")
    return [*_table(titles, table), "", note]


def cold(rows: list[dict[str, Any]]) -> list[str]:
    """Accuracy for new users and movies, one table per data set."""
    lines, points = [], cold_summary(rows)
    for dataset in dict.fromkeys(point["dataset"] for point in points):
        own = [row for row in rows if row["dataset"] == dataset]
        lines += [
            "",
            f"**{dataset}, new users** ({len(own)} seeds), by the number of their ratings that are revealed",
            "",
            "| revealed | RMSE | RMSE of damped biases | nDCG@10 |",
            "|---|---|---|---|",
        ]
        for point in (point for point in points if point["dataset"] == dataset):
            cells = [cell(point, name, digits) for name, _, digits in COLD_COLUMNS]
            lines.append(f"| {point['revealed']} | {' | '.join(cells)} |")
        movies = [row["movies"] for row in own if row["movies"]]
        if movies:
            mean = {name: sum(movie[name] for movie in movies) / len(movies) for name in movies[0]}
            lines += [
                "",
                f"New movies, known by side features: RMSE {mean['rmse']:.3f} ({mean['bias_rmse']:.3f} by the users' "
                f"biases), nDCG@10 among themselves {mean['ndcg']:.3f} ({mean['random_ndcg']:.3f} in random order).",
            ]
    return lines


def visitor() -> list[str]:
    """Latency of requests of new users."""
    found = read("visitor")
    times = "; ".join(f"{name}: {time['p50']:.1f} ({time['p99']:.1f})" for name, time in found["milliseconds"].items())
    return [
        "",
        f"Latency for a new user in milliseconds, median (99th percentile), with {found['movies']:,} movies and "
        f"{found['ratings']:,} ratings: {times}. {found['machine']}, {found['date']}: `benchmarks/visitor.py`.",
    ]


def service() -> list[str]:
    """The service under load."""
    found = read("service")
    start, single, rate, most, swaps = (found[name] for name in ("start", "single", "rate", "most", "swaps"))
    failed = [sum(part["failures"].values()) for part in (single, rate, most, swaps["load"])]
    rows = [
        ("time and memory until ready", f"{start['seconds']} s, {start['megabytes']:.0f} MB"),
        ("a new user's list, one request at a time: median", f"{single['p50, ms']} ms"),
        (
            f"{rate['requests a second']:.0f} lists per second for {rate['seconds']:.0f} s: median, 99th percentile",
            f"{rate['p50, ms']} ms, {rate['p99, ms']} ms",
        ),
        ("maximum lists per second", f"{most['requests a second']:.0f}"),
        (f"memory growth after {swaps['changes']} model changes under load", swaps["growth"]),
        ("requests above, and failures", f"{_requests(found):,}, {sum(failed)}"),
        ("time to the page's first list, and bytes sent", "{} s, {} kB".format(*found["page"].values())),
        ("malformed requests, and internal errors", f"{found['fuzzer']['malformed']:,}, 0"),
    ]
    return [
        "",
        f"`reelgraph serve` with one process, beside the load generator; {found['movies']:,} movies, new users with 20 "
        f"ratings. {found['machine']}, {found['date']}: `benchmarks/service.py`.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {what} | {measured} |" for what, measured in rows),
    ]


def _requests(found: dict[str, Any]) -> int:
    parts = (found["single"], found["rate"], found["most"], found["swaps"]["load"])
    return sum(part["requests"] for part in parts)


NOTE = """\
Mean over seeds and half width of its 95 % interval; where the split is random, each seed has its own. Settings and
stopping step are chosen on validation ratings. `residual` uses side features and the time of rating where the data
have them, `residual-no-time` only side features, `residual-ratings-only` neither; no other method, measured or
published, uses the time of rating, and the copy of ML-1M measured here has none. Variants that are the same on a data
set are fitted once. Other methods search their settings for at most as many processor seconds as `residual` takes to
tune and fit, and myfm on u1 for a minute. Runs
go two at a time with one thread each; processor seconds (CPU s) hardly depend on what else the
machine does, clock seconds do. The five folds of ML-100K are consecutive fifths of u.data, which are its published
splits u1 to u5.

Differences are paired: what a user has in all runs of both methods counts as one observation, so that ratings of one
user and repeated seeds are not taken for independent. ± is half the 95 % interval (Student's t), p is adjusted by Holm
for all tests of a data set and measure. A positive difference in RMSE and a negative one in nDCG@10 are in our favour.

GC-MC is not measured: Cornac's needs DGL, which does not run with current PyTorch, and RecBole needs Ray 2.6 or older.
LightGCN is PyG's, trained with its BPR loss. For MovieTweetings and FilmTrust we know no published RMSE of the same
split.

reelgraph {reelgraph}, {machine}: `benchmarks/run.sh`; all runs are in
[benchmarks/results/bench](../benchmarks/results/bench/results.csv).

![test RMSE against seconds](../benchmarks/results/bench/figure.png)"""


def scale() -> list[str]:
    """Cost by size, and accuracy against the noise floor."""
    found = read("scale/scale")
    titles = (
        "ratings",
        "prepare",
        "step",
        "its products",
        "train",
        "lists for all",
        "RMSE",
        "of damped biases",
        "noise floor",
        "excess over a longer fit",
    )
    rows = [
        (
            f"{row['ratings']:,}",
            _both(row["prepare"]),
            f"{1000 * row['fit']['step_seconds']:.0f} ms",
            f"{1000 * row['fit']['product_seconds']:.0f} ms",
            f"{row['fit']['all_steps']} steps, {_both(row['fit'])}",
            _both(row["lists"]),
            *(f"{row['rmse'][name]:.4f}" for name in ("model", "bias", "floor")),
            "{farther:.1%} ({times}x)".format(**row["longer"]) if "longer" in row else "",
        )
        for row in found["rows"]
    ]
    note = (
        "The rating head with 32 dimensions and default settings, fit and refit; each command in its own process, with "
        f"peak memory. {found['threads']} threads; {_made(found)}"
    )
    picture = "![cost and error against the number of ratings](../benchmarks/results/scale/figure.png)"
    return [*_table(titles, rows), "", note, "", picture]


def _both(cost: dict[str, float]) -> str:
    return f"{cost['seconds']:.0f} s, {cost['memory_gb']:.1f} GB"


def preparation() -> list[str]:
    """Time and memory of preparation."""
    found = read("prepare")
    rows = [
        (f"{row['ratings']:,}", row["form"], row["engine"], f"{row['seconds']:.1f} s", f"{row['memory_gb']:.1f} GB")
        for row in found["rows"]
    ]
    note = "Each run is `reelgraph prepare`, with the peak memory of its processes."
    return [*_table(("ratings", "file", "engine", "time", "memory"), rows), "", f"{note} {_made(found)}"]


def lists() -> list[str]:
    """Time and memory of lists for all users."""
    found = read("lists")
    rows = [
        (
            "blend of both heads" if row["ranking_head"] else "rating head alone",
            row["engine"],
            f"{row['seconds']:.0f} s",
            f"{row['memory_gb']:.2f} GB",
        )
        for row in found["runs"]
    ]
    note = f"{found['users']:,} users, {found['movies']:,} movies, lists of {found['k']}; the engines' lists are equal."
    return [*_table(("model", "engine", "time", "memory"), rows), "", f"{note} {_made(found)}"]


def processes() -> list[str]:
    """Time of a training step in one process and in several."""
    found = read("processes")
    rows = [
        (
            f"{row['train']:,}",
            f"{row['movies']:,}",
            f"{1000 * row['one_process_step']:.0f} ms",
            f"{1000 * row['processes_step']:.0f} ms",
            f"{row['ratio']:.2f}",
            f"{row['bytes_a_step']['all'] / 1e6:.1f} MB",
            f"{row['bytes_a_step']['all'] / row['movies']:.0f}",
        )
        for row in found["rows"]
    ]
    one, number = found["rows"][0]["threads"], found["rows"][0]["processes"]
    titles = (
        "training ratings",
        "movies",
        f"one process, {one} threads",
        f"{number} processes, one thread each",
        "ratio",
        "sent per step and process",
        "bytes per movie",
    )
    return [*_table(titles, rows), "", f"Median step, 32 dimensions. {_made(found)}"]


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (titles, ("---",) * len(titles), *rows)]


def _made(found: dict[str, Any]) -> str:
    return f"{found['machine']}, reelgraph {found['reelgraph']}, {found['date']}: `{found['command']}`."


TABLES: dict[str, dict[str, Callable[[], list[str]]]] = {  # by document and by the name in its comments
    "README.md": {"summary": headline},
    "docs/results.md": {"results": results},
    "docs/performance.md": {"scale": scale, "preparation": preparation, "lists": lists},
    "docs/distributed.md": {"processes": processes},
}


def rendered(document: str) -> str:
    """The text of a document, such as "README.md", with current tables."""
    text = (HERE.parent / document).read_text(encoding="utf-8")
    for name, table in TABLES[document].items():
        start, end = f"<!-- {name}: made by benchmarks/tables.py -->\n", f"<!-- end of {name} -->"
        head, rest = text.split(start, 1)
        text = "\n".join([head + start.rstrip(), *table(), end + rest.split(end, 1)[1]])
    return text


def write(document: str) -> None:
    """Update the tables of a document."""
    (HERE.parent / document).write_text(rendered(document), encoding="utf-8")


if __name__ == "__main__":
    for document in TABLES:
        write(document)

"""Write the tables of README.md and docs/ from the committed results: python benchmarks/tables.py."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reelgraph.bench.results import COLD_COLUMNS, PUBLISHED, cell, cold_summary, summary

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
HEADLINE = "ml-100k-u1"
COLUMNS = (("rmse", 4), ("mae", 4), ("ndcg", 3), ("recall", 3), ("seconds", 0), ("fit_seconds", 0), ("memory_gb", 2))


def read(name: str) -> dict[str, Any]:
    """A result file."""
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def results() -> list[str]:
    """Accuracy on each data set, on new users and movies, and the speed of the service."""
    found = read("bench/results")
    rows = summary(found["runs"])
    lines = ["## Test ratings", ""]
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
    return [*lines, NOTE.format(**found), *cold(found.get("cold", [])), *visitor(), *service()]


def headline() -> list[str]:
    """The default model and the best other methods on ML-100K u1."""
    found = read("bench/results")
    rows = {row["method"]: row for row in summary(found["runs"]) if row["dataset"] == HEADLINE and row["runs"]}
    columns = (("rmse", 4), ("ndcg", 3), ("recall", 3))
    table = [
        (name, *(cell(rows[name], column, digits) for column, digits in columns), rows[name]["runs"])
        for name in ("residual", "myfm", "svdpp", "ease", "als-implicit", "bias", "popularity")
    ]
    note = (
        f"ML-100K, canonical u1 split; mean over seeds and half width of its 95 % interval. `residual` also uses side "
        f"features and the time of rating. {found['machine']}, {found['date']}: `benchmarks/run.sh`."
    )
    titles = ("method", "test RMSE", "nDCG@10", "Recall@20", "seeds")
    return [*_table(titles, [tuple(map(str, row)) for row in table]), "", note]


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
published, uses the time of rating. Other methods search their settings for at most as long as `residual` takes to tune
and fit. `residual`, `ease` and `als-implicit` ran two at a time, with one thread each.
reelgraph {reelgraph}, {machine}, {date}: `benchmarks/run.sh`; all runs are in
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

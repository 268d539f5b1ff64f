"""A benchmark on a small file: results, resuming, failures, tables and figures."""

import csv
import importlib
import io
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from reelgraph._version import __version__
from reelgraph.bench import compare, datasets, figures
from reelgraph.bench.compare import BUDGET, BenchJob, list_jobs, measure_cold, run_jobs
from reelgraph.bench.figures import method_figure
from reelgraph.bench.results import cold_summary, cold_tables, interval, method_tables, summary
from reelgraph.config import DataConfig
from reelgraph.data.prepare.prepare import prepare
from reelgraph.data.sources import find
from reelgraph.errors import DataError, LeakError, SetupError
from reelgraph.tabular import make_table
from tests.support.worlds import prepare_rows

Command = Callable[..., subprocess.CompletedProcess[str]]
MODELS = "mean,bias,ease,residual"


@pytest.fixture(scope="module")
def done(command: Command, tables: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("race") / "results"
    ended = command(
        "bench", tables / "ratings.csv", "--models", MODELS, "--seeds", 2, "--budget", 0, "--out", out, "--published"
    )
    assert ended.returncode == 0, ended.stderr
    return out, ended


def row(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = dict.fromkeys(
        ("rmse", "mae", "user_rmse", "ndcg", "recall", "coverage", "predict_seconds"), 1.0
    )
    base |= {"dataset": "d", "part": "d", "method": "m", "seed": 0, "error": None, "unpredictable": 0}
    base |= {"tune_seconds": 1.0, "fit_seconds": 2.0, "tune_cpu_seconds": 1.5, "fit_cpu_seconds": 2.5}
    return base | {"reelgraph": __version__, "memory_gb": 0.5, "settings": {}} | changes


@pytest.mark.slow
def test_every_method_and_seed_is_measured(done: tuple[Path, Any]) -> None:
    out, ended = done
    result = json.loads((out / "results.json").read_text())
    runs = {(run["method"], run["seed"]): run for run in result["runs"]}
    assert set(runs) == {(name, seed) for name in MODELS.split(",") for seed in (0, 1)}
    for run in runs.values():
        assert run["error"] is None
        assert run["memory_gb"] > 0.05
        assert run["date"] == result["date"]
    assert runs["residual", 0]["tune_cpu_seconds"] > runs["residual", 0]["fit_cpu_seconds"] > 0
    assert runs["mean", 0]["ndcg"] is None
    assert runs["ease", 0]["rmse"] is None
    assert 0 < runs["ease", 0]["ndcg"] <= 1
    assert runs["residual", 0]["rmse"] < runs["bias", 0]["rmse"] < runs["mean", 0]["rmse"]
    assert runs["residual", 0]["settings"]["steps"] > 0
    assert runs["residual", 0]["tried"] > 1
    assert runs["mean", 0]["rmse"] != runs["mean", 1]["rmse"], "each seed has its own split"
    for name in ("date", "machine", "reelgraph", "python"):
        assert result[name]
    assert "--seeds 2" in result["command"]
    shown = f"{runs['mean', 0]['rmse'] / 2 + runs['mean', 1]['rmse'] / 2:.4f}"
    assert shown in ended.stdout
    assert "seed 1: residual" in ended.stderr


@pytest.mark.slow
def test_csv_holds_the_same_runs(done: tuple[Path, Any]) -> None:
    out, _ = done
    runs = json.loads((out / "results.json").read_text())["runs"]
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(line["method"], line["seed"], line["rmse"]) for line in rows] == [
        (run["method"], str(run["seed"]), "" if run["rmse"] is None else str(run["rmse"])) for run in runs
    ]


@pytest.mark.slow
def test_figures_are_written(done: tuple[Path, Any]) -> None:
    out, _ = done
    svg = (out / "figure.svg").read_text()
    assert (out / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert svg.count("<text") + svg.count("<use") > 10
    assert "residual" in svg


@pytest.mark.slow
def test_finished_runs_are_kept(
    done: tuple[Path, Any], command: Command, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = done
    before = json.loads((out / "results.json").read_text())["runs"]
    again = command(
        "bench", tables / "ratings.csv", "--models", f"{MODELS},popularity", "--seeds", 2, "--budget", 0, "--json",
        "--out", out,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    found = json.loads(again.stdout)
    assert found["runs"][: len(before)] == before
    assert [run["method"] for run in found["runs"][len(before) :]] == ["popularity", "popularity"]
    assert {line["method"] for line in found["summary"]} == {*MODELS.split(","), "popularity"}


@pytest.mark.slow
def test_a_failed_run_does_not_stop_the_others(tables: Path, tmp_path: Path) -> None:
    file = str(tables / "ratings.csv")
    todo = [BenchJob(file, file, "no such method", 0, 1.0), BenchJob(file, file, "mean", 0, 1.0)]
    *_, result = run_jobs(todo, tmp_path / "out", "x", lambda _: None)
    failed, mean = result["runs"]
    assert "KeyError" in failed["error"]
    assert mean["error"] is None
    *_, again = run_jobs(todo[:1], tmp_path / "out", "x", lambda _: None)
    assert [run["method"] for run in again["runs"]] == ["mean", "no such method"], "failed runs are repeated"
    (shown,) = method_tables(result["runs"], published=False)
    assert {row[0]: row[1].partition(":")[0] for row in shown.rows}["no such method"] == "failed"


def test_an_interrupt_keeps_finished_runs(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(tables / "ratings.csv")
    runs: Iterator[Any] = iter([row(dataset=file, part=file, method="mean"), KeyboardInterrupt()])

    def run(*_: Any) -> dict[str, Any]:
        found = next(runs)
        if isinstance(found, BaseException):
            raise found
        result: dict[str, Any] = found
        return result

    monkeypatch.setattr(compare, "run_job", run)
    todo = list_jobs([file], ["mean", "bias"], 1, 1.0)
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(todo, tmp_path, "x", lambda _: None))
    assert [line["method"] for line in json.loads((tmp_path / "results.json").read_text())["runs"]] == ["mean"]


def test_own_models_run_first_and_set_the_budget(tables: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    budgets: dict[str, float | None] = {}

    def run(job: BenchJob, *_: Any) -> dict[str, Any]:
        budgets[job.method] = job.budget
        if job.method == "residual":
            time.sleep(0.2)
        return row(tune_cpu_seconds=30.0, fit_cpu_seconds=10.0)

    monkeypatch.setattr(compare, "run_job", run)
    source = find(tables / "ratings.csv")
    monkeypatch.setattr(
        datasets, "prepare_part", lambda *_: prepare(source, DataConfig(), tmp_path / "p", lambda _: None)
    )
    for at_once in (1, 2):
        out = tmp_path / str(at_once)
        *_, result = run_jobs(list_jobs(["sample"], ["svd", "residual"], 1, None), out, "x", lambda _: None, at_once)
        assert budgets == {"residual": BUDGET, "svd": 40.0}
        assert [run["method"] for run in result["runs"]] == ["residual", "svd"]
    folds = list_jobs(["ml-100k-5fold"], ["mean"], 2, None)
    assert len(folds) == 10
    assert {job.dataset for job in folds} == {"ml-100k-5fold"}


@pytest.mark.parametrize("at_once", [1, 2])
def test_equal_runs_happen_once(at_once: int, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On ratings without times and side features all variants of ours are the same."""
    (tmp_path / "plain.csv").write_text(
        "\n".join(",".join(line.split(",")[:3]) for line in (tables / "ratings.csv").read_text().splitlines())
    )
    ran: list[str] = []

    def run(job: BenchJob, *_: Any) -> dict[str, Any]:
        ran.append(job.method)
        return row(rmse=0.7)

    monkeypatch.setattr(compare, "run_job", run)
    names = ["residual", "residual-no-time", "residual-ratings-only", "mean"]
    todo = list_jobs([str(tmp_path / "plain.csv")], names, 1, 0.0)
    *_, result = run_jobs(todo, tmp_path / "out", "x", lambda _: None, at_once)
    assert sorted(ran) == ["mean", "residual"]
    assert {run["method"]: run["rmse"] for run in result["runs"]} == dict.fromkeys(names, 0.7)
    again = [replace(todo[0], dataset="five folds")]
    *_, result = run_jobs(again, tmp_path / "out", "x", lambda _: None)
    assert len(ran) == 2, "a fold of a finished data set"
    assert (result["runs"][-1]["dataset"], result["runs"][-1]["rmse"]) == ("five folds", 0.7)


def test_runs_of_another_version_are_repeated(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "run_job", lambda *_: row(rmse=0.7))
    file = str(tables / "ratings.csv")
    for version in ("0.0.1", None):
        old = row(dataset=file, part=file, method="mean", rmse=0.9, reelgraph=version)
        compare.write_results({"kind": "reelgraph-bench", "version": 1, "runs": [old]}, tmp_path)
        *_, result = run_jobs(list_jobs([file], ["mean"], 1, 1.0), tmp_path, "x", lambda _: None)
        assert [run["rmse"] for run in result["runs"]] == [0.7]


@pytest.mark.slow
def test_differences_between_methods_are_tested(done: tuple[Path, Any]) -> None:
    out, _ = done
    result = json.loads((out / "results.json").read_text())
    tests = {(test["method"], test["measure"]): test for test in result["paired"]}
    assert set(tests) >= {("mean", "rmse"), ("bias", "rmse"), ("bias", "ndcg"), ("ease", "ndcg")}
    assert not {("mean", "ndcg"), ("ease", "rmse")} & set(tests), "they do not do that"
    runs = {(run["method"], run["seed"]): run["rmse"] for run in result["runs"]}
    apart = sum(runs["mean", seed] - runs["residual", seed] for seed in (0, 1)) / 2
    assert tests["mean", "rmse"]["difference"] == pytest.approx(apart, rel=0.02)
    assert tests["mean", "rmse"]["p_holm"] < 0.05
    assert tests["mean", "rmse"]["runs"] == 2


def test_a_leak_stops_the_benchmark(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(name: str, seed: int, out: Path, report: Any) -> Path:
        path = prepare(find(tables / "ratings.csv"), DataConfig(), out, lambda _: None)
        ratings = pq.read_table(path / "ratings.parquet").to_pandas()
        again = ratings[ratings["split"] == "test"].head(3).assign(split="train")
        pq.write_table(
            pa.Table.from_pandas(pd.concat([ratings, again]), preserve_index=False), path / "ratings.parquet"
        )
        return path

    monkeypatch.setattr(datasets, "prepare_part", leaking)
    with pytest.raises(LeakError, match="both in train and in test, found 3"):
        list(run_jobs(list_jobs(["sample"], ["mean"], 1, None), tmp_path / "out", "x", lambda _: None))


def test_other_files_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(DataError, match="expected benchmark results"):
        list(run_jobs([], tmp_path, "x", lambda _: None))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [(("ml-2m",), "data set 'ml-2m'"), (("sample", "--models", "svd,none"), "expected names from mean, bias")],
)
def test_unknown_names_are_one_line(arguments: tuple[str, ...], problem: str, command: Command, tmp_path: Path) -> None:
    ended = command("bench", *arguments, "--out", tmp_path / "out")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert problem in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_new_users_are_measured_with_the_default_model(done: tuple[Path, Any]) -> None:
    out, ended = done
    rows = json.loads((out / "results.json").read_text())["cold"]
    assert [(row["seed"], row["error"]) for row in rows] == [(0, None), (1, None)]
    for row in rows:
        assert [point["revealed"] for point in row["curve"]] == [0, 1, 3, 5, 10, 20]
        assert row["users"] > 0
        assert row["movies"] is None, "a ratings file has no side features"
    assert rows[0]["curve"] != rows[1]["curve"], "each seed holds out other users"
    (table,) = cold_tables(rows)
    assert table.title == "ratings.csv, new users"
    assert table.rows[0][1].startswith(f"{rows[0]['curve'][0]['rmse'] / 2 + rows[1]['curve'][0]['rmse'] / 2:.4f} ±")
    assert table.rows[0][1] in ended.stdout
    assert {"cold.svg", "cold.png"} <= {file.name for file in out.iterdir()}


@pytest.mark.slow
def test_new_users_are_measured_on_request(command: Command, tables: Path, tmp_path: Path) -> None:
    for models, more, number in (("residual", ["--no-cold"], 0), ("mean", [], 0), ("mean", ["--cold"], 1)):
        out = tmp_path / f"{models}{len(more)}{number}"
        ended = command(
            "bench", tables / "ratings.csv", "--models", models, "--seeds", 1, "--budget", 0, *more, "--out", out
        )
        assert ended.returncode == 0, ended.stderr
        assert len(json.loads((out / "results.json").read_text())["cold"]) == number
        assert (out / "cold.svg").exists() == bool(number)


def test_new_users_need_many_ratings_to_hide(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [(user, movie, 1 + movie % 5) for user in range(20) for movie in range(9)]
    with pytest.raises(DataError, match="more than 20 ratings, found none"):
        measure_cold(prepare_rows(tmp_path, rows), seed=0)


def test_figures_need_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, figures.__name__)
    with pytest.raises(SetupError, match="expected matplotlib"):
        importlib.import_module(figures.__name__)


def test_cold_start_curves_are_averaged_over_seeds() -> None:
    def point(revealed: int, value: float) -> dict[str, float]:
        return {"revealed": revealed, "rmse": value, "bias_rmse": 2 * value, "ndcg": value / 2}

    rows = [
        {"dataset": "d", "error": None, "curve": [point(0, 1.0 + seed), point(5, 0.5 + seed)]} for seed in (0, 1)
    ] + [{"dataset": "e", "error": None, "curve": [point(0, 3.0)]}]  # fmt: skip
    found = cold_summary(rows)
    assert [(row["dataset"], row["revealed"], row["runs"], row["rmse"]) for row in found] == [
        ("d", 0, 2, 1.5), ("d", 5, 2, 1.0), ("e", 0, 1, 3.0)
    ]  # fmt: skip
    assert found[0]["rmse_half"] == pytest.approx(interval([1.0, 2.0])[1])
    assert found[2]["rmse_half"] is None


def test_intervals_use_students_t() -> None:
    assert interval([]) == (None, None)
    assert interval([2.0]) == (2.0, None)
    mean, half = interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert half == pytest.approx(4.303 / math.sqrt(3))


def test_a_summary_is_sorted_and_counts_unpredictable_pairs() -> None:
    runs = [row(method="a", rmse=2.0, unpredictable=3), row(method="a", seed=1, rmse=4.0), row(method="b", rmse=1.0)]
    first, second = summary([*runs, row(method="b", seed=1, error="broken")])
    assert (first["method"], first["runs"], first["failed"]) == ("b", 1, "broken")
    assert (second["rmse"], second["unpredictable"], second["seconds"]) == (3.0, 3, 3.0)
    assert summary([row(method="a", error="broken")])[0]["rmse"] is None


@pytest.mark.slow
def test_memory_is_that_of_the_run(tables: Path, tmp_path: Path) -> None:
    ballast = np.ones(100_000_000)  # 0.8 GB in the process that starts the runs
    file = str(tables / "ratings.csv")
    *_, result = run_jobs([BenchJob(file, file, "mean", 0, 1.0)], tmp_path, "x", lambda _: None)
    assert ballast.all()
    assert 0.03 < result["runs"][0]["memory_gb"] < 0.5


def test_a_narrow_terminal_shows_fewer_columns_and_no_intervals() -> None:
    runs = [row(method="residual-ratings-only", rmse=0.87654321 + seed / 100, seed=seed) for seed in range(3)]
    for width, columns, rmse in ((80, 5, "0.8865"), (180, 11, "0.8865 ± 0.0248")):
        (table,) = method_tables(runs, published=False, width=width)
        assert len(table.header) == columns + 1
        assert table.rows[0][:2] == ["residual-ratings-only", rmse]
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(make_table(*table, width=width))
        assert rmse in console.export_text()


def test_titles_show_file_names() -> None:
    runs = [row(dataset=path, part=path) for path in ("/long/path/a.csv", "/x/b.csv", "/y/b.csv", "sample")]
    titles = [table.title for table in method_tables(runs, published=False)]
    assert titles == ["a.csv", "/x/b.csv", "/y/b.csv", "sample"]


def test_published_results_are_marked(tmp_path: Path) -> None:
    runs = [row(dataset="ml-100k-u1", rmse=0.9)]
    names = [cells[0] for cells in method_tables(runs, published=True)[0].rows]
    assert sum("published: " in name for name in names) == 6
    assert not any("published" in cells[0] for cells in method_tables(runs, published=False)[0].rows)
    svg, _ = method_figure(runs, True, tmp_path)
    assert "GHRS (published)" in svg.read_text()
    assert method_figure([row(rmse=None)], False, tmp_path) == []

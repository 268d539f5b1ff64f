"""The script that measures cost against size: what it writes, what it does not run again, what it draws."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reelgraph.config import TrainConfig
from reelgraph.data.dataset import load_prepared
from reelgraph.planning import HEADS, Size, Speed, plan
from reelgraph.recommend.recommender import open_model
from tests.support.worlds import benchmark

scale = benchmark("scale")
SIZE = 4000


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The work directory and the results of a small size."""
    folder = tmp_path_factory.mktemp("scale")
    run(folder / "work", folder / "out")
    return folder / "work", folder / "out"


def run(work: Path, out: Path, *options: object) -> str:
    command = [
        sys.executable,
        scale.__file__,
        "--ratings",
        SIZE,
        "--max-steps",
        20,
        "--work",
        work,
        "--out",
        out,
        *options,
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_errors_are_those_of_the_model_on_the_test_split(measured: tuple[Path, Path]) -> None:
    work, out = measured
    (row,) = scale.read(out)
    data = load_prepared(work / f"prepared-{SIZE}")
    prediction = open_model(work / f"model-{SIZE}").predictor.predict(*data.raw_ids(data.test), data.test.timestamp)
    assert row["rmse"]["model"] == pytest.approx(np.sqrt(((prediction - data.test.rating) ** 2).mean()), abs=1e-5)
    truth = benchmark("synthetic").Truth.read(work / f"synthetic-{SIZE}" / "truth.npz")
    ids = (np.array(column, np.int64) for column in data.raw_ids(data.test))
    assert row["rmse"]["floor"] == pytest.approx(truth.floor(*ids, data.test.rating)["rmse"])
    assert row["rmse"]["floor"] < row["rmse"]["model"]
    assert (row["ratings"], row["users"], row["movies"]) == (SIZE, 28, 382)


@pytest.mark.slow
def test_costs_are_there(measured: tuple[Path, Path]) -> None:
    (row,) = scale.read(measured[1])
    assert 0 < row["fit"]["product_seconds"] < row["fit"]["step_seconds"] < row["fit"]["seconds"]
    for stage in ("prepare", "fit", "lists", "rank"):
        assert 0.1 < row[stage]["memory_gb"] < 3
    assert row["fit"]["steps"] <= row["fit"]["fit_steps"] <= 20 < row["fit"]["all_steps"]  # those of the refit, too


@pytest.mark.slow
def test_what_is_there_is_not_run_again(measured: tuple[Path, Path]) -> None:
    work, out = measured
    before = (out / "scale.json").read_bytes()
    assert run(work, out) == ""
    assert (out / "scale.json").read_bytes() == before


@pytest.mark.slow
def test_a_longer_fit_is_added(measured: tuple[Path, Path], tmp_path: Path) -> None:
    work, out = measured
    (before,) = scale.read(out)
    shutil.copytree(out, tmp_path / "out")
    run(work, tmp_path / "out", "--longer", 3)
    (row,) = scale.read(tmp_path / "out")
    found = row.pop("longer")
    assert row == before
    assert found["steps"] == 3 * row["fit"]["fit_steps"]
    curve = dict(found["curve"])
    assert found["longer_distance"] == min(curve.values()) > 0
    assert found["distance"] == min(curve[step] for step in curve if step <= row["fit"]["fit_steps"])
    assert found["farther"] == pytest.approx(found["distance"] / found["longer_distance"] - 1, abs=1e-4)
    assert curve[found["steps_to_one_percent"]] <= 1.01 * found["longer_distance"]
    # The usual fit is the beginning of the longer one.
    history = pd.read_csv(work / f"model-{SIZE}" / "history.csv")
    usual = history[history.phase == "fit"].valid_rmse.min()
    data = load_prepared(work / f"prepared-{SIZE}")
    assert usual - scale.floor(data, data.valid, work / f"synthetic-{SIZE}") == pytest.approx(
        found["distance"], abs=1e-5
    )


def test_a_figure_of_rows(tmp_path: Path) -> None:
    cost = {"seconds": 1.0, "memory_gb": 0.5}
    fit = cost | {"load_seconds": 0.1, "step_seconds": 0.01, "product_seconds": 0.005}
    rows: list[dict[str, Any]] = [
        {"ratings": 10**power, "prepare": cost, "fit": fit, "lists": cost, "rank": fit,
         "rmse": {"floor": 0.78, "bias": 0.87, "model": 0.8}}
        for power in (5, 6)
    ]  # fmt: skip
    scale.drawn(rows, tmp_path)
    text = (tmp_path / "figure.svg").read_text()
    for label in ("noise floor", "damped biases", "prepare", "lists for all", "peak memory, GB"):
        assert f"<!-- {label} -->" in text
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    """The results that the documentation shows."""
    found: dict[str, Any] = json.loads((scale.OUT / scale.RESULTS).read_text(encoding="utf-8"))
    return found


def test_the_table_of_the_documentation_is_that_of_the_results(committed: dict[str, Any]) -> None:
    tables = benchmark("tables")
    assert tables.read("scale/scale") == committed
    document = Path(scale.__file__).parents[1] / "docs" / "performance.md"
    text = document.read_text(encoding="utf-8")
    assert tables.rendered("docs/performance.md") == text, "run: python benchmarks/tables.py"


def test_plans_say_what_was_measured(committed: dict[str, Any]) -> None:
    """Memory within a factor of 1.4, times within 1.6; what libraries take alone is left aside."""
    speed = Speed(committed["gathers"], committed["threads"])
    for row in committed["rows"]:
        size = Size(row["ratings"], row["users"], row["movies"])
        found = plan(size, TrainConfig(dim=scale.DIM, ranking=False, tune="none"), speed, None)
        step = speed.seconds(HEADS["residual"].seconds.of(size, scale.DIM))
        rank_step = speed.seconds(HEADS["rank"].seconds.of(size, TrainConfig().for_ranking(size.ratings).dim))
        for said, measured, beside, factor in (
            (found.train.memory, 1e9 * row["fit"]["memory_gb"], 4e8, 1.4),
            (found.prepare.memory, 1e9 * row["prepare"]["memory_gb"], 3e8, 1.4),
            (found.lists.memory, 1e9 * row["lists"]["memory_gb"], 2e8, 1.4),
            (step, row["fit"]["step_seconds"], 0.003, 1.6),
            (rank_step, row["rank"]["step_seconds"], 0.01, 1.6),
            (found.prepare.seconds, row["prepare"]["seconds"], 1.5, 1.6),
            (found.lists.seconds, row["lists"]["seconds"], 1.5, 1.6),
        ):
            assert measured / factor - beside < said < factor * measured + beside, row["ratings"]

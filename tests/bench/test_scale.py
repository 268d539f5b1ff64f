"""The script that measures cost against size: what it writes, what it does not run again, what it draws."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import benchmark

from reelgraph.data.dataset import load_prepared
from reelgraph.recommender import open_model

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
        12,
        "--work",
        work,
        "--out",
        out,
        *options,
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


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


def test_costs_are_there(measured: tuple[Path, Path]) -> None:
    (row,) = scale.read(measured[1])
    assert 0 < row["fit"]["product_seconds"] < row["fit"]["step_seconds"] < row["fit"]["seconds"]
    for stage in ("prepare", "fit", "lists", "rank"):
        assert 0.1 < row[stage]["memory_gb"] < 3
    assert row["fit"]["steps"] <= 12 < row["fit"]["all_steps"]  # those of the refit, too


def test_what_is_there_is_not_run_again(measured: tuple[Path, Path]) -> None:
    work, out = measured
    before = (out / "scale.json").read_bytes()
    assert run(work, out) == ""
    assert (out / "scale.json").read_bytes() == before


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
    assert "with ten times the steps" not in text
    assert (tmp_path / "figure.png").stat().st_size > 10_000

"""Training in several processes: same result as one process, one clear error, interruption and resume."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch.distributed as dist

from reelgraph.errors import TrainingError
from reelgraph.models.shard import Shard, shard_of
from reelgraph.recommend.recommender import open_model
from reelgraph.training import launch, process
from tests.support.clusters import Cluster, settings, until
from tests.support.worlds import benchmark, interactions

Run = Callable[..., subprocess.CompletedProcess[str]]
SHORT = ("--tune", "none", "--max-steps", 30, "--eval-every", 5, "--rank-max-steps", 20, "--rank-dim", 8)


@pytest.fixture(scope="module")
def prepared(movielens: Path, command: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ML-100K's u1 split with its side features, prepared."""
    folder, out = movielens / "ml-100k", tmp_path_factory.mktemp("prepared") / "p"
    tables = "--items", folder / "u.item", "--users", folder / "u.user", "--test", folder / "u1.test"
    done = command("prepare", folder / "u1.base", *tables, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def alone(prepared: Path, command: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained by one process."""
    out = tmp_path_factory.mktemp("alone") / "model"
    done = command("train", prepared, *SHORT, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def curve(model: Path) -> list[dict[str, float]]:
    with (model / "history.csv").open() as file:
        rows = [{name: float(cell) for name, cell in row.items() if name not in {"phase", "seconds"} and cell}
                for row in csv.DictReader(file)]  # fmt: skip
    assert len(rows) > 6
    return rows


def same(model: Path, other: Path) -> None:
    """Check that histories and test errors agree within 1e-4, and weights within 2 % of the largest."""
    for row, expected in zip(curve(model), curve(other), strict=True):
        assert row == pytest.approx(expected, abs=1e-4)
    first, second = open_model(model).artifact, open_model(other).artifact
    assert first.manifest["metrics"]["test"]["model"] == pytest.approx(
        second.manifest["metrics"]["test"]["model"], abs=1e-4
    )
    assert first.manifest["ranking"]["valid_ndcg"] == pytest.approx(second.manifest["ranking"]["valid_ndcg"], abs=1e-3)
    for name, array in second.weights.items():
        scale = np.abs(array).max() + 1e-6
        np.testing.assert_allclose(first.weights[name], array, atol=0.02 * scale, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_give_the_result_of_one(
    processes: int, prepared: Path, alone: Path, command: Run, tmp_path: Path
) -> None:
    done = command("train", prepared, *SHORT, "--processes", processes, "--out", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert "fit  step 1" in done.stderr
    assert "this model" in done.stdout
    same(tmp_path / "model", alone)
    assert open_model(tmp_path / "model").artifact.manifest["processes"] == processes
    assert not (tmp_path / "model.checkpoint").exists()


@pytest.mark.slow
def test_a_refit_that_continues_the_fit_is_the_same_in_two_processes(command: Run, tmp_path: Path) -> None:
    """With more than a million ratings; a process holds other users in the refit than in the fit."""
    maker = benchmark("synthetic")
    maker.write(maker.Truth.drawn(1_300_000, 9000, 6000, 0), tmp_path / "made", 500_000)
    done = command("prepare", tmp_path / "made" / "ratings", "--out", tmp_path / "p")
    assert done.returncode == 0, done.stderr
    options = ("--no-ranking", "--tune", "none", "--dim", 4, "--max-steps", 8, "--eval-every", 4)
    models = []
    for processes in (1, 2):
        out = tmp_path / f"model-{processes}"
        done = command("train", tmp_path / "p", *options, "--processes", processes, "--out", out)
        assert done.returncode == 0, done.stderr
        models.append(open_model(out).artifact)
    assert models[0].manifest["data"]["counts"]["train"] > 1_000_000
    errors = [model.manifest["metrics"]["test"]["model"] for model in models]
    assert errors[0] == pytest.approx(errors[1], abs=1e-4)
    for name, array in models[0].weights.items():
        np.testing.assert_allclose(models[1].weights[name], array, atol=1e-3, err_msg=name)


@pytest.mark.slow
def test_torchrun_gives_the_same_result(prepared: Path, alone: Path, tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "reelgraph", "train", prepared, *SHORT, "--out", tmp_path / "model"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refitted on training and validation ratings") == 1, "only rank 0 prints"
    same(tmp_path / "model", alone)


def test_workers_of_a_spark_cluster_give_the_same_result(
    cluster: Cluster, prepared: Path, alone: Path, command: Run, tmp_path: Path
) -> None:
    done = command("train", prepared, *SHORT, "--processes", 2, "--engine", cluster.url, "--out", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert "fit  step 1" in done.stderr
    assert all("WARN" not in line and "INFO" not in line for line in done.stderr.splitlines()), done.stderr
    same(tmp_path / "model", alone)


def test_workers_that_cannot_train_are_one_line(
    cluster: Cluster, tables: Path, command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("prepare", tables, "--out", tmp_path / "prepared").returncode == 0
    monkeypatch.setenv("PYSPARK_PYTHON", str(tmp_path / "none"))
    for name, value in settings(tmp_path / "conf", stage_maxConsecutiveAttempts="1").items():
        monkeypatch.setenv(name, value)  # Spark would try four times.
    options = ["--processes", 2, "--engine", cluster.url, "--out", tmp_path / "model"]
    done = command("train", tmp_path / "prepared", *SHORT, *options)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: training: expected 2 processes on {cluster.url}")
    assert "--resume" in last
    assert not (tmp_path / "model").exists()


def start(prepared: Path, out: Path, *options: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "reelgraph", "train", prepared, *SHORT, *options, "--out", out]
    return subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def followers(process: "subprocess.Popen[str]") -> Iterator[psutil.Process]:
    for child in psutil.Process(process.pid).children():
        if child.environ().get("RANK") == "1":
            yield child


@pytest.mark.slow
def test_a_killed_process_ends_the_training_which_more_processes_resume(
    prepared: Path, alone: Path, command: Run, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    running = start(prepared, out, "--processes", 2, "--checkpoint-seconds", 0)
    checkpoint = out.with_name("model.checkpoint") / "rank-fit.safetensors"
    try:
        until(lambda: checkpoint.exists() or running.poll() is not None, "no checkpoint")
        assert running.poll() is None, running.communicate()
        next(followers(running)).send_signal(signal.SIGKILL)
        _, complaint = running.communicate(timeout=60)
    finally:
        running.kill()
    last = complaint.strip().splitlines()[-1]
    assert running.returncode == 2
    assert last.startswith("error: training: expected 2 processes to the end, found process 1 gone: killed by SIGKILL")
    assert "--resume" in last
    assert "Traceback" not in complaint
    assert not out.exists()
    done = command("train", prepared, *SHORT, "--processes", 3, "--resume", "--out", out)
    assert done.returncode == 0, done.stderr
    same(out, alone)


@pytest.mark.slow
def test_ctrl_c_keeps_the_best_model_of_several_processes(prepared: Path, tmp_path: Path) -> None:
    running = start(prepared, tmp_path / "model", "--processes", 2, "--max-steps", 5000, "--patience", 5000)
    assert running.stderr is not None
    assert any("RMSE" in line for line in running.stderr), "no evaluation"
    for child in psutil.Process(running.pid).children():
        child.send_signal(signal.SIGINT)  # as a terminal sends it to all of the group
    running.send_signal(signal.SIGINT)
    _, rest = running.communicate(timeout=60)
    assert running.returncode == 0, rest
    assert "Interrupted: saved" in rest
    manifest = open_model(tmp_path / "model").artifact.manifest
    assert manifest["interrupted"]
    assert 0 < manifest["steps"] < 5000


@pytest.mark.slow
def test_sigterm_leaves_no_process_running(prepared: Path, tmp_path: Path) -> None:
    running = start(prepared, tmp_path / "model", "--processes", 2, "--max-steps", 5000, "--patience", 5000)
    assert running.stderr is not None
    for line in running.stderr:
        if "step 1" in line:
            break
    children = psutil.Process(running.pid).children()
    assert len(children) == 2
    running.terminate()
    _, rest = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in rest
    assert not psutil.wait_procs(children, timeout=10)[1]


@pytest.mark.slow
def test_an_error_in_all_processes_is_reported_once(tables: Path, command: Run, tmp_path: Path) -> None:
    done = command(
        "train", tables, "--processes", 2, "--learning-rate", 1e30, "--max-steps", 9, "--out", tmp_path / "m"
    )
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1
    assert "finite" in done.stderr.strip().splitlines()[-1]
    classic = command("train", tables, "--processes", 2, "--model", "gcn", "--out", tmp_path / "m")
    assert classic.returncode == 2
    assert "expected 1 for gcn" in classic.stderr


def test_a_lost_peer_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    environment = {
        "WORLD_SIZE": "2",
        "REELGRAPH_RENDEZVOUS": f"file://{tmp_path}/store",
        "GLOO_SOCKET_IFNAME": loopback,
    }
    code = "import os; from reelgraph.training.process import joined\nwith joined(): os._exit(0)"
    with subprocess.Popen([sys.executable, "-c", code], env=os.environ | environment | {"RANK": "1"}):
        for name, value in (environment | {"RANK": "0"}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(TrainingError, match="found one gone"), process.joined():
            dist.barrier()
    assert not dist.is_initialized()


def test_shards_hold_each_user_once_and_about_as_many_ratings(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    user = np.sort(rng.integers(0, 50, 4000))
    pairs = interactions(user.tolist(), list(range(4000)), [1.0] * 4000)
    shards: list[Shard] = []
    for size in (1, 3, 7):
        for rank in range(size):
            monkeypatch.setattr("reelgraph.models.shard.place", lambda rank=rank, size=size: (rank, size))
            shards.append(shard_of(pairs.user_index, 52, 4000))
        group = shards[-size:]
        assert [shard.users[0] for shard in group[1:]] == [shard.users[1] for shard in group[:-1]]
        assert (group[0].users[0], group[-1].users[1]) == (0, 52), "users without ratings belong to a shard, too"
        assert sum(len(shard.local(pairs)) for shard in group) == 4000
        assert max(len(shard.local(pairs)) for shard in group) < 4000 / size + 200
        for shard in group:
            local = shard.local(pairs)
            first, last = shard.edges
            assert np.array_equal(local.user_index + shard.users[0], pairs.user_index[first:last])


@pytest.mark.parametrize(("given", "expected"), [("3", "3"), (None, "2")])
def test_processes_share_the_cores_unless_the_user_sets_threads(
    given: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert launch.threads_of(4) == expected

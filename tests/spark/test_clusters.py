"""The test cluster: it runs jobs, replaces killed workers, and is stopped at the end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reelgraph.engines.engine import open_engine
from tests.support.clusters import Cluster, Program, until


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_worker_continues_when_the_other_is_killed(cluster: Cluster) -> None:
    assert cluster.state()["aliveworkers"] == 2
    with open_engine(cluster.url) as engine:
        numbers = engine.spark.range(1000).repartition(4).selectExpr("sum(id)")
        assert numbers.collect()[0][0] == 499_500
        cluster.kill_worker()
        assert numbers.collect()[0][0] == 499_500
    assert cluster.state()["aliveworkers"] == 1


def test_a_killed_worker_is_replaced(cluster: Cluster) -> None:
    assert cluster.state()["aliveworkers"] == 2
    assert len(cluster.workers) == 2


def test_a_program_ends_with_its_parent(tmp_path: Path) -> None:
    # Another Python process starts a program that sleeps, and is killed before it can stop it.
    code = (
        "import os, time; from pathlib import Path; from tests.support.clusters import Program; "
        "Program(['sh', '-c', 'echo child $$; exec sleep 600'], Path('log'), os.environ); "
        "print('started', flush=True); time.sleep(600)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    assert run.stdout is not None
    assert run.stdout.readline() == b"started\n"
    child = int(until((tmp_path / "log").read_text, "the program does not start").split()[1])
    assert alive(child)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    until(lambda: not alive(child), "the program outlives the run")


def test_a_program_that_ends_early_is_reported_with_its_output(tmp_path: Path) -> None:
    program = Program(["sh", "-c", "echo no such class; exit 1"], tmp_path / "master.log", os.environ)
    with pytest.raises(AssertionError, match=r"master.log ended early:\s+no such class"):
        program.wait_for("Starting Spark master")
    program.kill()

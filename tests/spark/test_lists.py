"""Lists written with Spark equal those of one machine, and finished parts are kept after an interruption."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelgraph.artifact import read_artifact, write_artifact
from reelgraph.engines.engine import open_engine
from reelgraph.errors import ConfigError, EngineError, OutputError, UnknownIdError
from reelgraph.files import locked
from reelgraph.recommend import output
from reelgraph.recommend.lists import Choice
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.spark.lists import FACTS, PART_USERS, Batch, BatchResult, write_lists
from reelgraph.spark.worker import file_of, open_packed, pack, pack_code, users_of
from tests.support.clusters import Cluster, Program, until
from tests.support.worlds import benchmark

USERS, MOVIES = 100, 400
HERE = "local[2]"
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with integer ids; must not be changed."""
    out: Path = tmp_path_factory.mktemp("lists") / "model"
    write_artifact(benchmark("lists").artifact(True, USERS, MOVIES, 6000), out)
    return out


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    """A session shared by all tests with `HERE`."""
    with open_engine(HERE):
        yield


def alone(model: Path, out: Path, choice: Choice) -> pa.Table:
    """The lists of one machine."""
    recommender = open_model(model)
    output.write_lists(recommender.recommend_all(**vars(choice)), recommender.id_types, out)
    return pq.read_table(out)


def made(batch: Batch) -> BatchResult:
    return write_lists(batch, lambda line: None)


def identity(directory: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of each part, which differ once it is rewritten."""
    states = {file.name: file.stat() for file in directory.glob("part-*")}
    return {name: (state.st_ino, state.st_mtime_ns) for name, state in states.items()}


def interrupted(model: Path, out: Path, left: int, **wishes: Any) -> Batch:
    """Simulate an interrupted run with `left` of 6 finished parts, and return how to resume it."""
    batch = Batch(model, Choice(**wishes), out, HERE, partitions=6)
    made(batch)
    batch.partial.mkdir()
    for part in range(left):
        file_of(out, part).rename(file_of(batch.partial, part))
    facts = json.loads((out / FACTS).read_text())
    del facts["rows"]
    (batch.partial / FACTS).write_text(json.dumps(facts))
    (batch.partial / ".part-00005.parquet.x").write_text("of a task that was killed")
    for file in out.iterdir():
        file.unlink()
    out.rmdir()
    return Batch(model, Choice(**wishes), out, HERE, partitions=6, resume=True)


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize(
    ("partitions", "wishes"),
    [
        (1, {}),
        (7, {"k": 25, "genre": "drama", "year": "1950-1990", "popularity_penalty": 0.2}),
        (7, {"k": 4, "diversity": 0.4, "order": "rank", "min_ratings": 12}),
        (8, {"order": "stars", "include_seen": True, "deny": ["1", 2, "3"]}),
        (9, {"allow": [str(number) for number in range(1, 30, 3)]}),
        (USERS + 20, {"k": 2}),
        (5, {"allow": set()}),
    ],
)
def test_lists_equal_those_of_one_machine(model: Path, tmp_path: Path, partitions: int, wishes: dict[str, Any]) -> None:
    choice, out = Choice(**wishes), tmp_path / "lists"
    done = made(Batch(model, choice, out, HERE, partitions))
    found, expected = pq.read_table(out), alone(model, tmp_path / "alone.parquet", choice)
    assert found.equals(expected)
    assert [str(kind) for kind in found.schema.types[:2]] == ["int64", "int64"]
    assert done == BatchResult(expected.num_rows, USERS, min(partitions, USERS), kept=0)
    assert expected.num_rows > USERS or wishes == {"allow": set()}
    assert len(list(out.glob("part-*.parquet"))) == done.parts == len(list(out.iterdir())) - 1
    assert json.loads((out / FACTS).read_text())["rows"] == done.rows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.parquet", "lists"]


@pytest.mark.usefixtures("session")
def test_spark_reads_the_lists(model: Path, tmp_path: Path) -> None:
    made(Batch(model, Choice(k=3), tmp_path / "lists", HERE, 4))
    with open_engine(HERE) as engine:
        rows = engine.read(tmp_path / "lists")
        assert rows.count() == 3 * USERS
        assert rows.columns == ["userId", "movieId", "rank", "score", "prediction"]


@pytest.mark.usefixtures("session")
def test_finished_parts_are_kept(model: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "lists", list[str]()
    batch = interrupted(model, out, left=4, k=5)
    marked = pq.read_table(file_of(batch.partial, 2))
    marked = marked.set_column(3, "score", pa.array(np.full(marked.num_rows, 77), pa.float32()))
    pq.write_table(marked, file_of(batch.partial, 2))
    before = identity(batch.partial)
    done = write_lists(batch, lines.append)
    assert (done.parts, done.kept) == (6, 4)
    assert lines == [f"{batch.partial}: 4 of 6 parts are finished"]
    assert before.items() < identity(out).items()
    expected = alone(model, tmp_path / "alone.parquet", Choice(k=5))
    mine = users_of(2, USERS, 6)
    there = np.isin(expected["userId"].to_numpy(), np.arange(1, USERS + 1)[mine])
    score = pa.array(np.where(there, np.float32(77), expected["score"].to_numpy()))
    assert pq.read_table(out).equals(expected.set_column(3, "score", score))
    assert not batch.partial.exists()


@pytest.mark.usefixtures("session")
def test_a_damaged_part_is_rewritten(model: Path, tmp_path: Path) -> None:
    batch = interrupted(model, tmp_path / "lists", left=6)
    file_of(batch.partial, 3).write_bytes(file_of(batch.partial, 3).read_bytes()[:-9])
    assert made(batch).kept == 5
    assert pq.read_table(tmp_path / "lists").equals(alone(model, tmp_path / "alone.parquet", Choice()))


@pytest.mark.usefixtures("session")
def test_complete_parts_need_no_engine(model: Path, tmp_path: Path) -> None:
    batch = interrupted(model, tmp_path / "lists", left=6)
    without = Batch(model, batch.choice, batch.out, "spark://127.0.0.1:1", partitions=6, resume=True)
    assert made(without).kept == 6
    assert pq.read_table(tmp_path / "lists").equals(alone(model, tmp_path / "alone.parquet", Choice()))


@pytest.mark.usefixtures("session")
def test_resume_with_other_settings_is_refused(model: Path, tmp_path: Path) -> None:
    batch = interrupted(model, tmp_path / "lists", left=3, k=5, deny=["1", "2"])
    other = tmp_path / "other"
    write_artifact(benchmark("lists").artifact(True, USERS, MOVIES, 6000, seed=1), other)
    before = identity(batch.partial)
    same = {"model": model, "out": batch.out, "engine": HERE, "partitions": 6, "resume": True}
    for change, wishes, name in (
        ({}, {"k": 6, "deny": ["1", "2"]}, "k 5 as in .*, found 6"),
        ({}, {"k": 5, "deny": ["1", "3"]}, "deny '2 movies, sha256 .*' as in .*, found '2 movies, sha256 "),
        ({}, {"k": 5, "deny": ["1", "2"], "genre": "War"}, "genre None as in .*, found 'War'"),
        ({"partitions": 7}, {"k": 5, "deny": ["1", "2"]}, "partitions 6 as in .*, found 7"),
        ({"partitions": None}, {"k": 5, "deny": ["1", "2"]}, "partitions 6 as in .*, found 1"),
        ({"model": other}, {"k": 5, "deny": ["1", "2"]}, "model '.*' as in .*, found '"),
    ):
        with pytest.raises(ConfigError, match=f"--resume: expected {name}"):
            made(Batch(choice=Choice(**wishes), **(same | change)))  # type: ignore[arg-type]
    assert identity(batch.partial) == before
    assert made(Batch(choice=Choice(k=5, deny=["2", 1]), **same)).kept == 3  # type: ignore[arg-type]


@pytest.mark.usefixtures("session")
def test_without_resume_all_parts_are_rewritten(model: Path, tmp_path: Path) -> None:
    batch = interrupted(model, tmp_path / "lists", left=3, k=5)
    done = made(Batch(model, Choice(k=6), batch.out, HERE, partitions=2))
    assert (done.parts, done.kept, done.rows) == (2, 0, 6 * USERS)
    assert not batch.partial.exists()
    assert made(Batch(model, Choice(k=5), batch.out, HERE, partitions=3, resume=True)).kept == 0, "nothing to resume"
    assert len(list(batch.out.glob("part-*"))) == 3, "the old result is replaced"


@pytest.mark.usefixtures("session")
def test_a_second_run_into_the_same_directory_waits_for_the_first(model: Path, tmp_path: Path) -> None:
    batch, lines = Batch(model, Choice(k=5), tmp_path / "lists", HERE, partitions=2), list[str]()
    held, waiting = Event(), Event()

    def hold() -> list[Path]:
        with locked(batch.partial, make=True):
            held.set()
            assert waiting.wait(60)
            return list(batch.partial.iterdir())

    def report(line: str) -> None:
        lines.append(line)
        waiting.set()

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(hold)
        assert held.wait(60)
        assert write_lists(batch, report).parts == 2
        assert first.result() == []
    assert lines == [f"{batch.partial}: another command is writing it; this one waits for its end"]
    assert not batch.partial.exists()


@pytest.mark.usefixtures("session")
def test_a_part_that_cannot_be_written_is_one_line(model: Path, tmp_path: Path) -> None:
    batch = interrupted(model, tmp_path / "lists", left=1)
    file_of(batch.partial, 4).mkdir()
    with pytest.raises(EngineError) as raised:
        made(batch)
    assert "part-00004.parquet: expected a file, found a directory" in str(raised.value)
    assert "Traceback" not in str(raised.value)
    assert not batch.out.exists()
    file_of(batch.partial, 4).rmdir()
    kept = identity(batch.partial)
    assert "part-00000.parquet" in kept
    assert made(batch).kept == len(kept)
    assert pq.read_table(batch.out).equals(alone(model, tmp_path / "alone.parquet", Choice()))


@pytest.mark.spark
def test_parts_that_do_not_arrive_are_one_line(
    model: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may write to a directory of its own that has the name of the one to share."""
    (tmp_path / "own" / "lists.partial").mkdir(parents=True)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncd {tmp_path}/own && exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("PYSPARK_PYTHON", str(python))
    options = ["--all", "--engine", "local[1]", "--partitions", 2, "--stage", "/proc/self/cwd", "--out", "lists"]
    done = command("recommend", model, *options, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "expected 2 parts from the workers, found 0" in done.stderr.splitlines()[-1]
    assert len(list((tmp_path / "own" / "lists.partial").glob("part-*"))) == 2
    assert not (tmp_path / "lists").exists()


def test_invalid_requests_are_refused_before_spark_starts(model: Path, tmp_path: Path) -> None:
    out, nowhere = tmp_path / "lists", "spark://127.0.0.1:1"
    for wishes, error, line in (
        ({"k": MOVIES + 1}, ConfigError, f"k: expected 1 to {MOVIES}"),
        ({"genre": "Dramma"}, UnknownIdError, "genre 'Dramma'"),
        ({"year": "x"}, ConfigError, "--year: expected"),
    ):
        with pytest.raises(error, match=line):
            made(Batch(model, Choice(**wishes), out, nowhere))
    headless = tmp_path / "headless"
    write_artifact(benchmark("lists").artifact(False, USERS, MOVIES, 600), headless)
    with pytest.raises(ConfigError, match="--order rank: expected a model with a ranking head"):
        made(Batch(headless, Choice(order="rank"), out, nowhere))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="expected a new directory or an earlier reelgraph-lists"):
        made(Batch(model, Choice(), tmp_path / "mine", nowhere))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["headless", "mine"], "no files are left behind"


@pytest.mark.parametrize("users", [1, 5, 4096, 4097, 138_000])
def test_parts_cover_all_users_in_order(users: int) -> None:
    for parts in {1, min(users, 3), -(-users // PART_USERS)}:
        slices = [users_of(part, users, parts) for part in range(parts)]
        assert [slices[0].start, *(one.stop for one in slices)] == [*(one.start for one in slices), users]
        sizes = [one.stop - one.start for one in slices]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 1


def test_states_are_memory_mapped(model: Path, tmp_path: Path) -> None:
    artifact = read_artifact(model, lists_only=True)
    for name in ("one.zip", "two.zip"):
        pack(artifact, tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    subprocess.run([sys.executable, "-m", "zipfile", "-e", "one.zip", "there"], cwd=tmp_path, check=True)
    there = open_packed(str(tmp_path / "there"))
    assert there.artifact.weights.keys() == artifact.weights.keys()
    for name, array in artifact.weights.items():
        np.testing.assert_array_equal(there.artifact.weights[name], array)
        assert isinstance(there.artifact.weights[name], np.memmap)
    outside = pa.total_allocated_bytes()
    assert there.predictor.seen_item.flags.owndata is False
    assert open_packed(str(tmp_path / "there")) is there, "once per process"
    assert pa.total_allocated_bytes() == outside
    tables = [pa.concat_tables(one.recommend_all(k=7)) for one in (there, Recommender(artifact))]
    assert tables[0].equals(tables[1])


def test_workers_need_neither_reelgraph_nor_torch(tmp_path: Path) -> None:
    (tmp_path / "code.zip").write_bytes(pack_code())
    script = (
        "import sys; sys.path.insert(0, 'code.zip'); import reelgraph.spark.worker as part; "
        "print(part.__file__, *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    where, *loaded = done.stdout.split()
    assert "code.zip" in where
    ours = {"torch", "pyspark", "pydantic", "click", "rich", "duckdb", "pandas", "matplotlib"}
    assert not ours & set(loaded)


def test_a_killed_run_on_a_cluster_resumes_even_if_a_worker_dies(cluster: Cluster, model: Path, tmp_path: Path) -> None:
    out, partial = tmp_path / "lists", tmp_path / "lists.partial"
    options = ["--all", "-k", 6, "--engine", cluster.url, "--partitions", USERS, "--out", out]
    arguments = [sys.executable, "-m", "reelgraph", "recommend", str(model), *map(str, options)]

    def parts() -> int:
        return len(list(partial.glob("part-*")))

    first = Program(arguments, tmp_path / "first.log", os.environ)
    until(lambda: parts() >= 5 or not first.running, "no part is made")
    first.kill()
    cluster.mend()  # Its executors end when the master has noticed.
    before = identity(partial)
    assert 5 <= len(before) < USERS - 20
    assert not out.exists()

    second = Program([*arguments, "--resume"], tmp_path / "second.log", os.environ)
    until(lambda: parts() >= len(before) + 5 or not second.running, "no part is made")
    assert parts() < USERS, "other parts are missing"
    cluster.kill_worker()
    until(lambda: not second.running, "the lists are not finished")
    said = (tmp_path / "second.log").read_text()
    assert f"{out}: {6 * USERS:,} rows for {USERS:,} users in {USERS:,} parts" in said
    assert f"{len(before)} of {USERS:,} parts are finished" in said
    assert before.items() < identity(out).items()
    assert pq.read_table(out).equals(alone(model, tmp_path / "alone.parquet", Choice(k=6)))
    assert not partial.exists()
    second.kill()


def test_spark_connect_gives_the_same_lists(connect_server: str, model: Path, tmp_path: Path, command: Command) -> None:
    options = ["--all", "-k", 9, "--diversity", 0.2, "--engine", connect_server, "--partitions", 3]
    done = command("recommend", model, *options, "--stage", tmp_path, "--out", "lists", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = alone(model, tmp_path / "alone.parquet", Choice(k=9, diversity=0.2))
    assert pq.read_table(tmp_path / "lists").equals(expected)
    assert done.stdout == ""
    assert "lists: 900 rows for 100 users in 3 parts" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--user", 1, "--engine", "spark"),
        ("--user", 1, "--resume"),
        ("--all", "--out", "l.parquet", "--resume"),
        ("--all", "--out", "l.parquet", "--partitions", 2),
        ("--all", "--out", "l.parquet", "--engine", "flink"),
        ("--all", "--engine", "local[2]"),
    ],
)
def test_conflicting_options_are_one_line(
    command: Command, model: Path, tmp_path: Path, options: tuple[object, ...]
) -> None:
    done = command("recommend", model, *options, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(("error: recommend", "error: --engine: expected duckdb, spark"))
    assert list(tmp_path.iterdir()) == []

"""Estimates of time and memory, and the refusal of trainings that do not fit."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from reelgraph import machine, planning
from reelgraph.cli import main
from reelgraph.config import RACE_RATINGS, DataConfig, TrainConfig
from reelgraph.data.prepare.prepare import prepare
from reelgraph.data.sources import find
from reelgraph.errors import DataError, SetupError
from reelgraph.machine import Memory
from reelgraph.planning import MEASURED, Plan, Size, Speed, check, elsewhere, gigabytes, plan, size_of

LARGE = Size(20_000_000, 138_000, 27_000)
Outcome = tuple[int, str, str]


def memory(free: float) -> Memory:
    return Memory(int(free), 16_000_000_000, "on this machine")


def planned(size: Size = LARGE, **settings: Any) -> Plan:
    return plan(size, TrainConfig(**settings), MEASURED, None)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process, and return exit code, stdout and stderr."""

    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run


def naive(*paths: Path) -> Size:
    rows = [row for path in paths for row in csv.DictReader(path.open(encoding="utf-8"))]
    return Size(len(rows), len({row["userId"] for row in rows}), len({row["movieId"] for row in rows}))


def test_every_format_is_counted(tables: Path, tmp_path: Path) -> None:
    ratings, expected = tables / "ratings.csv", naive(tables / "ratings.csv")
    table = pacsv.read_csv(ratings)
    pq.write_table(table.rename_columns(["a", 'b"c', "stars", "when"]), tmp_path / "r.parquet")
    lines = ratings.read_text().splitlines()
    (tmp_path / "ratings.dat").write_text("\n".join(line.replace(",", "::") for line in lines[1:]) + "\n")
    given = DataConfig(columns={"user": "a", "item": 'b"c', "rating": "stars"})
    assert size_of(ratings, None, None, None, DataConfig()) == expected
    assert size_of(tmp_path / "r.parquet", None, None, None, given) == expected
    assert size_of(tmp_path / "ratings.dat", None, None, None, DataConfig()) == expected
    prepared = prepare(find(ratings), DataConfig(), tmp_path / "prepared", lambda _: None)
    assert size_of(prepared, None, None, None, DataConfig()) == expected
    assert size_of(None, None, None, None, DataConfig()) == Size(100_004, 671, 9066)


def test_test_ratings_and_side_tables_are_counted(tables: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("userId,movieId,rating\nnobody,10,3\n1,99999,4\n")
    ratings = tables / "ratings.csv"
    found = size_of(ratings, None, None, tmp_path / "test.csv", DataConfig())
    assert found == naive(ratings, tmp_path / "test.csv")
    (tmp_path / "movies.csv").write_text("movieId,title\n" + "".join(f"{n},Movie {n}\n" for n in range(500)))
    (tmp_path / "users.csv").write_text("userId,age\n" + "".join(f"{n},{n}\n" for n in range(300)))
    found = size_of(ratings, tmp_path / "movies.csv", tmp_path / "users.csv", None, DataConfig())
    assert (found.users, found.movies) == (300, 500)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("userId,stars\n1,2\n")
    with pytest.raises(DataError, match="expected a column movieId"):
        size_of(tmp_path / "r.csv", None, None, None, DataConfig())
    (tmp_path / "empty.csv").write_text("userId,movieId,rating\n")
    with pytest.raises(DataError, match="expected rows below the header, found none"):
        size_of(tmp_path / "empty.csv", None, None, None, DataConfig())
    whole = pa.table({"userId": list(range(9999)), "movieId": list(range(9999)), "rating": [1.0, 2.0, 3.0] * 3333})
    pq.write_table(whole, tmp_path / "r.parquet")
    content = bytearray((tmp_path / "r.parquet").read_bytes())
    content[100:20_000] = bytes(19_900)
    (tmp_path / "r.parquet").write_bytes(content)
    with pytest.raises(DataError, match="expected a Parquet file, found a damaged one"):
        size_of(tmp_path / "r.parquet", None, None, None, DataConfig())
    with pytest.raises(DataError, match="expected a file, found none"):
        size_of(tmp_path / "missing.csv", None, None, None, DataConfig())


def test_training_is_the_sum_of_its_parts() -> None:
    found = planned()
    assert [part.name for part in found.parts] == ["load", "rating head", "ranking head", "refit", "evaluate and save"]
    assert found.train.seconds == pytest.approx(sum(part.seconds for part in found.parts))
    assert found.train.memory == max(part.memory for part in found.parts)
    names = [part.name for part in planned(ranking=False, tune="none", refit=False).parts]
    assert names == ["load", "rating head", "evaluate and save"]


def test_a_quick_search_is_planned_only_where_one_runs() -> None:
    def searches(ratings: int, **settings: Any) -> list[str]:
        parts = planned(Size(ratings, 5000, 3000), **settings).parts
        return [part.name for part in parts if part.name.startswith("search")]

    below, above = (int(RACE_RATINGS / 0.81) + more for more in (-1, 2))  # 81 % are training ratings
    assert searches(below) == ["search for the rating head's settings"]
    assert searches(above) == []
    assert len(searches(above, tune="full")) == 2


def test_costs_grow_with_their_sizes() -> None:
    doubled = Size(2 * LARGE.ratings, LARGE.users, LARGE.movies)
    one, two = planned(ranking=False, tune="none"), planned(doubled, ranking=False, tune="none")
    bytes_a_rating = (two.train.memory - one.train.memory) / LARGE.ratings
    assert bytes_a_rating == pytest.approx(
        sum(cost.rating for cost in (planning.DATA, planning.GRAPH, planning.REFIT, planning.EVALUATE))
    )
    assert two.prepare.seconds < 2.05 * one.prepare.seconds
    wide = planned(ranking=False, tune="none", dim=64)
    head = planning.HEADS["residual"]
    more = 32 * (LARGE.nodes * (head.model.number + head.step.number) + LARGE.ratings * head.validation.message)
    assert wide.parts[1].memory - one.parts[1].memory == pytest.approx(more)
    assert wide.parts[1].seconds > 1.3 * one.parts[1].seconds
    assert wide.lists.memory > one.lists.memory


PEAK = """
import sys
sys.path[:0] = {path}
from tests.support import worlds
from reelgraph.machine import peak_memory
from reelgraph.training.fit import fit
ratings, users, movies, dim = {sizes}
data = worlds.synthetic(ratings, users, movies)
fit(data, dim=dim, ranking=False, tune="none", max_steps=3, eval_every=1)
sys.stdout.write(str(peak_memory()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(500_000, 3450, 4270, 64), (60_000, 20_000, 4600, 48)])
def test_memory_matches_a_real_fit(sizes: tuple[int, int, int, int]) -> None:
    """Without the libraries, within a factor of 1.4; ratings dominate one size, states the other."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK.format(path=sys.path, sizes=sizes)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *size, dim = sizes
    expected = planned(Size(*size), dim=dim, ranking=False, tune="none").train.memory - planning.DATA.fixed
    assert expected / 1.4 < int(done.stdout) - planning.DATA.fixed < 1.4 * expected


def test_the_search_may_enlarge_a_dimension_that_is_not_set() -> None:
    free, fixed = planned(ranking=False, tune="full"), planned(ranking=False, tune="full", dim=32)
    assert free.parts[2].memory > fixed.parts[2].memory
    assert fixed.parts[2].memory > fixed.parts[1].memory  # the best model is kept
    small = Size(200_000, 5000, 3000)
    quick, full = (planned(small, dim=128, ranking=False, tune=tune) for tune in ("quick", "full"))
    assert quick.train.memory == full.train.memory


def test_a_faster_machine_takes_less_time_and_the_same_memory() -> None:
    fast = plan(LARGE, TrainConfig(), Speed(2 * MEASURED.gathers, 3 * MEASURED.threads), None)
    assert fast.train.seconds == pytest.approx(planned().train.seconds / 6)
    assert fast.train.memory == planned().train.memory


@pytest.mark.parametrize("share", [0.35, 0.6, 0.97])
def test_a_refusal_names_what_would_fit(share: float) -> None:
    needed = planned().train.memory
    check(LARGE, TrainConfig(), memory(needed))
    check(LARGE, TrainConfig(), None)
    with pytest.raises(SetupError) as refused:
        check(LARGE, TrainConfig(), memory(share * needed))
    text = str(refused.value)
    assert gigabytes(share * needed) in text
    assert gigabytes(needed) in text
    assert "20,000,000 ratings of 138,000 users and 27,000 movies" in text
    assert "--no-plan-check" in text
    found = re.search(r"at most ([\d.,]+) million ratings", text)
    assert found
    part = LARGE.share(float(found[1].replace(",", "")) * 1e6 / LARGE.ratings)
    check(part, TrainConfig(), memory(share * needed))
    with pytest.raises(SetupError):
        check(part.share(1.1), TrainConfig(), memory(share * needed))
    options: dict[str, dict[str, Any]] = {
        "--tune none": {"tune": "none"},
        "--no-ranking": {"ranking": False},
        "--dim 8": {"dim": 8},
    }
    together = "together" in text
    for option, changes in options.items():
        if option in text and not together:
            check(LARGE, TrainConfig(**changes), memory(share * needed))
        elif not together:
            with pytest.raises(SetupError):
                check(LARGE, TrainConfig(**changes), memory(share * needed))
    if together:
        check(LARGE, TrainConfig(tune="none", ranking=False, dim=8), memory(share * needed))


def test_a_refusal_without_remedy_options() -> None:
    with pytest.raises(SetupError, match="choose a machine with more memory, several machines"):
        check(LARGE, TrainConfig(), memory(1e8))


def test_memory_of_other_machines_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not elsewhere(TrainConfig(), "spark://host:7077")
    assert not elsewhere(TrainConfig(processes=2), "duckdb")
    assert elsewhere(TrainConfig(processes=2), "spark://host:7077")
    here = planned(processes=2).train.memory - planned().train.memory
    assert here == pytest.approx(planning.DATA.of(LARGE))  # each process loads all ratings
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert elsewhere(TrainConfig(), "duckdb")


def test_train_refuses_before_it_starts(
    run: Callable[..., Outcome], tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: Memory(300_000_000, 16_000_000_000, "in this container"))
    monkeypatch.setattr("reelgraph.data.prepare.prepare.prepare", None)
    code, out, err = run("train", tables / "ratings.csv", "--out", tmp_path / "model")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("error: train: expected a training within 0.3 GB")
    assert "(free in this container)" in line
    assert list(tmp_path.iterdir()) == []


def test_the_check_can_be_turned_off(
    run: Callable[..., Outcome], tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: Memory(300_000_000, 16_000_000_000, "in this container"))
    options = ("--max-steps", 2, "--tune", "none", "--no-ranking", "--no-refit", "--no-plan-check")
    code, _, err = run("train", tables / "ratings.csv", *options, "--out", tmp_path / "model")
    assert code == 0, err
    assert (tmp_path / "model" / "manifest.json").is_file()


def test_the_plan_as_json(run: Callable[..., Outcome], tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: Memory(10**11, 10**11, "on this machine"))
    monkeypatch.setattr(machine, "gathers", lambda: MEASURED.gathers)
    monkeypatch.setattr(machine, "threads", lambda: MEASURED.threads)
    code, out, _ = run("plan", tables / "ratings.csv", "--no-ranking", "--json")
    size = naive(tables / "ratings.csv")
    expected = plan(size, TrainConfig(ranking=False), MEASURED, memory(1e11))
    assert code == 0
    found = json.loads(out)
    assert found["size"] == {"ratings": size.ratings, "users": size.users, "movies": size.movies}
    assert found["train"]["memory"] == pytest.approx(expected.train.memory)
    assert found["train"]["seconds"] == pytest.approx(expected.train.seconds)
    assert [part["name"] for part in found["parts"]] == [part.name for part in expected.parts]
    assert found["memory"]["free"] == 10**11
    assert found["fits"] is True


def test_the_plan_as_text(run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: Memory(10**9, 2 * 10**9, "on this machine"))
    counts = ("--num-ratings", "20e6", "--num-users", "138000", "--num-movies", "27e3")
    code, out, _ = run("plan", *counts)
    assert code == 0
    assert "20,000,000 ratings of 138,000 users and 27,000 movies" in out
    assert "1.0 GB of 2.0 GB are free on this machine: training does not fit" in " ".join(out.split())
    rows = {line.split("  ")[0].strip(): line for line in out.splitlines()}
    assert gigabytes(planned().train.memory) in rows["train"]
    assert "recommend --all" in out


def test_numbers_or_a_file_but_not_both(run: Callable[..., Outcome], tables: Path) -> None:
    for arguments in (("--num-ratings", "5"), (tables / "ratings.csv", "--num-ratings", "5")):
        code, _, err = run("plan", *arguments)
        assert code == 2
        assert "expected either RATINGS or all of" in err

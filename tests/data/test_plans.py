"""On Spark, no step of preparation has all rows in one task."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from reelgraph.config import DataConfig
from reelgraph.data.prepare.prepare import prepare
from reelgraph.engines.engine import Engine, open_engine
from tests.support.parity import dirty


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """Spark takes long to start: within this, engines of that name use one session."""
    with open_engine("local[2]") as engine:
        yield engine.spark


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch, spark: SparkSession) -> list[str]:
    """The physical plans of everything that Spark does."""
    seen: list[str] = []

    def watched(method: Callable[..., Any], rows: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            seen.append(rows(*arguments)._jdf.queryExecution().executedPlan().toString())
            return method(*arguments)

        return call

    monkeypatch.setattr(Engine, "write", watched(Engine.write, lambda engine, rows, path: rows))
    for name in ("collect", "count"):
        kind = type(spark.range(1))
        monkeypatch.setattr(kind, name, watched(getattr(kind, name), lambda rows: rows))
    return seen


def bottlenecks(plan: str) -> list[str]:
    """The steps that have all rows in one task before them, aggregates aside, to which every task sends one row."""
    above: list[tuple[int, str]] = []
    found = []
    for line in plan.splitlines():
        depth = len(line) - len(line.lstrip(" :+-*"))
        above = [step for step in above if step[0] < depth]
        if "SinglePartition" in line and (not above or "Aggregate" not in above[-1][1]):
            found.append(above[-1][1] if above else line)
        above.append((depth, line.strip(" :+-*")))
    return found


@pytest.mark.parametrize("split", ["time", "last", "given"])
def test_no_step_of_preparation_has_all_rows_in_one_task(plans: list[str], tmp_path: Path, split: str) -> None:
    # Duplicates, ids that no usable rating has, tables and a test file: every way through the code.
    config = DataConfig(engine="local[2]", split=split)
    prepare(dirty(tmp_path, split), config, tmp_path / "out", lambda line: None)
    assert [step for plan in plans for step in bottlenecks(plan)] == []
    assert sum("Exchange rangepartitioning(user_index" in plan for plan in plans) == 1, "the ratings' order"
    assert any("Window [row_number()" in plan for plan in plans), "the numbering of ids"
    assert any("Exchange SinglePartition" in plan for plan in plans), "counts, which are one row a task"


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.withColumn("place", F.row_number().over(Window.orderBy("id"))),
        lambda rows: rows.withColumn("all", F.sum("id").over(Window.partitionBy())),
        lambda rows: rows.repartition(1).sortWithinPartitions("id"),
        lambda rows: rows.limit(50).groupBy("id").count(),
    ],
)
def test_steps_with_all_rows_in_one_task_are_seen(
    plans: list[str], spark: SparkSession, change: Callable[[DataFrame], DataFrame]
) -> None:
    change(spark.range(100, numPartitions=4)).collect()
    (plan,) = plans
    assert bottlenecks(plan)

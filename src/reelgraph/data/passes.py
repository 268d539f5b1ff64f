"""The passes over all rows: cells to numbers, ids to indices, duplicates; written once against PySpark's DataFrame API.

Text is read in one pass. From then on rows are numbers, kept in a Parquet file of a temporary directory, which keeps
the plans short and lets either engine start each pass from disk.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelgraph.config import DataConfig
from reelgraph.data import checks, splits
from reelgraph.data.engine import Run
from reelgraph.data.splits import TEST, TRAIN

DataFrame = Any  # pyspark.sql.DataFrame or sqlframe's, which share no base class
IDS = {"user": "userId", "item": "movieId"}
ROW = ("part", "row")
DUPLICATE = "duplicate: a newer rating of the same user and movie is kept"
ALSO_IN_TEST = "also in the test file: kept there, not in training"


def staged_rows(run: Run) -> DataFrame:
    """Every row as it stood in its file, with its `part`."""
    f = run.engine.functions
    parts = []
    for part, name in _files(run).items():
        rows = run.read(name).withColumn("part", f.lit(part))
        parts.append(rows if _whole_times(run) else rows.withColumn("timestamp", f.col("timestamp").cast("string")))
    return parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1])


def _files(run: Run) -> dict[int, str]:
    """The staged files by part."""
    names = {TRAIN: "train.parquet", TEST: "test.parquet"}
    return {part: name for part, name in names.items() if (run.stage / name).exists()}


def _whole_times(run: Run) -> bool:
    """Whether the times of every file are staged as whole numbers."""
    kinds = [pq.read_schema(run.stage / name).field("timestamp").type for name in _files(run).values()]
    return all(pa.types.is_integer(kind) for kind in kinds)


def type_rows(run: Run, config: DataConfig) -> DataFrame:
    """Read every cell, once: keeps `typed`, each row in numbers, with the reason why it cannot be used or null.

    Indices number the ids of all rows; `settle` does so again if some of the ids have no rating that can be used. Kinds
    of split that need the raw ids are drawn here.

    Returns:
        `part`, `row`, `user_index`, `item_index` (null where there is no id), `value`, `seconds`, `reason`, `split`.
    """
    f = run.engine.functions
    run.keep(checks.judge_words(f, staged_rows(run)), "words")
    rows = checks.typed(f, staged_rows(run), run.read("words"), whole_times=_whole_times(run))
    for role, identity in IDS.items():
        ids = staged_rows(run).select(identity).where(f.col(identity).isNotNull()).distinct()
        ids = ids.withColumn("rated", f.lit(1))
        if (run.stage / f"{role}_side_ids.parquet").exists():
            aside = run.read(f"{role}_side_ids.parquet").withColumn("rated", f.lit(0))
            ids = ids.unionByName(aside).groupBy(identity).agg(f.min("rated").alias("rated"))
        _number(run, role, ids, f"{role}_index")
        vocabulary = run.read(f"{role}_index").select(identity, f"{role}_index")
        rows = rows.join(vocabulary, on=identity, how="left")
    rows = splits.by_hash(f, rows, config) if config.split in splits.BY_HASH else rows.withColumn("split", f.lit(""))
    run.keep(rows.select(*ROW, "user_index", "item_index", "value", "seconds", "reason", "split"), "typed")
    return run.read("typed")


def _number(run: Run, role: str, ids: DataFrame, name: str) -> None:
    """Number ids by their MD5, bucket by bucket, so that no sort passes through a single partition; keeps them."""
    f, window, identity = run.engine.functions, run.engine.window, IDS[role]
    ids = ids.withColumn("digest", f.md5(f.col(identity)))
    ids = ids.withColumn("bucket", f.substring(f.col("digest"), 1, 2))
    within = window.partitionBy("bucket").orderBy(f.col("digest"), f.col(identity))
    run.keep(ids.withColumn("place", f.row_number().over(within)).drop("digest"), f"{name}_places")
    ids = run.read(f"{name}_places")
    counted = ids.groupBy("bucket").agg(f.count(f.lit(1)).alias("size"))
    sizes = {row["bucket"]: row["size"] for row in counted.collect()}
    starts = run.engine.spark.createDataFrame(_cumulative(sizes), ["bucket", "start"])
    number = (f.col("start") + f.col("place") - f.lit(1)).cast("int").alias(f"{role}_index")
    run.keep(ids.join(starts, on="bucket").select(number, f.col(identity), f.col("rated")), name)


def _cumulative(sizes: Mapping[str, int]) -> list[tuple[str, int]]:
    starts, total = [], 0
    for bucket in sorted(sizes):
        starts.append((bucket, total))
        total += int(sizes[bucket])
    return starts


def settle(run: Run, judged: DataFrame) -> DataFrame:
    """The rows that can be used, numbered anew where ids went with the others; writes `users` and `items`."""
    f = run.engine.functions
    good = judged.where(f.col("reason").isNull()).drop("reason")
    for role, identity in IDS.items():
        index = name = f"{role}_index"
        rated = run.read(name).where(f.col("rated") == f.lit(1)).select(index)
        run.keep(rated.join(good.select(index).distinct(), on=index, how="left_anti"), f"{role}_unused")
        unused = run.read(f"{role}_unused")
        if unused.count():
            left = run.read(name).join(unused, on=index, how="left_anti")
            name = f"{role}_settled"
            _number(run, role, left.select(identity, "rated"), name)
            anew = run.read(name).select(identity, f.col(index).alias("anew"))
            moved = left.join(anew, on=identity).select(index, "anew")
            good = good.join(moved, on=index).drop(index).withColumnRenamed("anew", index)
        _write_nodes(run, role, name)
    return good


def _write_nodes(run: Run, role: str, name: str) -> None:
    """Write `users` or `items` in index order; the side columns, of whatever names, join outside of the engine."""
    index, identity = f"{role}_index", IDS[role]
    table = pq.read_table(run.stage / name, columns=[index, identity]).sort_by(index)
    if (run.stage / f"{role}_side.parquet").exists():
        side = pq.read_table(run.stage / f"{role}_side.parquet")
        place = pc.index_in(table[identity], side[identity])
        for column in side.column_names:
            if column not in {index, identity}:
                table = table.append_column(column, side[column].take(place))
    pq.write_table(table, run.target / f"{role}s.parquet")


def resolve(run: Run, rows: DataFrame) -> DataFrame:
    """Keep the newest rating of a user and movie, and none in training that the test file has; keeps `refused`.

    Only pairs that do occur again are sorted by age: most data has few or none, and counting is cheap.
    """
    f, window = run.engine.functions, run.engine.window
    rows = rows.withColumn("pair", f.col("user_index").cast("bigint") * f.lit(2**32) + f.col("item_index"))
    times = rows.groupBy("pair").agg(f.count(f.lit(1)).alias("times"))
    run.keep(times.where(f.col("times") > 1).select("pair"), "again")
    again = rows.join(run.read("again"), on="pair")
    newest = window.partitionBy("part", "pair").orderBy(
        f.coalesce(f.col("seconds"), f.lit(splits.LONG_AGO)).desc(), f.col("row").desc()
    )
    again = again.withColumn("age", f.row_number().over(newest))
    tested = f.max("part").over(window.partitionBy("pair"))
    again = again.withColumn("tested", tested)
    reason = f.when(f.col("age") > 1, f.lit(DUPLICATE)).when(f.col("part") < f.col("tested"), f.lit(ALSO_IN_TEST))
    again = again.withColumn("reason", reason).where(f.col("reason").isNotNull())
    run.keep(again.select(*ROW, "reason"), "repeated")
    losers = run.read("repeated").select(*ROW)
    if not losers.count():
        return rows
    run.keep(rows.join(losers, on=list(ROW), how="left_anti"), "single")
    return run.read("single")

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
from reelgraph.data.prepare import clean
from reelgraph.engines.engine import Engine, Run
from reelgraph.errors import ConfigError

TRAIN, TEST = 0, 1  # values of `part`: the file that a row is from

BY_HASH = ("random", "given")  # kinds of split that the raw ids alone decide

DAY = 86_400

LONG_AGO = -(2**62)  # older than any time: of ratings without one


def assign_splits(engine: Engine, rows: Any, config: DataConfig) -> Any:
    """Fill the column `split` with "train", "valid" or "test", where `by_hash` has not done so already.

    Args:
        engine: who runs it.
        rows: `user_index`, `seconds`, `row`, and for the kinds `BY_HASH` `split`.
        config: the kind of split and its shares.

    Raises:
        ConfigError: if a split by time is asked for and there are no timestamps.
    """
    if config.split == "time":
        return _by_time(engine.functions, rows, config)
    return _last(engine, rows, config) if config.split == "last" else rows


def by_hash(f: Any, rows: Any, config: DataConfig) -> Any:
    """Add `split` by the seeded MD5 of the raw ids: a rating keeps it whatever engine, order or other rows there are.

    Where test ratings are given, those are for test and none else. Shares are compared with the digest as text, which
    orders hex digits as the numbers they stand for.
    """
    given = config.split == "given"
    test = 0.0 if given else config.test_share
    valid = test + config.valid_share * (1 - test)
    digest = f.md5(f.concat_ws("|", f.lit(str(config.split_seed)), f.col("userId"), f.col("movieId")))
    rows = rows.withColumn("digest", digest)

    def below(share: float) -> Any:
        return f.col("digest") < f.lit(f"{round(share * 2**32):09x}"[1:] if share < 1 else "g")

    from_test = below(test) if not given else f.col("part") == f.lit(TEST)
    return rows.withColumn(
        "split", f.when(from_test, f.lit("test")).when(below(valid), f.lit("valid")).otherwise(f.lit("train"))
    )


def _by_time(f: Any, rows: Any, config: DataConfig) -> Any:
    """By two global cuts: the newest share is for test, the newest of the rest for validation."""
    rows = rows.withColumn("time", f.coalesce(f.col("seconds"), f.lit(LONG_AGO)))
    total, timed = rows.count(), rows.where(f.col("seconds").isNotNull()).count()
    if not timed:
        raise ConfigError("--split time: expected timestamps, found none", "choose --split random")
    test_from = _cut(f, rows, config.test_share * total)
    older = rows.where(f.col("time") < f.lit(test_from))
    valid_from = _cut(f, older, config.valid_share * older.count())
    split = f.when(f.col("time") >= f.lit(test_from), f.lit("test")).when(
        f.col("time") >= f.lit(valid_from), f.lit("valid")
    )
    return rows.withColumn("split", split.otherwise(f.lit("train")))


def _cut(f: Any, rows: Any, wanted: float) -> int:
    """The latest time from which on there are at least `wanted` rows, exactly: first the day, then the second."""
    if wanted <= 0:
        return 2**62
    rows = rows.withColumn("day", f.floor(f.col("time") / f.lit(DAY)).cast("bigint"))
    day, later = _descend(f, rows, "day", wanted, 0)
    second, _ = _descend(f, rows.where(f.col("day") == f.lit(day)), "time", wanted, later)
    return second


def _descend(f: Any, rows: Any, column: str, wanted: float, counted: int) -> tuple[int, int]:
    sizes = rows.groupBy(column).agg(f.count(f.lit(1)).alias("size")).collect()
    value = LONG_AGO
    for row in sorted(sizes, key=lambda row: -row[column]):
        value = int(row[column])
        if counted + row["size"] >= wanted:
            return value, counted
        counted += int(row["size"])
    return value, counted


def _last(engine: Engine, rows: Any, config: DataConfig) -> Any:
    """Each user's last `last` ratings are for test, the ones before for validation; one always stays for training."""
    f = engine.functions
    mine = engine.window.partitionBy("user_index")
    newest = mine.orderBy(f.coalesce(f.col("seconds"), f.lit(LONG_AGO)).desc(), f.col("row").desc())
    rows = rows.withColumn("rank", f.row_number().over(newest)).withColumn("count", f.count(f.lit(1)).over(mine))
    spare = f.col("rank") < f.col("count")
    split = f.when(spare & (f.col("rank") <= f.lit(config.last)), f.lit("test")).when(
        spare & (f.col("rank") <= f.lit(2 * config.last)), f.lit("valid")
    )
    return rows.withColumn("split", split.otherwise(f.lit("train")))


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
    run.keep(clean.judge_words(f, staged_rows(run)), "words")
    rows = clean.typed(f, staged_rows(run), run.read("words"), whole_times=_whole_times(run))
    for role, identity in IDS.items():
        ids = staged_rows(run).select(identity).where(f.col(identity).isNotNull()).distinct()
        ids = ids.withColumn("rated", f.lit(1))
        if (run.stage / f"{role}_side_ids.parquet").exists():
            aside = run.read(f"{role}_side_ids.parquet").withColumn("rated", f.lit(0))
            ids = ids.unionByName(aside).groupBy(identity).agg(f.min("rated").alias("rated"))
        _number(run, role, ids, f"{role}_index")
        vocabulary = run.read(f"{role}_index").select(identity, f"{role}_index")
        rows = rows.join(vocabulary, on=identity, how="left")
    rows = by_hash(f, rows, config) if config.split in BY_HASH else rows.withColumn("split", f.lit(""))
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
        f.coalesce(f.col("seconds"), f.lit(LONG_AGO)).desc(), f.col("row").desc()
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

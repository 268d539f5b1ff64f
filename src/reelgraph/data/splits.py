"""Which ratings are for training, validation and test; the same on every engine."""

from typing import Any

from reelgraph.config import DataConfig
from reelgraph.data.engine import Engine
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

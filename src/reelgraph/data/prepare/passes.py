"""Passes over all rows: parse, index, drop duplicates, split; written against PySpark's DataFrame API.

The first pass reads text. Later passes read numbers from Parquet files, which keeps the query plans short.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelgraph.config import DataConfig
from reelgraph.data.prepare import clean
from reelgraph.data.times import UNITS
from reelgraph.engines.engine import Engine, Run
from reelgraph.errors import ConfigError, DataError

TRAIN, TEST = 0, 1  # values of `part`, the file of a row in `STAGED`
BY_HASH = ("random", "given")  # splits that depend on the raw ids alone
DAY = 86_400
RATED, IN_TABLE = 1, 2  # values of `rated`: an id in the ratings, in the side table; their sum is in both
LONG_AGO = -(2**62)  # the time of ratings without one, older than any other
NEWEST = f"coalesce(seconds, {LONG_AGO}) desc, row desc"  # the order of ratings in windows
DataFrame = Any  # pyspark.sql.DataFrame or DuckDB's, which share no base class
IDS = {"user": "userId", "item": "movieId"}
ROW = ("part", "row")
DUPLICATE = "duplicate: a newer rating of the same user and movie is kept"
REPEAT = "counted with another row of the same user and movie"  # of counts: no fault
ALSO_IN_TEST = "also in the test file: kept there, not in training"


def parse_and_index(run: Run, config: DataConfig, units: Sequence[str | None]) -> DataFrame:
    """Parse all cells, index all ids, and assign the splits that depend on raw ids; keeps the rows as `parsed`.

    Args:
        run: the engine and its directories.
        config: data settings.
        units: the unit of the times of each staged file.

    Returns:
        `part`, `row`, `user_index`, `item_index` (null without an id), `value`, `seconds`, `reason` (null in rows that
        can be used), `unreadable_time`, `split`.
    """
    f = run.engine.functions
    run.keep(clean.parse_ratings(f, run.staged, implicit=config.implicit), "words")
    train, *test = (f.lit(UNITS[unit or "seconds"]) for unit in units)
    divisor = f.when(f.col("part") == f.lit(TEST), test[0]).otherwise(train) if test else train
    need_times = config.split not in BY_HASH
    rows = clean.parse_rows(f, run.staged, run.read("words"), divisor, need_times=need_times)
    rows = rows.withColumn("unreadable_time", clean.has_unreadable_time(f))
    for role, identity in IDS.items():
        ids = run.staged.where(clean.is_id(f, identity)).select(identity).distinct()
        ids = ids.withColumn("rated", f.lit(RATED))
        if (run.stage / f"{role}_side_ids.parquet").exists():
            aside = run.read(f"{role}_side_ids.parquet").withColumn("rated", f.lit(IN_TABLE))
            ids = ids.unionByName(aside).groupBy(identity).agg(f.sum("rated").cast("int").alias("rated"))
        _number(run, role, ids, f"{role}_index")
        vocabulary = run.read(f"{role}_index").select(identity, f"{role}_index")
        rows = rows.join(vocabulary, on=identity, how="left")
    rows = by_hash(f, rows, config) if config.split in BY_HASH else rows.withColumn("split", f.lit(""))
    columns = ("user_index", "item_index", "value", "seconds", "unreadable_time", "reason", "split")
    run.keep(rows.select(*ROW, *columns), "parsed")
    return run.read("parsed")


def _number(run: Run, role: str, ids: DataFrame, name: str) -> None:
    """Number ids in the order of their MD5 and keep them; by buckets, so that no sort needs a single partition."""
    f, identity = run.engine.functions, IDS[role]
    ids = ids.withColumn("digest", f.md5(f.col(identity)))
    ids = ids.withColumn("bucket", f.substring(f.col("digest"), 1, 2))
    place = f.expr(f"row_number() over (partition by bucket order by digest, {identity})")
    run.keep(ids.withColumn("place", place).drop("digest"), f"{name}_places")
    ids = run.read(f"{name}_places")
    counted = ids.groupBy("bucket").agg(f.count(f.lit(1)).alias("size"))
    sizes = {row["bucket"]: row["size"] for row in counted.collect()}
    starts = " ".join(f"when '{bucket}' then {start}" for bucket, start in _cumulative(sizes))
    number = f.expr(f"cast(case bucket {starts} end + place - 1 as int)").alias(f"{role}_index")
    run.keep(ids.select(number, f.col(identity), f.col("rated")), name)


def _cumulative(sizes: Mapping[str, int]) -> list[tuple[str, int]]:
    """The number of ids before each bucket; the first one is empty, so that there is one."""
    starts, total = [("", 0)], 0
    for bucket in sorted(sizes):
        starts.append((bucket, total))
        total += int(sizes[bucket])
    return starts


def index_again(run: Run, checked: DataFrame) -> DataFrame:
    """The usable rows, indexed again without the ids of unusable rows only; writes `users` and `items`."""
    f = run.engine.functions
    good = checked.where(f.col("reason").isNull()).drop("reason")
    for role, identity in IDS.items():
        index = name = f"{role}_index"
        run.keep(good.select(index).distinct(), f"{role}_used")
        rated = run.read(name).where(f.col("rated") == f.lit(RATED)).select(index)
        run.keep(rated.join(run.read(f"{role}_used"), on=index, how="left_anti"), f"{role}_unused")
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


def check_table(run: Run, role: str, name: str) -> str | None:
    """Say how many rated users or movies are in the side table of this name; None without a table.

    Raises:
        DataError: if none is; the message shows an id of each side.
    """
    f, identity, index = run.engine.functions, IDS[role], f"{role}_index"
    if not (run.stage / f"{role}_side_ids.parquet").exists():
        return None
    what = "user" if role == "user" else "movie"
    used = run.read(index).join(run.read(f"{role}_used"), on=index)
    count, matched = used.count(), used.where(f.col("rated") == f.lit(RATED + IN_TABLE)).count()
    if not matched:
        aside = run.read(f"{role}_side_ids.parquet")
        examples = [str(clean.totals(rows, f.min(identity))[0]) for rows in (used, aside)]
        raise DataError(
            f"{name}: expected ids of rated {what}s such as {examples[0]!r}, found none of them but {examples[1]!r}",
            f"name the id column with --{role}-columns id=NAME, or leave the table out",
        )
    return f"{name}: {matched:,} of {count:,} rated {what}s found"


def _write_nodes(run: Run, role: str, name: str) -> None:
    """Write `users` or `items` in index order; Arrow joins the side columns, whose names SQL might not take."""
    index, identity = f"{role}_index", IDS[role]
    table = pq.read_table(run.stage / name, columns=[index, identity]).sort_by(index)
    if (run.stage / f"{role}_side.parquet").exists():
        side = pq.read_table(run.stage / f"{role}_side.parquet")
        place = pc.index_in(table[identity], side[identity])
        for column in side.column_names:
            if column not in {index, identity}:
                table = table.append_column(column, side[column].take(place))
    pq.write_table(table, run.target / f"{role}s.parquet")


def drop_duplicates(run: Run, rows: DataFrame, reason: str = DUPLICATE) -> DataFrame:
    """Keep the newest rating of a user and movie, and drop those that the test file has; keeps `repeated`.

    `reason` is that of the older ratings.

    Only pairs that occur again are sorted by age: most data has few or none, and counting is cheap.
    """
    f = run.engine.functions
    rows = rows.withColumn("pair", f.col("user_index").cast("bigint") * f.lit(2**32) + f.col("item_index"))
    times = rows.groupBy("pair").agg(f.count(f.lit(1)).alias("times"))
    run.keep(times.where(f.col("times") > 1).select("pair"), "again")
    again = rows.join(run.read("again"), on="pair")
    again = again.withColumn("age", f.expr(f"row_number() over (partition by part, pair order by {NEWEST})"))
    again = again.withColumn("tested", f.expr("max(part) over (partition by pair)"))
    cause = f.when(f.col("age") > 1, f.lit(reason)).when(f.col("part") < f.col("tested"), f.lit(ALSO_IN_TEST))
    again = again.withColumn("reason", cause).where(f.col("reason").isNotNull())
    run.keep(again.select(*ROW, "reason"), "repeated")
    losers = run.read("repeated").select(*ROW)
    if not losers.count():
        return rows
    run.keep(rows.join(losers, on=list(ROW), how="left_anti"), "single")
    return run.read("single")


def assign_splits(engine: Engine, rows: Any, config: DataConfig) -> Any:
    """Fill the column `split` with "train", "valid" or "test"; `by_hash` has done so for the splits `BY_HASH`."""
    if config.split == "time":
        return _by_time(engine.functions, rows, config)
    return _last(engine.functions, rows, config) if config.split == "last" else rows


def by_hash(f: Any, rows: Any, config: DataConfig) -> Any:
    """Add `split` by the seeded MD5 of the raw ids, which depends on no engine, order or other row.

    With a test file, exactly its ratings are for test. The digest is compared with the shares as hexadecimal text.
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
    """Split at two global times: the newest share is for test, the newest of the rest for validation."""
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
    """The latest time since which there are at least `wanted` rows: first the day, then the second."""
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


def _last(f: Any, rows: Any, config: DataConfig) -> Any:
    """Use each user's last `last` ratings for test and as many before for validation; keep one for training."""
    rows = rows.withColumn("rank", f.expr(f"row_number() over (partition by user_index order by {NEWEST})"))
    rows = rows.withColumn("count", f.expr("count(1) over (partition by user_index)"))
    spare = f.col("rank") < f.col("count")
    split = f.when(spare & (f.col("rank") <= f.lit(config.last)), f.lit("test")).when(
        spare & (f.col("rank") <= f.lit(2 * config.last)), f.lit("valid")
    )
    return rows.withColumn("split", split.otherwise(f.lit("train")))

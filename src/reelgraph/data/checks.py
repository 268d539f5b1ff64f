"""The rating scale, what is wrong with a row, and whether enough rows are left; the same on either engine."""

from dataclasses import asdict, dataclass
from typing import Any

from reelgraph.data.sources import NUMBER
from reelgraph.errors import DataError

DataFrame = Any  # pyspark.sql.DataFrame or sqlframe's, which share no base class
_MISSING = ("", "na", "n/a", "null", "none")
_INFINITE = ("inf", "infinity", "+inf", "+infinity", "-inf", "-infinity")
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?Z?)?$"
_MILLISECONDS = 1e11  # seconds would be the year 5138
_SECONDS_LIMIT = 1e16
HIGHS = (1.0, 5.0, 10.0, 100.0)
RARE = 0.001  # a share of ratings that may be slips of the pen


@dataclass(frozen=True)
class Scale:
    """Lowest and highest rating, the step between two ratings (None if there is none), and where it is from."""

    low: float
    high: float
    step: float | None
    inferred: bool

    def to_json(self) -> dict[str, Any]:
        """The scale as JSON values."""
        return asdict(self)

    @property
    def refusal(self) -> str:
        """Why a rating outside is refused."""
        origin = "inferred from the ratings; set it with --scale" if self.inferred else "given by --scale"
        return f"rating is outside the scale {self.low:g}-{self.high:g} ({origin})"

    def __str__(self) -> str:
        step = {1.0: "whole stars", 0.5: "half stars"}.get(self.step or 0.0, "any number in between")
        return f"rating scale: {self.low:g} to {self.high:g}, {step} ({'inferred' if self.inferred else 'given'})"


def infer_scale(f: Any, rows: Any, given: tuple[float, float] | None) -> Scale | None:
    """The scale of ratings, by one aggregate over them.

    The highest rating is the smallest of `HIGHS` that at most `RARE` of the ratings exceed; the lowest is 1, 1/2 or 0,
    whichever no rating falls below. Negative ratings, if not rare, and ratings past 100 make their own extremes the
    scale.

    Args:
        f: the engine's functions.
        rows: rows with a finite `value`, a double.
        given: the scale the user named; only the step is inferred then.

    Returns:
        The scale, or None when there are no rows.
    """
    value = f.col("value")

    def counted(condition: Any, name: str) -> Any:
        return f.count(f.when(condition, f.lit(1))).alias(name)

    found = rows.agg(
        f.count(value).alias("all"),
        f.min(value).alias("low"),
        f.max(value).alias("high"),
        counted(value < 0, "negative"),
        counted((value >= 0) & (value < 0.5), "below_half"),
        counted((value >= 0) & (value < 1), "below_one"),
        counted(value != f.floor(value), "broken"),
        counted(value * 2 != f.floor(value * 2), "finer"),
        *(counted(value > high, f"above_{high:g}") for high in HIGHS),
    ).collect()[0]
    rows_found = int(found["all"])
    if not rows_found:
        return None
    step = 1.0 if not found["broken"] else 0.5 if not found["finer"] else None
    if given is not None:
        return Scale(*given, step, inferred=False)
    rare = RARE * rows_found
    if found["negative"] > rare or found["above_100"] > rare:
        return Scale(float(found["low"]), float(found["high"]), step, inferred=True)
    high = next(high for high in HIGHS if found[f"above_{high:g}"] <= rare)
    low = 0.0 if found["below_half"] else 0.5 if found["below_one"] else 1.0
    return Scale(0.0 if high == 1 else low, high, step, inferred=True)


def typed(f: Any, rows: DataFrame) -> DataFrame:
    """`value`, the rating as a double, and `seconds`, the time as a bigint, beside the raw text."""
    rows = rows.withColumnRenamed("rating", "rating_text").withColumnRenamed("timestamp", "time_text")
    rows = rows.withColumn("r", f.lower(f.trim(f.col("rating_text")))).withColumn("t", f.trim(f.col("time_text")))
    # The engines differ in what else they cast ("1d", "1_000", "1e999"), so only what looks like a number is cast.
    value = (
        f.when(f.col("r").rlike(f"^{NUMBER}$"), f.coalesce(f.expr("try_cast(r as double)"), f.lit(float("inf"))))
        .when(f.col("r").isin("nan", "+nan", "-nan"), f.lit(float("nan")))
        .when(f.col("r").isin(*_INFINITE), f.lit(float("inf")))
    )
    number = f.when(f.col("t").rlike(f"^{NUMBER}$"), f.expr("try_cast(t as double)"))
    rows = rows.withColumn("value", value).withColumn("number", number)
    scaled = f.when(f.abs(f.col("number")) > f.lit(_MILLISECONDS), f.col("number") / f.lit(1000.0)).otherwise(
        f.col("number")
    )
    rows = rows.withColumn("number", scaled)
    # Without the fraction of a second, which one engine would round and the other cut.
    date = f.expr("try_cast(substring(replace(t, 'T', ' '), 1, 19) as timestamp)")
    seconds = (
        f.when(f.abs(f.col("number")) < f.lit(_SECONDS_LIMIT), f.floor(f.col("number")).cast("bigint"))
        .when(f.col("t").rlike(_DATE), f.unix_timestamp(date).cast("bigint"))
    )  # fmt: skip
    return rows.withColumn("seconds", seconds)


def with_reason(f: Any, rows: DataFrame) -> DataFrame:
    """`reason`, why a row cannot be used, null where it can."""

    def empty(name: str) -> Any:
        return f.col(name).isNull() | (f.col(name) == f.lit(""))

    no_rating = f.col("rating_text").isNull() | f.col("r").isin(*_MISSING)
    no_time = f.col("time_text").isNull() | f.lower(f.col("t")).isin(*_MISSING, "nan")
    reason = (
        f.when(f.col("malformed").isNotNull(), f.concat(f.lit("malformed row: "), f.col("malformed")))
        .when(empty("userId"), f.lit("user id is missing"))
        .when(empty("movieId"), f.lit("movie id is missing"))
        .when(no_rating, f.lit("rating is missing"))
        .when(f.col("value").isNull(), f.lit("rating is not a number"))
        .when(f.isnan(f.col("value")), f.lit("rating is NaN"))
        .when(f.abs(f.col("value")) == f.lit(float("inf")), f.lit("rating is infinite"))
        .when(f.col("seconds").isNull() & ~no_time, f.lit("timestamp is not a number or date"))
    )
    return rows.withColumn("reason", reason).drop("r", "t", "number")


def missing_counts(f: Any, rows: DataFrame) -> dict[str, dict[str, int]]:
    """How many cells of each column are null, and how many ratings are NaN."""
    texts = {"userId": "userId", "movieId": "movieId", "rating": "rating_text", "timestamp": "time_text"}
    nulls = [f.count(f.when(f.col(column).isNull(), f.lit(1))).alias(name) for name, column in texts.items()]
    nan = f.count(f.when(f.isnan(f.coalesce(f.col("value"), f.lit(0.0))), f.lit(1))).alias("nan")
    found = rows.agg(*nulls, nan).collect()[0]
    return {name: {"null": int(found[name]), "nan": int(found["nan"]) if name == "rating" else 0} for name in texts}


def check_enough(judged: DataFrame, f: Any) -> None:
    """Refuse ratings that leave nothing to learn from."""
    good = judged.where(f.col("reason").isNull() & (f.col("part") == f.lit("train")))
    facts = good.agg(
        f.count(f.lit(1)).alias("ratings"),
        f.countDistinct(f.col("userId")).alias("users"),
        f.countDistinct(f.col("movieId")).alias("movies"),
        f.min(f.col("value")).alias("low"),
        f.max(f.col("value")).alias("high"),
    ).collect()[0]
    if not facts["ratings"]:
        refused = judged.where(f.col("reason").isNotNull())
        common = refused.groupBy("reason").agg(f.count(f.lit(1)).alias("rows"), f.min("row").alias("first"))
        worst = common.orderBy(f.col("rows").desc(), f.col("reason")).limit(1).collect()
        if not worst:
            raise DataError("ratings: expected rows below the header, found none", "check the file")
        raise DataError(
            f"ratings: expected at least one row that can be used, found none of {refused.count():,}: "
            f"{worst[0]['reason']} in {worst[0]['rows']:,} (first in row {worst[0]['first']:,})",
            "check the file, or name its columns with --columns",
        )
    for count, what in ((facts["ratings"], "rating"), (facts["users"], "user"), (facts["movies"], "movie")):
        if count < 2:
            raise DataError(f"ratings: expected at least two {what}s, found one", "give more ratings")
    if facts["low"] == facts["high"]:
        raise DataError(
            f"ratings: expected ratings that differ, found {facts['low']:g} in every row", "give ratings to tell apart"
        )

"""Parse cells, find the rating scale, and say what is wrong with a row; the same on either engine."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from reelgraph.data.rows import NUMBER
from reelgraph.data.sources import CANONICAL, NEEDED, NO, YES
from reelgraph.data.times import LATEST
from reelgraph.data.vocabulary import NULL_MARKERS
from reelgraph.errors import DataError

DataFrame = Any  # pyspark.sql.DataFrame or DuckDB's, which share no base class
_MISSING = sorted({marker.lower() for marker in NULL_MARKERS if "nan" not in marker.lower()})
_NAN = ("nan", "+nan", "-nan")
_INFINITE = ("inf", "infinity", "+inf", "+infinity", "-inf", "-infinity")

# \z, not $: on Spark $ also matches before a final line break, on DuckDB it does not.
_NUMBER = rf"^{NUMBER}\z"
LARGEST = 3.4e38  # about the largest float32, the type of written ratings
HIGHS = (1.0, 5.0, 10.0, 100.0)
NO_TIME = "timestamp is not a number or date"
TIME_REMEDY = "write times as seconds since 1970 or like 2012-06-05 10:20:30, or leave the column out"
CODE = "rating is a code for no rating"
NEGATIVE = "count is negative"
NOT_LIKED = "count is 0: not viewed or liked"
EXPECTED = (CODE, NOT_LIKED)  # reasons that are no fault of a row
COMMON, FREQUENT = 0.1, 0.3  # shares from which on a low and a high value may be codes for no rating
RARE = 0.001  # share of ratings outside a scale that counts as typing errors


@dataclass(frozen=True)
class Scale:
    """Lowest and highest rating, the step between ratings (None if there is none), and whether it was inferred."""

    low: float
    high: float
    step: float | None
    inferred: bool

    def to_json(self) -> dict[str, Any]:
        """The scale as JSON values."""
        return asdict(self)

    @property
    def refusal(self) -> str:
        """The reason that refuses a rating outside the scale."""
        origin = "inferred from the ratings; set it with --scale" if self.inferred else "given by --scale"
        return f"rating is outside the scale {self.low:g}-{self.high:g} ({origin})"

    def __str__(self) -> str:
        step = {1.0: "whole stars", 0.5: "half stars"}.get(self.step or 0.0, "any number in between")
        return f"rating scale: {self.low:g} to {self.high:g}, {step} ({'inferred' if self.inferred else 'given'})"


def infer_scale(f: Any, rows: Any, given: tuple[float, float] | None) -> Scale | None:
    """Infer the rating scale with one aggregate.

    The high end is the smallest of `HIGHS` that at most a share `RARE` of the ratings exceeds; the low end is the
    largest of 1, 0.5 and 0 that no rating is below. If more than `RARE` of the ratings are negative or above 100, or if
    none is in the upper half of the scale, the scale is from the lowest to the highest rating.

    Args:
        f: the engine's functions.
        rows: rows with a finite double `value`.
        given: the scale that the user set; then only the step is inferred.

    Returns:
        The scale, or None if there are no rows.
    """
    value = f.col("value")

    def counted(condition: Any, name: str) -> Any:
        return f.count(f.when(condition, f.lit(1))).alias(name)

    found = totals(
        rows,
        f.count(value).alias("all"),
        f.min(value).alias("low"),
        f.max(value).alias("high"),
        counted(value < 0, "negative"),
        counted((value >= 0) & (value < 0.5), "below_half"),
        counted((value >= 0) & (value < 1), "below_one"),
        counted(value != f.floor(value), "broken"),
        counted(value * 2 != f.floor(value * 2), "finer"),
        *(counted(value > high, f"above_{high:g}") for high in HIGHS),
    )
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
    if high > HIGHS[1] and found["high"] <= high / 2:
        return Scale(float(found["low"]), float(found["high"]), step, inferred=True)
    low = 0.0 if found["below_half"] else 0.5 if found["below_one"] else 1.0
    return Scale(0.0 if high == 1 else low, high, step, inferred=True)


@dataclass(frozen=True)
class Code:
    """A value that may stand for no rating rather than be one."""

    value: float
    share: float
    others: tuple[float, float]
    scale: tuple[float, float]
    reason: str

    def __str__(self) -> str:
        low, high = self.others
        return (
            f"rating {self.value:g} in {self.share:.0%} of the rows may be a code for no rating: {self.reason} "
            f"{low:g} to {high:g}"
        )

    @property
    def remedy(self) -> str:
        """What to do about it."""
        low, high = self.scale
        return f"drop it with --missing {self.value:g}, or keep it as a rating with --scale {low:g}-{high:g}"


def refuse_codes(f: Any, rows: DataFrame, codes: Sequence[float]) -> DataFrame:
    """Refuse ratings that stand for no rating."""
    if not codes:
        return rows
    is_code = f.col("reason").isNull() & f.col("value").isin(*(float(code) for code in codes))
    text = f.lit(f"{CODE} ({', '.join(f'{code:g}' for code in codes)})")
    return rows.withColumn("reason", f.when(is_code, text).otherwise(f.col("reason")))


def suspected_codes(f: Any, rows: DataFrame, scale: Scale) -> list[Code]:
    """The lowest and the highest rating, if they look like codes for no rating: 99, -1 or 0.

    There must be at least three other values, and no scale from the user.
    """
    if not scale.inferred:
        return []
    value = f.col("value")
    rows = rows.where((value >= scale.low) & (value <= scale.high))
    ends = totals(rows, f.min("value").alias("low"), f.max("value").alias("high"), f.count(f.lit(1)).alias("rows"))
    low, high, count = (ends[name] for name in ("low", "high", "rows"))
    if not count:
        return []
    inner = totals(
        rows,
        f.min(f.when(value > low, value)).alias("next_low"),
        f.max(f.when(value < high, value)).alias("next_high"),
        f.count(f.when(value == low, f.lit(1))).alias("lowest"),
        f.count(f.when(value == high, f.lit(1))).alias("highest"),
    )
    codes = []
    for code, rest, number in (
        (low, (inner["next_low"], high), inner["lowest"]),
        (high, (low, inner["next_high"]), inner["highest"]),
    ):
        if None in rest or not rows.where((value > rest[0]) & (value < rest[1])).limit(1).count():
            continue
        reason = _suspicion(code, rest, number / count)
        if reason:
            codes.append(Code(float(code), number / count, (rest[0], rest[1]), (scale.low, scale.high), reason))
    return codes


def _suspicion(code: float, others: tuple[float, float], share: float) -> str:
    """Why the lowest or highest rating may be a code; empty if it is not suspected."""
    gap, span = min(abs(code - other) for other in others), others[1] - others[0]
    if gap >= span * (2 if code in HIGHS else 1):
        return "it is far from the others,"
    if code < 0 <= others[0]:
        return "it is the only negative value beside"
    if code <= 0 < others[0] and share >= COMMON:
        return "it is frequent and below the others,"
    if code > others[1] and others[1] in HIGHS and share >= FREQUENT:
        return "it is frequent and above the others,"
    return ""


def parse_ratings(f: Any, rows: DataFrame, *, implicit: bool = False) -> DataFrame:
    """Parse each distinct text of the column `rating` once, since regular expressions are slow.

    With `implicit`, they are counts, and words such as true and no are 1 and 0.

    Returns:
        `rating`, the distinct texts; `value`, a double, or null if the text is not a number; `fault`, why the rating
        cannot be used, or null.
    """
    rows = rows.select("rating").where(f.col("rating").isNotNull()).distinct()
    rows = rows.withColumn("r", _plain(f, "rating"))
    r = f.col("r")
    # The engines cast different texts ("1d", "1_000", "1e999"), so cast only what looks like a number.
    number = f.when(r.rlike(_NUMBER), f.coalesce(f.expr("try_cast(r as double)"), f.lit(float("inf"))))
    if implicit:
        number = f.when(r.isin(*YES), f.lit(1.0)).when(r.isin(*NO), f.lit(0.0)).otherwise(number)
    nan, infinity = (f.expr(f"cast('{name}' as double)") for name in ("NaN", "Infinity"))
    value = f.when(r.isin(*_NAN), nan).when(r.isin(*_INFINITE), infinity).otherwise(number)
    rows = rows.withColumn("value", value)
    # One engine keeps the sign of -0.
    rows = rows.withColumn("value", f.when(f.col("value") == 0, f.lit(0.0)).otherwise(f.col("value")))
    fault = (
        f.when(r.isin(*_MISSING), f.lit("rating is missing"))
        .when(f.col("value").isNull(), f.lit("rating is not a number"))
        .when(f.isnan(f.col("value")), f.lit("rating is NaN"))
        .when(f.abs(f.col("value")) > f.lit(LARGEST), f.lit("rating is infinite"))
    )
    if implicit:
        fault = fault.when(f.col("value") < 0, f.lit(NEGATIVE)).when(f.col("value") == 0, f.lit(NOT_LIKED))
    return rows.withColumn("fault", fault).drop("r")


def parse_rows(f: Any, rows: DataFrame, ratings: DataFrame, divisor: Any, *, need_times: bool) -> DataFrame:
    """Add `value` (the rating, double), `seconds` (the time, bigint) and `reason`, null in rows that can be used.

    Args:
        f: the engine's functions.
        rows: staged rows.
        ratings: the result of `parse_ratings`.
        divisor: how many units of the column's times a second has.
        need_times: whether to refuse rows with an unreadable time, rather than the time alone.
    """
    rows = _with_seconds(f, rows.withColumn("divisor", divisor)).join(ratings, on="rating", how="left")
    reason = (
        f.when(f.col("malformed").isNotNull(), f.concat(f.lit("malformed row: "), f.col("malformed")))
        .when(~is_id(f, "userId"), f.lit("user id is missing"))
        .when(~is_id(f, "movieId"), f.lit("movie id is missing"))
        .when(f.col("rating").isNull(), f.lit("rating is missing"))
        .when(f.col("fault").isNotNull(), f.col("fault"))
    )
    if need_times:
        reason = reason.when(has_unreadable_time(f), f.lit(NO_TIME))
    return rows.withColumn("reason", reason)


def is_id(f: Any, name: str) -> Any:
    """Whether a cell of staged ids is one."""
    return f.col(name).isNotNull() & ~f.col(name).isin(*NULL_MARKERS)


def has_unreadable_time(f: Any) -> Any:
    """Whether a row has a time that is neither a number of a sensible size nor a date."""
    text = f.coalesce(f.expr(_trimmed("time_text")), f.lit(""))
    is_filled = f.col("number").isNotNull() | ~text.isin(*NULL_MARKERS)
    return f.col("seconds").isNull() & is_filled


def _plain(f: Any, name: str) -> Any:
    """A column trimmed and in lower case."""
    # ASCII only: the engines' own functions differ in other blanks and letters.
    return f.expr(f"translate({_trimmed(name)}, '{ascii_uppercase}', '{ascii_lowercase}')")


def _trimmed(name: str) -> str:
    return f"trim(both ' ' from {name})"


def _with_seconds(f: Any, rows: DataFrame) -> DataFrame:
    """Add whole seconds since 1970, rounded down; null for numbers past the year 5138."""
    # The dividend is a multiple of the divisor: its quotient is exact.
    seconds = f.expr("cast((number - (number % divisor + divisor) % divisor) / divisor as bigint)")
    rows = rows.withColumn("seconds", seconds)
    in_range = f.when(f.abs(f.col("seconds")) < f.lit(LATEST), f.col("seconds"))
    return rows.withColumn("seconds", f.coalesce(f.col("moment"), in_range)).drop("divisor")


def missing_counts(f: Any, staged: DataFrame, checked: DataFrame) -> dict[str, dict[str, int]]:
    """Count the null cells of each column outside malformed rows, and the ratings that are NaN."""
    nulls = [
        f.count(f.when(is_null, f.lit(1))).alias(name)
        for name, is_null in (
            *((CANONICAL[role], f.col(CANONICAL[role]).isNull()) for role in NEEDED),
            ("timestamp", f.coalesce(f.col("number"), f.col("moment")).isNull() & f.col("time_text").isNull()),
        )
    ]
    null = totals(staged.where(f.col("malformed").isNull()), *nulls)
    is_nan = f.isnan(f.coalesce(f.col("value"), f.lit(0.0)))
    nan = totals(checked, f.count(f.when(is_nan, f.lit(1))).alias("rating"))
    return {
        name: {"null": int(null[name]), "nan": int(nan[name]) if name == "rating" else 0} for name in CANONICAL.values()
    }


def totals(rows: DataFrame, *columns: Any) -> Any:
    """The row of aggregates over all rows."""
    if hasattr(type(rows), "agg"):
        return rows.agg(*columns).collect()[0]
    # DuckDB's DataFrame has no `agg`, and groups by some column only.
    return type(rows)(rows.relation.aggregate([column.expr for column in columns]), rows.session).collect()[0]


def check_enough(checked: DataFrame, f: Any, *, implicit: bool = False) -> None:
    """Refuse ratings from which nothing can be learned; ratings that are all the same teach lists alone."""
    columns = ("user_index", "item_index", "value")
    good = checked.where(f.col("reason").isNull() & (f.col("part") == f.lit(0)))
    facts = totals(
        good,
        f.count(f.lit(1)).alias("ratings"),
        *(f.min(f.col(name)).alias(f"lowest_{name}") for name in columns),
        *(f.max(f.col(name)).alias(f"highest_{name}") for name in columns),
    )
    if not facts["ratings"]:
        refused = checked.where(f.col("reason").isNotNull())
        common = refused.groupBy("reason").agg(f.count(f.lit(1)).alias("rows"), f.min("row").alias("first"))
        worst = common.orderBy(f.col("rows").desc(), f.col("reason")).limit(1).collect()
        if not worst:
            raise DataError("ratings: expected rows below the header, found none", "check the file")
        about_time = worst[0]["reason"] == NO_TIME
        raise DataError(
            f"ratings: expected at least one row that can be used, found none of {refused.count():,}: "
            f"{worst[0]['reason']} in {worst[0]['rows']:,} (first in row {worst[0]['first']:,})",
            TIME_REMEDY if about_time else "check the file, or name its columns with --columns",
        )
    if facts["ratings"] < 2:
        raise DataError("ratings: expected at least two ratings, found one", "give more ratings")
    for name, what in (("user_index", "user"), ("item_index", "movie")):
        if facts[f"lowest_{name}"] == facts[f"highest_{name}"]:
            raise DataError(f"ratings: expected at least two {what}s, found one", "give more ratings")
    if facts["lowest_value"] == facts["highest_value"] and not implicit:
        raise DataError(
            f"ratings: expected ratings that differ, found {facts['lowest_value']:g} in every row",
            "check which column holds the ratings (--columns rating=NAME), or, if these are views or likes, train "
            "lists on them with --implicit (implicit=True)",
        )

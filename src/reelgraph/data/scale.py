"""The rating scale: given, or inferred from what the ratings are."""

from dataclasses import asdict, dataclass
from typing import Any

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

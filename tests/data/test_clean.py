"""Scales inferred, cells counted."""

from pathlib import Path

import pytest

from reelgraph.config import DataConfig
from reelgraph.data.dataset import load_prepared
from reelgraph.data.prepare.clean import Scale, infer_scale, suspected_codes
from reelgraph.data.prepare.prepare import prepare
from reelgraph.data.sources import find
from reelgraph.engines.engine import open_engine
from tests.support.worlds import prepare_rows

SCALES: list[tuple[list[float], tuple[float, float, float | None]]] = [
    ([1, 2, 3, 4, 5], (1, 5, 1)),
    ([2, 3, 4], (1, 5, 1)),
    ([0.5, 3, 5], (0.5, 5, 0.5)),
    ([0, 3, 5], (0, 5, 1)),
    ([1, 7, 10], (1, 10, 1)),
    ([0, 6.5, 10], (0, 10, 0.5)),
    ([1, 50, 100], (1, 100, 1)),
    ([0, 1], (0, 1, 1)),
    ([-10, 0, 9.75], (-10, 9.75, None)),
    ([1, 500], (1, 500, 1)),
    ([1.25, 3.7], (1, 5, None)),
]


def test_the_scale_is_inferred() -> None:
    with open_engine("duckdb") as engine:
        for values, scale in SCALES:
            rows = engine.spark.createDataFrame([(float(value),) for value in values * 6], ["value"])
            assert infer_scale(engine.functions, rows, None) == Scale(*scale, inferred=True), values


ALL = (1, 2, 3, 4, 5)


@pytest.mark.parametrize(("others", "code", "percent", "suspected"), [
    (ALL, 9.5, 10, True), (ALL, 10, 10, False), (ALL, 8.5, 10, False), (ALL, 6, 30, True), (ALL, 6, 29, False),
    (ALL, 0, 10, True), (ALL, 0, 9, False), ((0, *ALL), -1, 5, True), ((3, 4, 5), 0.5, 5, True),
    ((3, 4, 5), 1, 5, False), ((1, 5), 99, 50, False),
])  # fmt: skip
def test_values_far_from_the_others_or_frequent_beside_them_may_be_codes(
    others: tuple[int, ...], code: float, percent: int, suspected: bool
) -> None:
    values = [float(code)] * percent + [float(others[place % len(others)]) for place in range(100 - percent)]
    with open_engine("duckdb") as engine:
        rows = engine.spark.createDataFrame([(value,) for value in values], ["value"])
        found, none = (
            suspected_codes(engine.functions, rows, Scale(min(values), max(values), None, inferred))
            for inferred in (True, False)
        )
    assert none == [], "a scale that the user gives settles it"
    assert [(each.value, each.share, each.others) for each in found] == (
        [(code, percent / 100, (min(others), max(others)))] if suspected else []
    )


@pytest.mark.parametrize(
    ("low", "high", "step"), [(1.0, 5.0, 1.0), (0.5, 5.0, 0.5), (1.0, 10.0, 1.0), (1.0, 100.0, 1.0)]
)
def test_typing_errors_are_refused_and_the_reason_names_the_scale(
    tmp_path: Path, low: float, high: float, step: float
) -> None:
    levels = int((high - low) / step) + 1
    rows: list[tuple[object, ...]] = [
        (user, movie, f"{low + step * ((7 * user + movie) % levels):g}") for user in range(60) for movie in range(60)
    ]
    slips = [-1, 99 if high < 99 else 999]
    data = load_prepared(prepare_rows(tmp_path, [*rows, *((1, 100 + slip, slip) for slip in slips)]))
    assert data.scale == (low, high)
    (reason,) = set(data.rejects["reason"].to_pylist())
    assert reason == f"rating is outside the scale {low:g}-{high:g} (inferred from the ratings; set it with --scale)"
    assert [(row["row"], row["rating"]) for row in data.rejects.to_pylist()] == [
        (3600 + place, str(slip)) for place, slip in enumerate(slips, start=1)
    ]
    assert data.manifest["scale"]["step"] == step


def test_missing_cells_are_counted_by_column(tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "r.csv").write_text("userId,movieId,rating\na,x,1\na,y,\nb,x,NaN\n,y,3\nb,y,4\nc,,nan\n")
    out = prepare(find(tmp_path / "r.csv"), DataConfig(), tmp_path / "p", lines.append)
    columns = load_prepared(out).manifest["columns"]
    assert columns["userId"] == {"null": 1, "nan": 0}
    assert columns["movieId"] == {"null": 1, "nan": 0}
    assert columns["rating"] == {"null": 1, "nan": 2}
    assert "rating: 1 null and 2 NaN" in lines
    assert not any(line.startswith("timestamp:") for line in lines), "the file has no such column"


def test_a_given_scale_is_used(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [(user, movie, (user + movie) % 7) for user in range(5) for movie in range(5)]
    data = load_prepared(prepare_rows(tmp_path, rows, scale=(1, 4)))
    assert data.scale == (1, 4)
    assert sorted({row["rating"] for row in data.rejects.to_pylist()}) == ["0", "5", "6"]

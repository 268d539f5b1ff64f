"""Views, likes and counts are read with `implicit`, each pair once, and refused without it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import reelgraph as rg
from reelgraph.errors import ConfigError, DataError
from tests.support.worlds import views

PAIRS = views(12, 10)


def write(folder: Path, header: str, rows: Sequence[Sequence[object]], name: str = "views.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def facts(data: rg.Dataset) -> tuple[set[tuple[str, str]], set[float]]:
    """The pairs and the ratings of all splits."""
    parts = [data.train, data.valid, data.test]
    pairs = {pair for part in parts for pair in zip(*data.raw_ids(part), strict=True)}
    assert sum(map(len, parts)) == len(pairs)
    return pairs, {float(rating) for part in parts for rating in part.rating}


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("userId,movieId", lambda _: ()), ("userId,movieId,timestamp", lambda place: (1_500_000_000 + place,)),
        ("user,item,plays", lambda place: (1 + place % 40,)), ("user_id,item_id,liked", lambda _: ("True",)),
        ("userId,movieId,rating", lambda _: (5,)), ("userId,movieId,weight", lambda place: (0.5 + place,)),
    ],
)  # fmt: skip
def test_every_kind_is_the_same_pairs(tmp_path: Path, header: str, cells: Any) -> None:
    path = write(tmp_path, header, [(*pair, *cells(place)) for place, pair in enumerate(PAIRS)])
    data = rg.load(path, implicit=True, strict=True)
    assert facts(data) == (set(PAIRS), {1.0})
    assert data.implicit
    assert data.manifest["implicit"]["counts"] == "binary"
    if "plays" not in header and "weight" not in header:
        with pytest.raises(DataError) as refused:
            rg.load(path)
        assert "--implicit" in refused.value.remedy


def test_repeated_pairs_are_counted_once_and_said(tmp_path: Path) -> None:
    rows = [*PAIRS, *PAIRS[:5], PAIRS[0]]
    said: list[str] = []
    data = rg.load(write(tmp_path, "userId,movieId", rows), implicit=True, strict=True, report=said.append)
    assert facts(data)[0] == set(PAIRS)
    assert data.manifest["implicit"]["repeats"] == 6
    assert data.manifest["counts"]["rows"] == len(rows)
    assert data.manifest["counts"]["rejected"] == 0
    assert [line for line in said if "6 repeated pairs" in line and "binary" in line]


@pytest.mark.parametrize(("yes", "no"), [(1, 0), ("yes", "no"), ("TRUE", "FALSE")])
def test_a_like_of_zero_is_none(tmp_path: Path, yes: object, no: object) -> None:
    rows = [(*pair, no if place < 4 else yes) for place, pair in enumerate(PAIRS)]
    data = rg.load(write(tmp_path, "userId,movieId,liked", rows), implicit=True, strict=True)
    assert facts(data)[0] == set(PAIRS[4:])
    assert data.manifest["counts"]["rejected"] == 4


def test_negative_counts_are_refused_with_their_row(tmp_path: Path) -> None:
    rows = [(*pair, -2 if place == 3 else 7) for place, pair in enumerate(PAIRS)]
    path = write(tmp_path, "userId,movieId,plays", rows)
    data = rg.load(path, implicit=True)
    assert facts(data)[0] == set(PAIRS) - {PAIRS[3]}
    assert data.rejects.to_pylist()[0]["row"] == 4
    with pytest.raises(DataError, match="count is negative"):
        rg.load(path, implicit=True, strict=True)
    write(tmp_path, "userId,movieId,plays", [(*pair, -1) for pair in PAIRS])
    with pytest.raises(DataError, match="count is negative"):
        rg.load(path, implicit=True)


def test_tables_of_python_are_read_alike() -> None:
    frame = pd.DataFrame(PAIRS, columns=["userId", "movieId"])
    for table in (PAIRS, frame, frame.assign(liked=True), frame.assign(plays=3)):
        assert facts(rg.load(table, implicit=True)) == (set(PAIRS), {1.0})


def test_a_file_without_a_header_may_have_times(tmp_path: Path) -> None:
    rows = [(user[1:], item[1:], 1_500_000_000 + place) for place, (user, item) in enumerate(PAIRS)]
    path = write(tmp_path, ",".join(map(str, rows[0])), rows[1:])
    data = rg.load(path, implicit=True, split="time")
    assert facts(data)[0] == {(user[1:], item[1:]) for user, item in PAIRS}
    assert data.train.timestamp is not None


def test_a_model_that_does_not_fit_the_data_is_refused(tmp_path: Path) -> None:
    data = rg.load(PAIRS, implicit=True)
    for settings in ({"model": "gcn"}, {"ranking": False}):
        with pytest.raises(ConfigError, match="expected ratings, found views"):
            rg.fit(data, **settings)
    stars = rg.load([(*pair, 1 + place % 5) for place, pair in enumerate(PAIRS)])
    with pytest.raises(ConfigError, match="--model ranking"):
        rg.fit(stars, model="ranking")

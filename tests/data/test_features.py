"""Side columns as indicators."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from reelgraph.data.features import encode


def features(**columns: Sequence[object]) -> dict[str, list[float]]:
    found = encode(pa.table({"movieId": [str(n) for n in range(len(next(iter(columns.values()))))], **columns}))
    return {} if found is None else {name: found[0][:, place].tolist() for place, name in enumerate(found[1])}


def test_sets_categories_and_codes_become_indicators() -> None:
    genres = ["A|B", "A", "B", None, "A|B", "B|C", "A"]
    found = features(genres=genres, kind=["x", "y", "x", "x", "y", "y", ""], code=["1", "2", "1", "2", "1", "2", None])
    assert found["genres=A"] == [1, 1, 0, 0, 1, 0, 1]
    assert found["genres=B"] == [1, 0, 1, 0, 1, 1, 0]
    assert "genres=C" not in found, "one row is not enough to learn from"
    assert found["kind=x"] == [1, 0, 1, 1, 0, 0, 0]
    assert found["code=2"] == [0, 1, 0, 1, 0, 1, 0]


def test_measures_fall_into_bands_of_equally_many() -> None:
    found = features(age=[str(n) for n in range(400)])
    assert len(found) == 8
    total = np.sum(list(found.values()), axis=0)
    assert (total == 1).all(), "every row is in one band"
    assert {int(sum(column)) for column in found.values()} <= set(range(48, 53))


def test_names_and_constants_are_left_out() -> None:
    assert features(title=[f"t{n}" for n in range(99)], zip=[f"z{n}" for n in range(99)], same=["s"] * 99) == {}

"""Side columns as indicators."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from reelgraph.data.side_features import encode


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


def test_numbers_become_bands_of_equal_size() -> None:
    found = features(age=[str(n) for n in range(400)])
    assert len(found) == 8
    total = np.sum(list(found.values()), axis=0)
    assert (total == 1).all(), "every row is in one band"
    assert {int(sum(column)) for column in found.values()} <= set(range(48, 53))


def test_names_and_constants_are_no_features() -> None:
    assert features(title=[f"t{n}" for n in range(99)], zip=[f"z{n}" for n in range(99)], same=["s"] * 99) == {}


def test_later_rows_use_the_encoding_of_the_first() -> None:
    """Rows after the known ones change no feature: no new band, no new value, no other edge."""
    years = [1950 + place for place in range(40)]
    first = pa.table({"movieId": [str(n) for n in range(40)], "year": years, "genres": ["Drama", "War"] * 20})
    more = pa.table({"movieId": ["x", "y", "z"], "year": [1800, 1955, None], "genres": ["War", "Opera", None]})
    whole = encode(pa.concat_tables([first, more]), 40)
    alone = encode(first)
    assert whole is not None
    assert alone is not None
    assert whole[1] == alone[1]
    assert np.array_equal(whole[0][:40], alone[0])
    by_name = {name: whole[0][40:, place].tolist() for place, name in enumerate(whole[1])}
    bands = [name for name in by_name if name.startswith("year=")]
    assert by_name[bands[0]] == [1, bool(alone[0][5, alone[1].index(bands[0])]), 0], "below all is in the lowest band"
    assert sum(by_name[name][1] for name in bands) == 1
    assert sum(by_name[name][2] for name in bands) == 0
    assert by_name["genres=War"] == [1, 0, 0]
    assert "genres=Opera" not in by_name


def test_later_text_in_a_numeric_column_has_no_band() -> None:
    first = pa.table({"movieId": [str(n) for n in range(40)], "length": [str(60 + n) for n in range(40)]})
    more = pa.table({"movieId": ["x", "y"], "length": ["long", "61"]})
    whole = encode(pa.concat_tables([first, more]), 40)
    assert whole is not None
    assert whole[0][40].sum() == 0
    assert whole[0][41].sum() == 1

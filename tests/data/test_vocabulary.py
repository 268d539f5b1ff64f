"""Ids and their indices."""

import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelgraph.data.vocabulary import Vocabulary, canonical_id, canonical_ids, describe_overlap, require_ids
from reelgraph.errors import DataError, UnknownIdError


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=6), unique=True, min_size=1), st.lists(st.text(max_size=6)))
def test_indices_and_ids_are_each_others_inverse(ids: list[str], others: list[str]) -> None:
    vocabulary = Vocabulary(pa.array(ids, pa.string()), "movie")
    index, known = vocabulary.indices([*ids, *others])
    for name, place, is_known in zip([*ids, *others], index, known, strict=True):
        assert bool(is_known) == (name in ids or canonical_id(name) in ids)
        assert not is_known or vocabulary.id(int(place)) in {name, canonical_id(name)}
    assert [vocabulary.index(name) for name in ids] == list(range(len(ids)))


def test_an_unknown_id_names_what_is_near() -> None:
    vocabulary = Vocabulary(pa.array(["tt0110912", "tt0111161", "x"]), "movie")
    with pytest.raises(UnknownIdError, match="similar ids are tt0110912"):
        vocabulary.index("tt0110913")
    with pytest.raises(UnknownIdError, match="ids look like tt0110912"):
        vocabulary.index("?")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "1"), (1.0, "1"), (-0.0, "0"), (np.float64(7), "7"), (np.float32(7), "7"), (np.int16(7), "7"), (1.5, "1.5"),
        (" 1\t", "1"),
        ("1.0", "1"), ("12.000", "12"), ("1.", "1"), ("-3.0", "-3"), ("1e+06", "1000000"), ("1e+9999999", "1e+9999999"),
        ("\u00a07", "7"),
        ("007", "007"), ("01.0", "01.0"), ("1e5", "1e5"), ("1.50", "1.50"), ("tt0111161", "tt0111161"), ("Nan", "Nan"),
        (pa.scalar(3.0), "3"), (uuid.UUID(int=1), str(uuid.UUID(int=1))), (float(2**53), str(float(2**53))),
        *((marker, None) for marker in ("", " ", "nan", "NaN", "NULL", "null", "None", "NA", "\\N", "N/A", "<NA>")),
        *((marker, None) for marker in (None, float("nan"), np.float32("nan"), pd.NA, pd.NaT)),
    ],
)  # fmt: skip
def test_every_id_has_one_spelling(value: object, expected: str | None) -> None:
    assert canonical_id(value) == expected
    if isinstance(value, str):
        assert canonical_ids(pa.array([value, "x"])).to_pylist() == [expected, "x"]
    vocabulary = Vocabulary(pa.array(["other", expected or "more"]), "user")
    assert (value in vocabulary) == (expected is not None)
    assert vocabulary.indices([value])[1].tolist() == [expected is not None]


def test_ids_of_which_none_is_known_are_refused_with_an_id_of_each_side() -> None:
    users, movies = Vocabulary(pa.array(["1", "2"]), "user"), Vocabulary(pa.array(["10", "20"]), "movie")
    said = describe_overlap("t.csv", (users, ["1", "1.0", "9"]), (movies, ["x", "y"]))
    assert "2 of 3 users" in said
    assert "0 of 2 movies" in said
    with pytest.raises(DataError, match=r"t\.csv.*'u1'.*'1'.*'film-1'.*'10'"):
        describe_overlap("t.csv", (users, ["u1"]), (movies, ["film-1"]))
    assert describe_overlap("deny", (movies, []))


def test_a_missing_id_is_refused_with_its_row() -> None:
    assert require_ids([7, "a"], "user", "pairs: row") == ["7", "a"]
    with pytest.raises(DataError, match="pairs: row 2: expected a user id, found none"):
        require_ids(["a", None], "user", "pairs: row")
    with pytest.raises(DataError, match="pairs: row 1: expected a movie id, found 'nan'"):
        require_ids([float("nan")], "movie", "pairs: row")

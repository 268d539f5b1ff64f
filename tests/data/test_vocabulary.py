"""Ids and their indices."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelgraph.data.vocabulary import Vocabulary
from reelgraph.errors import UnknownIdError


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=6), unique=True, min_size=1), st.lists(st.text(max_size=6)))
def test_indices_and_ids_are_each_others_inverse(ids: list[str], others: list[str]) -> None:
    vocabulary = Vocabulary(pa.array(ids, pa.string()), "movie")
    index, known = vocabulary.indices([*ids, *others])
    for name, place, is_known in zip([*ids, *others], index, known, strict=True):
        assert bool(is_known) == (name in ids)
        assert not is_known or vocabulary.id(int(place)) == name
    assert [vocabulary.index(name) for name in ids] == list(range(len(ids)))


def test_an_unknown_id_names_what_is_near() -> None:
    vocabulary = Vocabulary(pa.array(["tt0110912", "tt0111161", "x"]), "movie")
    with pytest.raises(UnknownIdError, match="similar ids are tt0110912"):
        vocabulary.index("tt0110913")
    with pytest.raises(UnknownIdError, match="ids look like tt0110912"):
        vocabulary.index("?")

"""External ids of users and movies: their canonical spelling and their contiguous indices."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelgraph.arrays import Indices, Ints, Mask
from reelgraph.errors import DataError, UnknownIdError

# Spellings of a missing value: those that pandas reads as one, and those of MySQL and Python.
NULL_MARKERS = (
    "", "nan", "NaN", "NAN", "-nan", "-NaN", "NULL", "null", "None", "NA", "N/A", "n/a", "<NA>",
    "<null>", "#N/A", "#N/A N/A", "#NA", "\\N", "NaT", "1.#QNAN", "-1.#QNAN", "1.#IND", "-1.#IND",
)  # fmt: skip
_MARKERS = frozenset(NULL_MARKERS)

BLANKS = " \t\r\n\v\f\u00a0\ufeff"
_FLOAT = r"-?(0|[1-9][0-9]*)[.]0*|-?[1-9]([.][0-9]+)?e[+][0-9]{1,3}"  # 1e5 may be a code, 1e+05 is a number
_EXACT = 2.0**53  # below it every whole number has a float of its own


def canonical_id(value: object) -> str | None:
    """The canonical spelling of an id of any type; None if it is missing.

    Blanks around it do not count, whole-number floats are integers, all other text stays as it is.
    """
    if isinstance(value, str) and value.isalnum():  # most ids, and the service checks many of them in a request
        return None if value in _MARKERS else value
    if isinstance(value, pa.Scalar):
        value = value.as_py()
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, float | np.floating | Decimal) and float(value).is_integer() and abs(float(value)) < _EXACT:
        return str(int(value))
    text = str(value).strip(BLANKS)
    if text in _MARKERS:
        return None
    return _as_integer(text) if re.fullmatch(_FLOAT, text) else text


def _as_integer(text: str) -> str:
    number = Decimal(text)
    return str(int(number)) if abs(number) < _EXACT and number == number // 1 else text


def spell_ids(ids: pa.Array) -> pa.Array:
    """Ids as text or dictionary array in their canonical spelling; missing ones are null or a null marker."""
    if pa.types.is_dictionary(ids.type):
        return pa.DictionaryArray.from_arrays(ids.indices, spell_ids(ids.dictionary))
    trimmed = pc.utf8_trim(ids, BLANKS)
    if not pc.any(pc.or_(pc.match_substring(trimmed, "."), pc.match_substring(trimmed, "e+"))).as_py():
        return trimmed
    is_float = pc.fill_null(pc.match_substring_regex(trimmed, f"^({_FLOAT})$"), False)
    if not pc.any(is_float).as_py():
        return trimmed
    floats = trimmed.filter(is_float)
    integers = {text: _as_integer(text) for text in floats.unique().to_pylist()}
    return pc.replace_with_mask(
        trimmed, is_float, pa.array([integers[text] for text in floats.to_pylist()], pa.string())
    )


def canonical_ids(ids: pa.Array) -> pa.Array:
    """Ids as text in their canonical spelling, null where they are missing; see `canonical_id`."""
    return nulls_for_markers(spell_ids(ids))


def nulls_for_markers(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Texts with null in place of null markers."""
    is_marker = pc.is_in(pc.utf8_trim(texts, BLANKS), pa.array(NULL_MARKERS))
    return pc.if_else(is_marker, None, texts)


def require_ids(ids: Iterable[object], what: str, where: str) -> list[str]:
    """The canonical spelling of ids, none of which may be missing.

    Args:
        ids: ids of any type.
        what: "user" or "movie".
        where: what each is part of, for the message, such as "pairs.csv: row".
    """
    names = []
    for row, value in enumerate(ids, start=1):
        name = canonical_id(value)
        if name is None:
            cell = "none" if value is None else repr(str(value))
            raise DataError(f"{where} {row:,}: expected a {what} id, found {cell}", "fill it in or remove it")
        names.append(name)
    return names


@dataclass(frozen=True)
class Vocabulary:
    """The ids of all users or of all movies; the position of an id is its index.

    Args:
        ids: array of strings, shape `(n,)`, unique and without nulls.
        what: "user" or "movie", for messages.
    """

    ids: pa.StringArray
    what: str

    @classmethod
    def of(cls, table: pa.Table, what: str) -> "Vocabulary":
        """The ids in the column `userId` or `movieId` of a table with one row per index."""
        return cls(table[f"{what}Id"].combine_chunks(), what)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.ids.to_pylist())}

    def __contains__(self, name: object) -> bool:
        return self._find(name) is not None

    def _find(self, name: object) -> int | None:
        """The index of an id of any type; models of earlier versions know ids that are not canonical."""
        index = self._index.get(name) if isinstance(name, str) else None
        return self._index.get(canonical_id(name) or "") if index is None else index

    def id(self, index: int) -> str:
        """The id at an index."""
        return str(self.ids[index].as_py())

    @cached_property
    def _names(self) -> list[str]:
        return list(self._index)

    def names(self, index: Ints) -> list[str]:
        """The ids at many indices, `(n,)`."""
        return [self._names[place] for place in index.tolist()]

    def index(self, name: object) -> int:
        """The index of an id of any type.

        Raises:
            UnknownIdError: if the id is unknown; the message suggests similar ones.
        """
        index = self._find(name)
        if index is not None:
            return index
        near = difflib.get_close_matches(str(name), self._index, n=3, cutoff=0.6)
        hint = f"similar ids are {', '.join(near)}" if near else f"ids look like {self.id(0)}"
        raise UnknownIdError(
            f"{self.what} {str(name)!r}: expected one of the {len(self):,} {self.what} ids of the model, found another",
            hint,
        )

    def indices(self, names: Iterable[object]) -> tuple[Indices, Mask]:
        """Look up many ids of any type at once.

        Returns:
            The indices, int32 of shape `(n,)`, and which ids are known, bool of shape `(n,)`. The index of an unknown
            id is 0 and must not be used.
        """
        names, get = list(names), self._index.get
        places = [get(name, -1) if isinstance(name, str) else -1 for name in names]
        for row, place in enumerate(places):
            if place < 0:
                places[row] = -1 if (other := self._find(names[row])) is None else other
        index = np.asarray(places, dtype=np.int32)
        known = index >= 0
        return np.where(known, index, 0).astype(np.int32), known


def describe_overlap(where: str, *sides: tuple[Vocabulary, Iterable[object]]) -> str:
    """Say how many different ids are known, such as "test.csv: 20 of 20 users and 9 of 10 movies are known".

    Raises:
        DataError: if there are ids, but none is known; the message shows an id of each side.
    """
    counts, examples, any_known = [], [], False
    for vocabulary, ids in sides:
        names = list(dict.fromkeys(ids))
        known = int(vocabulary.indices(names)[1].sum())
        any_known |= known > 0 or not names
        counts.append(f"{known:,} of {len(names):,} {vocabulary.what}s")
        if names and len(vocabulary):
            examples.append(f"{vocabulary.what} ids such as {str(names[0])!r} where {vocabulary.id(0)!r} is known")
    if not any_known:
        raise DataError(
            f"{where}: expected known {' or '.join(f'{side[0].what}s' for side in sides)}, found none, but "
            f"{' and '.join(examples)}",
            "check that the ids are of the same kind, and which columns hold them",
        )
    return f"{where}: {' and '.join(counts)} are known"

"""External ids of users and movies and their contiguous indices."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from reelgraph.arrays import Indices, Ints, Mask
from reelgraph.errors import UnknownIdError


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

    def __contains__(self, name: str) -> bool:
        return name in self._index

    def id(self, index: int) -> str:
        """The id at an index."""
        return str(self.ids[index].as_py())

    @cached_property
    def _names(self) -> list[str]:
        return list(self._index)

    def names(self, index: Ints) -> list[str]:
        """The ids at many indices, `(n,)`."""
        return [self._names[place] for place in index.tolist()]

    def index(self, name: str) -> int:
        """The index of an id.

        Raises:
            UnknownIdError: if the id is unknown; the message suggests similar ones.
        """
        try:
            return self._index[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._index, n=3, cutoff=0.6)
            hint = f"similar ids are {', '.join(near)}" if near else f"ids look like {self.id(0)}"
            raise UnknownIdError(
                f"{self.what} {name!r}: expected one of the model's {len(self):,} {self.what} ids, found an unknown id",
                hint,
            ) from None

    def indices(self, names: Iterable[str]) -> tuple[Indices, Mask]:
        """Look up many ids at once.

        Returns:
            The indices, int32 of shape `(n,)`, and which ids are known, bool of shape `(n,)`. The index of an unknown
            id is 0 and must not be used.
        """
        index = np.asarray([self._index.get(name, -1) for name in names], dtype=np.int32)
        known = index >= 0
        return np.where(known, index, 0).astype(np.int32), known

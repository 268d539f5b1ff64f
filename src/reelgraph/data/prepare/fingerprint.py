"""Counts and fingerprints of prepared ratings."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelgraph.data.dataset import SPLITS, Interactions, read_nodes, stream_ratings
from reelgraph.data.parquet_files import ahead
from reelgraph.data.vocabulary import Vocabulary

_WORD = 2**64


class Fingerprint:
    """A hash of a set of ratings that does not depend on row order, engine or indices.

    It holds the sum and the exclusive or, modulo 2**64, of one 64-bit hash per rating (MD5 of the raw ids, rating,
    timestamp), as 32 hex digits.
    """

    def __init__(self) -> None:
        self._total = self._folded = self.count = 0

    def add(self, words: npt.NDArray[np.uint64]) -> None:
        """Add hashes of ratings, see `Hashes.of`."""
        if len(words):
            self._total = (self._total + int(words.sum(dtype=np.uint64))) % _WORD
            self._folded ^= int(np.bitwise_xor.reduce(words))
            self.count += len(words)

    def __str__(self) -> str:
        """The 32 hex digits."""
        return f"{self._total:016x}{self._folded:016x}"


class Hashes:
    """One 64-bit hash per rating."""

    def __init__(self, users: Vocabulary, items: Vocabulary) -> None:
        self._users = _mix(_digests(users) ^ np.uint64(0x9E3779B97F4A7C15))
        self._items = _digests(items)

    def of(self, part: Interactions) -> npt.NDArray[np.uint64]:
        """The hashes of ratings, uint64 of shape `(num_edges,)`."""
        words = self._users[part.user_index]
        words += self._items[part.item_index]
        words = _mix(words)
        words += part.rating.astype(np.float32).view(np.uint32)
        if part.timestamp is not None:
            words = _mix(words)
            words += part.timestamp.view(np.uint64)
        return _mix(words)


def describe_splits(path: Path) -> dict[str, Any]:
    """Count and fingerprint the splits of a prepared directory.

    Returns:
        `counts`: users, movies, ratings, train, valid, test, and the users and movies of the test split without a
        training rating; `fingerprints`: by split.
    """
    users, items = read_nodes(path)
    hashes = Hashes(Vocabulary.of(users, "user"), Vocabulary.of(items, "movie"))
    prints = [Fingerprint() for _ in SPLITS]
    seen = {name: np.zeros((len(SPLITS), table.num_rows), bool) for name, table in (("user", users), ("item", items))}
    for block, places in ahead(stream_ratings(path)):
        seen["user"][places, block.user_index] = True
        seen["item"][places, block.item_index] = True
        mixed = hashes.of(block)
        for place, part in enumerate(prints):
            part.add(mixed[places == place])
    by_split = dict(zip(SPLITS, prints, strict=True))
    train, test = SPLITS.index("train"), SPLITS.index("test")
    unknown = {name: int((rated[test] & ~rated[train]).sum()) for name, rated in seen.items()}
    counts = {"users": users.num_rows, "movies": items.num_rows, "ratings": sum(part.count for part in prints)}
    counts |= {name: part.count for name, part in by_split.items()}
    counts |= {"unknown_test_users": unknown["user"], "unknown_test_movies": unknown["item"]}
    return {"counts": counts, "fingerprints": {name: str(part) for name, part in by_split.items()}}


def _digests(vocabulary: Vocabulary) -> npt.NDArray[np.uint64]:
    digests = b"".join(
        hashlib.md5(name.encode(), usedforsecurity=False).digest()[:8] for name in vocabulary.ids.to_pylist()
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _mix(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    # The finaliser of splitmix64 (Steele, Lea and Flood, 2014): every input bit reaches every output bit.
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words

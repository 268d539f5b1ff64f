"""How many ratings, users and movies there are in files that nothing has prepared yet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from reelgraph.config import DataConfig
from reelgraph.data import sources, tables
from reelgraph.data.dataset import is_prepared, read_manifest
from reelgraph.data.parquet import as_text, batches_of, is_parquet, schemas_of
from reelgraph.data.textfile import layout_of, read_text
from reelgraph.errors import DataError

_NOTHING = pa.nulls(0, pa.string())  # `pa.array` would import pandas


@dataclass(frozen=True)
class Size:
    """How much there is, validation and test included."""

    ratings: int
    users: int
    movies: int

    @property
    def nodes(self) -> int:
        """Users and movies together."""
        return self.users + self.movies

    def share(self, part: float) -> "Size":
        """A part of the ratings, by a part of the users, of the same movies."""
        return Size(round(self.ratings * part), round(self.users * part), self.movies)

    def __str__(self) -> str:
        """For messages."""
        return f"{self.ratings:,} ratings of {self.users:,} users and {self.movies:,} movies"


def size_of(
    ratings: Path | None, items: Path | None, users: Path | None, test: Path | None, config: DataConfig
) -> Size:
    """How much there is in what a training is asked to read: ratings, users, movies.

    Args:
        ratings: a file, a MovieLens folder, a prepared directory, or None for the bundled sample.
        items: a movie table, which counts with movies that nobody rated.
        users: a user table, likewise.
        test: test ratings.
        config: data settings.

    Raises:
        DataError: if a file cannot be read.
    """
    if ratings is not None and is_prepared(ratings):
        counts = read_manifest(ratings)["counts"]
        return Size(*(counts[name] for name in ("ratings", "users", "movies")))
    source = sources.find(ratings, items, users, test)
    count, known = 0, {"user": _NOTHING, "item": _NOTHING}
    for path in (source.ratings, source.test):
        for batch in () if path is None else _ids(path, config.columns):
            count += batch.num_rows
            # Text, as preparation reads it, of the few distinct ones alone.
            known = {
                role: pc.unique(pa.concat_arrays([ids, as_text(pc.unique(batch[role]))])) for role, ids in known.items()
            }
    if not count:
        raise DataError(f"{source.ratings}: expected rows below the header, found none", "check the file")
    listed = {
        "user": 0 if source.users is None else tables.read_users(source.users).num_rows,
        "item": 0 if source.items is None else tables.read_items(source.items).num_rows,
    }
    found = {role: max(len(ids.drop_null()), listed[role]) for role, ids in known.items()}
    return Size(count, found["user"], found["item"])


def _ids(path: Path, columns: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    """The columns `user` and `item` of a ratings file, chosen as preparation chooses them."""
    roles = ["user", "item"]
    if is_parquet(path):
        found = sources.roles_of(path, schemas_of(path)[0].names, columns, sources.NEEDED)
        names = [found[role] for role in roles]
        batches = batches_of(path, list(dict.fromkeys(names)))
    else:
        layout = layout_of(path)
        chosen = sources.choose_columns(path, layout, columns, sources.NEEDED)
        names = [chosen.roles[role] for role in roles]
        batches = read_text(path, layout, chosen.names, names, chosen.header, lambda _: None)
    for batch in batches:
        yield pa.RecordBatch.from_arrays([batch[name] for name in names], roles)

"""What a model answers: lists, similar movies and vectors, as small frozen tables."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import pyarrow as pa

from reelgraph.arrays import Float32s
from reelgraph.data.vocabulary import Vocabulary
from reelgraph.recommend.catalogue import Movie
from reelgraph.recommend.lists import Suggestion
from reelgraph.recommend.together import GroupSuggestion
from reelgraph.tabular import Tabular

Line = TypeVar("Line")


class _Ordered(Tabular, tuple[Line, ...]):
    """Movies, best first, and why they are in this order, in one line."""

    spare = ("genres", "year", "score")
    order_reason: str

    def __new__(cls, lines: Iterable[Line] = (), order_reason: str = "") -> Self:
        made = super().__new__(cls, lines)
        made.order_reason = order_reason
        return made


class Suggestions(_Ordered[Suggestion]):
    """A list of movies, best first, and why they are in this order, in one line."""

    def to_arrow(self) -> pa.Table:
        """Columns `rank` from 1, `movieId`, `title`, `year`, `genres`, `score`, and `prediction` if there are stars."""
        return _ranked([(None, self)]).drop_columns(["userId"])


class UserSuggestions(Tabular, Mapping[str, Suggestions]):
    """Lists of several users by user id, in the order in which they were asked for."""

    spare = ("genres", "year", "score")

    def __init__(self, lists: Mapping[str, Suggestions]) -> None:
        self._lists = dict(lists)

    def __getitem__(self, user_id: str) -> Suggestions:
        return self._lists[user_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lists)

    def __len__(self) -> int:
        return len(self._lists)

    def to_arrow(self) -> pa.Table:
        """Columns `userId` and those of `Suggestions`."""
        return _ranked(list(self._lists.items()))


class GroupSuggestions(_Ordered[GroupSuggestion]):
    """A list of movies for several people, and why they are in this order, in one line."""

    def to_arrow(self) -> pa.Table:
        """Columns as of `Suggestions`, with the mean as `prediction`, and `prediction of NAME` for each person."""
        lines = [Suggestion(line.movie, line.score, line.prediction) for line in self]
        table = Suggestions(lines).to_arrow()
        for place, opinion in enumerate(self[0].opinions if self else ()):
            own = [line.opinions[place].prediction for line in self]
            if opinion.prediction is not None:
                table = table.append_column(f"prediction of {opinion.name}", pa.array(own, pa.float64()))
        return table


class Movies(Tabular, tuple[Movie, ...]):
    """Movies that match a search, or to ask a visitor about, best first."""

    __slots__ = ()
    spare = ("genres", "year")

    def to_arrow(self) -> pa.Table:
        """Columns `movieId`, `title`, `year` and `genres`."""
        return pa.table(_movie_columns(list(self)))


class SimilarMovie(NamedTuple):
    """A movie and the cosine similarity of its state."""

    movie: Movie
    similarity: float


class SimilarMovies(Tabular, tuple[SimilarMovie, ...]):
    """Movies like another, most similar first."""

    __slots__ = ()
    spare = ("genres", "year")

    def to_arrow(self) -> pa.Table:
        """Columns `movieId`, `title`, `year`, `genres` and `similarity`."""
        similarity = pa.array([line.similarity for line in self], pa.float64())
        return pa.table(_movie_columns([line.movie for line in self]) | {"similarity": similarity})


class SimilarUser(NamedTuple):
    """A user and the cosine similarity of their state."""

    user_id: str
    similarity: float


class SimilarUsers(Tabular, tuple[SimilarUser, ...]):
    """Users with a taste like another's, most similar first."""

    __slots__ = ()

    def to_arrow(self) -> pa.Table:
        """Columns `userId` and `similarity`."""
        similarity = pa.array([line.similarity for line in self], pa.float64())
        return pa.table({"userId": pa.array([line.user_id for line in self], pa.string()), "similarity": similarity})


@dataclass(frozen=True, eq=False, repr=False)
class Vectors(Tabular):
    """The states of all users or movies: `vectors["31"]` is one of them, `np.asarray(vectors)` all."""

    vocabulary: Vocabulary
    values: Float32s  # (num_users or num_movies, dim), in the order of `ids`
    column: str  # of the ids in tables

    @cached_property
    def ids(self) -> list[str]:
        """The id of each row."""
        return list(self.vocabulary.ids.to_pylist())

    def __getitem__(self, id_: object) -> Float32s:
        return np.asarray(self.values[self.vocabulary.index(id_)])

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self.values, dtype) if copy else np.asarray(self.values, dtype)

    def to_arrow(self) -> pa.Table:
        """The ids, `userId` or `movieId`, and `vector`, lists of float32."""
        flat = pa.array(np.ascontiguousarray(self.values, np.float32).reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(flat, self.values.shape[1])
        return pa.table({self.column: self.vocabulary.ids, "vector": vectors})

    def __repr__(self) -> str:
        count, dim = self.values.shape
        return f"<Vectors: {count:,} rows by {self.column}, {dim} dimensions>"

    def _repr_html_(self) -> str:
        return super()._repr_html_() if len(self) and self.values.shape[1] <= 8 else f"<p>{repr(self)[1:-1]}</p>"


def _movie_columns(movies: list[Movie]) -> dict[str, pa.Array]:
    return {
        "movieId": pa.array([movie.movie_id for movie in movies], pa.string()),
        "title": pa.array([movie.title for movie in movies], pa.string()),
        "year": pa.array([movie.year for movie in movies], pa.int32()),
        "genres": pa.array([list(movie.genres) for movie in movies], pa.list_(pa.string())),
    }


def _ranked(lists: list[tuple[str | None, Suggestions]]) -> pa.Table:
    """The movies of lists, one row each."""
    rows = [(user, rank, line) for user, lines in lists for rank, line in enumerate(lines, 1)]
    movies = _movie_columns([line.movie for _, _, line in rows])
    columns = {
        "userId": pa.array([user for user, _, _ in rows], pa.string()),
        "rank": pa.array([rank for _, rank, _ in rows], pa.int32()),
        **movies,
        "score": pa.array([line.score for _, _, line in rows], pa.float64()),
    }
    predictions = [line.prediction for _, _, line in rows]
    if any(prediction is not None for prediction in predictions) or not rows:
        columns["prediction"] = pa.array(predictions, pa.float64())
    return pa.table(columns)

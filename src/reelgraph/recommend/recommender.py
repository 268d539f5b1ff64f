"""A trained model at work: predictions, lists and explanations. Numpy and pyarrow; torch is never imported."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pyarrow as pa

from reelgraph.arrays import NOTHING, Float32s, Indices, Int64s, unit_states
from reelgraph.artifact import Artifact, read_artifact, write_artifact
from reelgraph.errors import ConfigError
from reelgraph.metrics.ratings import EvaluationReport
from reelgraph.recommend.catalogue import Movie
from reelgraph.recommend.explain import Explanation, explain
from reelgraph.recommend.lists import Choice, ListMaker, Suggestion, Wishes
from reelgraph.recommend.ordering import Listed
from reelgraph.recommend.predictor import Person, Predictor
from reelgraph.recommend.visitor import Visitor


class Recommender:
    """A trained model.

    Args:
        artifact: what a training run made or `artifact.read_artifact` read.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.artifact, self.predictor = artifact, Predictor(artifact)
        self.users, self.items = self.predictor.users, self.predictor.items
        self.catalogue, self.scorer = self.predictor.catalogue, self.predictor.scorer
        self.lists = ListMaker(self.predictor, artifact.manifest.get("ranking"))
        self.ranker = self.lists.ranker

    @property
    def id_types(self) -> dict[str, str]:
        """Arrow types of the ids where they came from, by "user" and "item"; "string" for text files."""
        return dict(self.artifact.manifest["data"]["source"]["id_types"])

    def save(self, path: str | Path) -> None:
        """Write the model to a directory (see `artifact.write_artifact`)."""
        write_artifact(self.artifact, Path(path))

    def predict(self, pairs: Iterable[tuple[object, object]], *, timestamps: Iterable[int] | None = None) -> Float32s:
        """Predicted ratings of (user id, movie id) pairs.

        A user or movie that the model does not know is predicted by what is known of the other one.

        Args:
            pairs: ids of any type; they are compared as text.
            timestamps: for when to predict, seconds since 1970, one a pair; the user's ratings of the minutes around it
                then say more. None for no time in particular.

        Returns:
            Ratings in the data's scale, clipped to it, float32 of shape `(num_pairs,)`.
        """
        return self.predictor.predict(*_ids(pairs), _times(timestamps))

    def interval(
        self, pairs: Iterable[tuple[object, object]], *, level: float = 0.9, timestamps: Iterable[int] | None = None
    ) -> tuple[Float32s, Float32s]:
        """Lower and upper ends that hold a share `level` (0.5, 0.8, 0.9 or 0.95) of ratings; see `predict`.

        Raises:
            ConfigError: if the level is another one, or the model was trained without validation ratings.
        """
        return self.predictor.interval(*_ids(pairs), level, _times(timestamps))

    def evaluate(
        self, test: Iterable[tuple[object, object, float]], *, timestamps: Iterable[int] | None = None
    ) -> EvaluationReport:
        """Judge predictions of (user id, movie id, rating) rows, unknown users and movies included; see `predict`."""
        rows = list(test)
        rating = np.asarray([rating for _, _, rating in rows], np.float64)
        return self.predictor.evaluate(*_ids((user, item) for user, item, _ in rows), rating, _times(timestamps))

    def scores(self, user_index: Indices, **wishes: Unpack[Wishes]) -> Float32s:
        """What lists are ordered by, for users of the training data and all movies, float32 `(num_users, num_items)`.

        Only the order within a user's row means something, and not that of scores closer than rounding; see `ordering`.
        """
        return self.lists.ordering.scores(self.lists.people(user_index), self.lists.weights(Choice(**wishes)))[0]

    def recommend(
        self, user: object = None, *, ratings: Mapping[Any, float] | None = None, **wishes: Unpack[Wishes]
    ) -> list[Suggestion]:
        """The best movies for a user of the training data, or for a visitor known by any number of ratings.

        Args:
            user: a user id, or None.
            ratings: a visitor's ratings by movie id, in the data's scale; exactly one of `user` and `ratings` is given.
                Without any rating, the list is a start list: well-rated and often rated movies, diverse.
            **wishes: length, order and filters; see `lists.Choice`.

        Raises:
            UnknownIdError: if the user, a movie or the genre is not known.
            ConfigError: if a wish or the choice of user and ratings is out of range.
            DataError: if a visitor's rating is outside the data's scale.
        """
        return self.lists.suggest(self.person(user, ratings), Choice(**wishes))

    def recommend_all(self, users: slice = slice(None), **wishes: Unpack[Wishes]) -> Iterator[pa.Table]:
        """Every user's list, in blocks of users, so that memory stays bounded; see `recommend`.

        Args:
            users: which users, by their indices.
            **wishes: see `lists.Choice`.

        Yields:
            Tables with `userId, movieId, rank, score, prediction`; rank counts from 1.
        """
        index = np.arange(len(self.users), dtype=np.int32)[users]
        for block, found in self._listed(index, Choice(**wishes)):
            row, place = np.nonzero(found.item != NOTHING)
            yield pa.table({
                "userId": self.users.ids.take(pa.array(block[row])),
                "movieId": self.items.ids.take(pa.array(found.item[row, place])),
                "rank": (place + 1).astype(np.int32),
                "score": found.score[row, place].astype(np.float32),
                "prediction": self.predictor.stars(found.stars[row, place]),
            })  # fmt: skip

    def list_indices(self, users: Indices, **wishes: Unpack[Wishes]) -> Indices:
        """Lists as movie indices, int32 `(num_users, k)`, `ranking.NOTHING` after the end of a short one."""
        return np.concatenate([found.item for _, found in self._listed(users, Choice(**wishes))])

    def _listed(self, users: Indices, choice: Choice) -> Iterator[tuple[Indices, Listed]]:
        wanted = self.lists.wanted(choice)
        for block in self.lists.blocks(users, choice):
            yield block, self.lists.of_users(block, choice, wanted)

    def similar(self, movie: object, k: int = 10) -> list[tuple[Movie, float]]:
        """Movies with the most similar states, and their cosine similarities in [-1, 1], the most similar first.

        The states are the ranking head's where the model has one, else the rating head's.

        Raises:
            UnknownIdError: if the movie is not known.
        """
        index, states = self.items.index(str(movie)), self.lists.ordering.unit_states
        return [(self.catalogue.movie(item), value) for item, value in _nearest(states, index, self._length(k))]

    def similar_users(self, user: object, k: int = 10) -> list[tuple[str, float]]:
        """Users with the most similar states, and their cosine similarities in [-1, 1], the most similar first.

        Raises:
            UnknownIdError: if the user is not known.
        """
        index, everyone = self.users.index(str(user)), np.arange(len(self.users))
        states = self.scorer.users(everyone).state if self.ranker is None else self.ranker.users(everyone)
        if not k >= 1:
            raise ConfigError(f"k: expected 1 or more, found {k}", "choose such a number")
        return [(self.users.id(other), value) for other, value in _nearest(unit_states(states), index, k)]

    def explain(self, user: object = None, *, movie: object, ratings: Mapping[Any, float] | None = None) -> Explanation:
        """A prediction and a ranking score taken apart into parts that sum to them; see `why.Explanation`.

        Raises:
            UnknownIdError: if the user or the movie is not known.
            ConfigError: if the model's predictions are no sums (`gcn`).
        """
        item = self.items.index(str(movie))
        return explain(self.predictor, self.ranker, self.person(user, ratings), item)

    def visitor(self, ratings: Mapping[Any, float] | None = None) -> Visitor:
        """Someone the model has never seen, whose ratings come and go; see `Visitor`.

        Raises:
            UnknownIdError: if a movie is not known.
            DataError: if a rating is outside the data's scale.
        """
        someone = Visitor(self.lists)
        someone.rate_all(ratings or {})
        return someone

    def person(self, user: object = None, ratings: Mapping[Any, float] | None = None) -> Person:
        """Whom a question is about: a user of the training data or a visitor, as the model sees them.

        Raises:
            UnknownIdError: if the user or a movie is not known.
            ConfigError: if not exactly one of `user` and `ratings` is given.
            DataError: if a visitor's rating is outside the data's scale.
        """
        if (user is None) == (ratings is None):
            found = "none" if user is None else "both"
            raise ConfigError(f"expected either a user or a visitor's ratings, found {found}", "give one of them")
        if ratings is not None:
            return self.visitor(ratings).person
        index = self.users.index(str(user))
        one = np.asarray([index])
        rank_state = None if self.ranker is None else self.ranker.users(one)
        return Person(index, self.scorer.users(one), rank_state, *self.predictor.seen(index))

    def _length(self, k: int) -> int:
        self.lists.wanted(Choice(k=k))
        return k


def _nearest(unit: Float32s, index: int, k: int) -> list[tuple[int, float]]:
    """The `k` other rows with the largest cosines."""
    cosine = unit @ unit[index]
    order = np.argsort(-cosine, kind="stable")
    return [(int(other), float(cosine[other])) for other in order[order != index][:k]]


def _ids(pairs: Iterable[tuple[object, object]]) -> tuple[list[str], list[str]]:
    rows = list(pairs)
    return [str(user) for user, _ in rows], [str(item) for _, item in rows]


def _times(timestamps: Iterable[int] | None) -> Int64s | None:
    return None if timestamps is None else np.fromiter(timestamps, np.int64)


def open_model(path: str | Path, *, lists_only: bool = False) -> Recommender:
    """Read a trained model from its directory.

    Args:
        path: the directory.
        lists_only: only for lists of its users, in a fraction of the time and memory.

    Raises:
        ArtifactError: if it is incomplete, damaged, or of another format version.
    """
    return Recommender(read_artifact(Path(path), lists_only=lists_only))

"""A trained model at work: predictions, lists and explanations. Numpy and pyarrow; torch is never imported."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reelgraph.artifact import Artifact, read_artifact, write_artifact
from reelgraph.catalogue import Movie
from reelgraph.errors import ConfigError, DataError
from reelgraph.evaluation import EvaluationReport
from reelgraph.predictor import BLOCK_FLOATS, Predictor
from reelgraph.scoring import UserState

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

# Weight of a movie's popularity, log(1 + ratings) as a share of the most rated movie's, in standard deviations of the
# ratings. Chosen by nDCG@10 on validation ratings (benchmarks/popularity.py).
POPULARITY_WEIGHT = 3.0


@dataclass(frozen=True)
class Suggestion:
    """One movie of a list.

    Attributes:
        movie: id, title, year, genres.
        score: what the list is ordered by; only its order means something.
        prediction: predicted rating, clipped to the data's scale.
    """

    movie: Movie
    score: float
    prediction: float

    def to_json(self, rank: int) -> dict[str, Any]:
        """The suggestion at a rank as JSON values."""
        return {"rank": rank, **asdict(self.movie), "score": self.score, "prediction": self.prediction}


@dataclass(frozen=True)
class Explanation:
    """A prediction as a sum, in the data's scale: `mean + user + movie + free + side +` all of `because`.

    Attributes:
        prediction: the sum, not clipped to the scale.
        mean, user, movie: the baseline: mean rating, and what the user and the movie each add to it.
        free, side: what the user's own free state and the user's side features add; 0 for a visitor.
        because: what each rated movie adds, the largest absolute contribution first.
    """

    prediction: float
    mean: float
    user: float
    movie: float
    free: float
    side: float
    because: tuple[tuple[Movie, float], ...]


class Recommender:
    """A trained model.

    Args:
        artifact: what a training run made or `artifact.read_artifact` read.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.artifact, self.predictor = artifact, Predictor(artifact)
        self.users, self.items = self.predictor.users, self.predictor.items
        self.catalogue, self.scorer = self.predictor.catalogue, self.predictor.scorer
        counts = self.predictor.item_counts
        self.popularity_weight = POPULARITY_WEIGHT
        self._popularity = np.log1p(counts) / math.log1p(max(int(counts.max(initial=0)), 1))

    @property
    def id_types(self) -> dict[str, str]:
        """Arrow types of the ids where they came from, by "user" and "item"; "string" for text files."""
        return dict(self.artifact.manifest["data"]["source"]["id_types"])

    def save(self, path: str | Path) -> None:
        """Write the model to a directory (see `artifact.write_artifact`)."""
        write_artifact(self.artifact, Path(path))

    def predict(self, pairs: Iterable[tuple[object, object]], *, timestamps: Iterable[int] | None = None) -> Floats:
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
    ) -> tuple[Floats, Floats]:
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

    def scores(self, user_index: Indices) -> Floats:
        """What lists are ordered by, for users of the training data and all movies, `(num_users, num_items)`."""
        return self._ranked_by(self.scorer.score(self.scorer.users(user_index))).astype(np.float32)

    def recommend(
        self,
        user: object = None,
        *,
        ratings: Mapping[Any, float] | None = None,
        k: int = 10,
        genre: str | None = None,
        year: str | int | None = None,
        include_seen: bool = False,
    ) -> list[Suggestion]:
        """The best movies for a user of the training data, or for a visitor known by a handful of ratings.

        Args:
            user: a user id, or None.
            ratings: a visitor's ratings by movie id, in the data's scale; exactly one of `user` and `ratings` is given.
            k: length of the list; it is shorter when fewer movies are left.
            genre: only movies of this genre.
            year: only movies of this year, or of years "1990-1999", "1990-" or "-1999".
            include_seen: also movies that were rated already.

        Raises:
            UnknownIdError: if the user, a movie or the genre is not known.
            ConfigError: if `k`, `year` or the choice of user and ratings is out of range.
            DataError: if a visitor's rating is outside the data's scale.
        """
        self._check_k(k)
        state, rated, _ = self._who(user, ratings)
        wanted = self.catalogue.matching(genre, year)
        if not include_seen:
            wanted[rated] = False
        prediction = self.scorer.score(state)[0]
        return [
            Suggestion(self.catalogue.movie(int(item)), float(score), float(self.predictor.stars(prediction[item])))
            for item, score in zip(*self._best(prediction, wanted, k), strict=True)
        ]

    def recommend_all(
        self, *, k: int = 10, genre: str | None = None, year: str | int | None = None, include_seen: bool = False
    ) -> Iterator[pa.Table]:
        """Every user's list, in blocks of users, so that memory stays bounded.

        Yields:
            Tables with `userId, movieId, rank, score, prediction`; rank counts from 1.
        """
        self._check_k(k)
        matching = self.catalogue.matching(genre, year)
        block = max(1, BLOCK_FLOATS // (len(self.items) * self.scorer.item_states.shape[1]))
        for start in range(0, len(self.users), block):
            users = np.arange(start, min(start + block, len(self.users)), dtype=np.int32)
            columns: list[tuple[npt.NDArray[Any], ...]] = []
            for user, prediction in zip(users, self.scorer.score(self.scorer.users(users)), strict=True):
                wanted = matching.copy()
                if not include_seen:
                    wanted[self.predictor.seen(int(user))[0]] = False
                items, score = self._best(prediction, wanted, k)
                rank = np.arange(1, len(items) + 1, dtype=np.int32)
                columns.append((np.full(len(items), user), items, rank, score, self.predictor.stars(prediction[items])))
            user_index, item, rank, score, stars = (np.concatenate(parts) for parts in zip(*columns, strict=True))
            yield pa.table({
                "userId": self.users.ids.take(pa.array(user_index)),
                "movieId": self.items.ids.take(pa.array(item)),
                "rank": rank,
                "score": score.astype(np.float32),
                "prediction": stars.astype(np.float32),
            })  # fmt: skip

    def similar(self, movie: object, k: int = 10) -> list[tuple[Movie, float]]:
        """Movies with the most similar states, and their cosine similarities in [-1, 1], the most similar first.

        Raises:
            UnknownIdError: if the movie is not known.
        """
        self._check_k(k)
        index = self.items.index(str(movie))
        states = self.scorer.item_states
        norms = np.linalg.norm(states, axis=1)
        cosine = states @ states[index] / np.maximum(norms * norms[index], np.finfo(np.float32).tiny)
        order = np.argsort(-cosine, kind="stable")
        return [(self.catalogue.movie(int(item)), float(cosine[item])) for item in order[order != index][:k]]

    def explain(self, user: object = None, *, movie: object, ratings: Mapping[Any, float] | None = None) -> Explanation:
        """A prediction taken apart into parts that sum to it, in the data's scale.

        Raises:
            UnknownIdError: if the user or the movie is not known.
            ConfigError: if the model's predictions are no sums (`gcn`).
        """
        item, (rated, stars) = self.items.index(str(movie)), self._who(user, ratings)[1:]
        index = None if ratings is not None else self.users.index(str(user))
        parts = self.scorer.parts(index, item, rated, self.predictor.standardise(stars))
        mean = parts.mean * self.predictor.std + self.predictor.mean
        addends = [part * self.predictor.std for part in (parts.user, parts.movie, parts.free, parts.side)]
        because = parts.because * self.predictor.std
        order = np.argsort(-np.abs(because), kind="stable")
        reasons = tuple((self.catalogue.movie(int(rated[place])), float(because[place])) for place in order)
        total = mean + sum(addends) + float(because.sum())
        user_part, movie_part, free, side = addends
        return Explanation(total, mean, user_part, movie_part, free, side, reasons)

    def _who(self, user: object, ratings: Mapping[Any, float] | None) -> tuple[UserState, Indices, Floats]:
        """The state behind a question, and the movies rated already with their ratings."""
        if (user is None) == (ratings is None):
            found = "none" if user is None else "both"
            raise ConfigError(f"expected either a user or a visitor's ratings, found {found}", "give one of them")
        if ratings is not None:
            rated, stars = self._visitor_ratings(ratings)
            return self.scorer.visitor(rated, self.predictor.standardise(stars)), rated, stars
        index = self.users.index(str(user))
        return self.scorer.users(np.asarray([index])), *self.predictor.seen(index)

    def _visitor_ratings(self, ratings: Mapping[Any, float]) -> tuple[Indices, Floats]:
        items = np.asarray([self.items.index(str(movie)) for movie in ratings], dtype=np.int32)
        for movie, stars in ratings.items():
            low, high = self.predictor.low, self.predictor.high
            if not low <= stars <= high:
                raise DataError(f"rating of movie {movie}: expected {low:g} to {high:g}, found {stars!r}", "correct it")
        return items, np.asarray(list(ratings.values()), dtype=np.float32)

    def _ranked_by(self, prediction: Floats) -> npt.NDArray[np.float64]:
        """Scores of all movies from standardised predictions `(..., num_items)`."""
        return prediction + self.popularity_weight * self._popularity

    def _best(self, prediction: Floats, wanted: Mask, k: int) -> tuple[Indices, npt.NDArray[np.float64]]:
        """Indices and scores of the up to `k` best wanted movies; ties go to the lower index."""
        items = np.flatnonzero(wanted)
        score = self._ranked_by(prediction)[items]
        if k < len(items):
            # The k best and everything tied with the last of them, so that ties are broken by index alone.
            keep = score >= np.partition(score, len(score) - k)[len(score) - k]
            items, score = items[keep], score[keep]
        order = np.argsort(-score, kind="stable")[:k]
        return items[order].astype(np.int32), score[order]

    def _check_k(self, k: int) -> None:
        if not 1 <= k <= len(self.items):
            raise ConfigError(f"k: expected 1 to {len(self.items)} (the catalogue), found {k}", "choose a k in between")


def _ids(pairs: Iterable[tuple[object, object]]) -> tuple[list[str], list[str]]:
    rows = list(pairs)
    return [str(user) for user, _ in rows], [str(item) for _, item in rows]


def _times(timestamps: Iterable[int] | None) -> npt.NDArray[np.int64] | None:
    return None if timestamps is None else np.fromiter(timestamps, np.int64)


def open_model(path: str | Path) -> Recommender:
    """Read a trained model from its directory.

    Raises:
        ArtifactError: if it is incomplete, damaged, or of another format version.
    """
    return Recommender(read_artifact(Path(path)))

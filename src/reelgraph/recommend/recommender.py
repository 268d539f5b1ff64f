"""`Recommender`, the public interface of a trained model."""

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
import pyarrow as pa

from reelgraph.arrays import NO_ITEM, Float32s, Float64s, Indices, Int64s, Mask, unit_states
from reelgraph.artifact import COLLECTED, Artifact, read_artifact, write_artifact
from reelgraph.data.frames import TableLike, is_frame, is_row
from reelgraph.data.pair_files import Rows, rows_of
from reelgraph.data.sources import CANONICAL, NEEDED, PAIR
from reelgraph.data.times import seconds_of
from reelgraph.data.vocabulary import describe_overlap
from reelgraph.errors import ConfigError
from reelgraph.metrics.ranking import RECALL_LENGTH, RankingReport, evaluate_lists
from reelgraph.metrics.ratings import EvaluationReport
from reelgraph.recommend.asking import choose_questions, usefulness_of
from reelgraph.recommend.catalogue import Movie
from reelgraph.recommend.explain import Explanation, explain
from reelgraph.recommend.lists import Choice, ListMaker, ListOptions, Order, Suggestion
from reelgraph.recommend.ordering import TopLists
from reelgraph.recommend.predictor import Person, Predictor
from reelgraph.recommend.results import (
    GroupSuggestions,
    Movies,
    SimilarMovie,
    SimilarMovies,
    SimilarUser,
    SimilarUsers,
    Suggestions,
    UserSuggestions,
    Vectors,
)
from reelgraph.recommend.title_search import TitleIndex
from reelgraph.recommend.together import Member, Strategy, list_together
from reelgraph.recommend.visitor import Visitor
from reelgraph.tabular import html_table


class Recommender:
    """A trained model: predictions, lists, explanations and similar movies. It needs no torch."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact, self.predictor = artifact, Predictor(artifact)
        self.users, self.items = self.predictor.users, self.predictor.items
        self.catalogue = self.predictor.catalogue
        self.scorer, self.ranker = self.predictor.scorer, self.predictor.ranker
        self.lists = ListMaker(self.predictor, artifact.manifest.get("ranking"))

    @property
    def id_types(self) -> dict[str, str]:
        """Arrow types of the ids in the source files, by "user" and "item"; "string" for text files."""
        return dict(self.artifact.manifest["data"]["source"]["id_types"])

    @cached_property
    def collected(self) -> Mask:
        """Which users are known by ratings given to a service that learns only, bool `(num_users,)`."""
        users = self.artifact.users
        return np.asarray(
            users[COLLECTED].to_pylist() if COLLECTED in users.column_names else [False] * len(self.users)
        )

    @cached_property
    def titles(self) -> TitleIndex:
        """The movies by title; takes a second for each 50,000 movies on first use."""
        return TitleIndex(self.catalogue, self.predictor.item_counts)

    @cached_property
    def user_vectors(self) -> Vectors:
        """The states of all users, float32 `(num_users, dim)`: those of the ranking head if there is one."""
        everyone = np.arange(len(self.users), dtype=np.int32)
        states = self.scorer.users(everyone).state if self.ranker is None else self.ranker.users(everyone)
        return Vectors(self.users, _read_only(states), "userId")

    @cached_property
    def movie_vectors(self) -> Vectors:
        """The states of all movies, float32 `(num_movies, dim)`; see `user_vectors`.

        The cosines between these are the similarities of `similar`.
        """
        head = self.scorer if self.ranker is None else self.ranker
        return Vectors(self.items, _read_only(head.item_states), "movieId")

    @property
    def _facts(self) -> dict[str, str]:
        """What a prompt or notebook shows."""
        model = self.artifact.manifest["config"]["model"]
        head = "ranking head alone" if not self.predictor.has_stars else f"{model} with ranking head"
        facts = {"model": model if self.ranker is None else head}
        counts = {"users": len(self.users), "movies": len(self.items), "ratings": len(self.predictor.seen_item)}
        facts |= {name: f"{count:,}" for name, count in counts.items()}
        measured = self.artifact.manifest.get("metrics") or {}
        for split in ("test", "valid"):
            for name, value in measured.get(split, {}).get("model", {}).items():
                facts.setdefault(name, f"{value:.4f} ({split})")
        return facts

    def __repr__(self) -> str:
        facts = self._facts
        counts = ", ".join(f"{facts[name]} {name}" for name in ("users", "movies", "ratings"))
        measure = next((f", {name.upper()} {facts[name]}" for name in ("rmse", "ndcg") if name in facts), "")
        return f"<Recommender: {facts['model']}, {counts}{measure}>"

    def _repr_html_(self) -> str:
        return html_table("Recommender", ["", ""], list(self._facts.items()))

    def save(self, path: str | Path) -> None:
        """Write the model to a directory."""
        write_artifact(self.artifact, Path(path))

    def predict(self, pairs: TableLike, *, timestamps: Iterable[Any] | None = None) -> Float32s:
        """Predicted ratings of pairs of user and movie.

        An unknown user or movie is predicted from the known side of the pair.

        Args:
            pairs: (user id, movie id) tuples, or a file or DataFrame with such columns. Its times, if it has any, are
                those to predict for.
            timestamps: time to predict each pair for: seconds since 1970, datetimes, or None for no time; the user's
                ratings of the same minutes then improve the prediction.

        Returns:
            Ratings in the data's scale, clipped to it, float32 of shape `(num_pairs,)`.
        """
        rows = rows_of(pairs, PAIR, "pairs")
        return self.predictor.predict(rows.user_ids, rows.movie_ids, _times(rows, timestamps))

    def interval(
        self, pairs: TableLike, *, level: float = 0.9, timestamps: Iterable[Any] | None = None
    ) -> tuple[Float32s, Float32s]:
        """Lower and upper bounds that contain a share `level` (0.5, 0.8, 0.9 or 0.95) of ratings; see `predict`.

        Raises:
            ConfigError: if the level is another one, or the model was trained without validation ratings.
        """
        rows = rows_of(pairs, PAIR, "pairs")
        return self.predictor.interval(rows.user_ids, rows.movie_ids, level, _times(rows, timestamps))

    def evaluate(self, test: TableLike, *, timestamps: Iterable[Any] | None = None) -> EvaluationReport:
        """Prediction errors on test ratings, unknown users and movies included.

        Warns if the model has ratings of some of these pairs, whose errors are then too low.

        Args:
            test: (user id, movie id, rating) tuples, perhaps with a time, or a file or DataFrame with such columns.
            timestamps: time of each rating; see `predict`.

        Raises:
            ConfigError: if the model has no stars; see `evaluate_lists`.
            DataError: if a rating is outside the data's scale, or no user and no movie is known.
        """
        self.predictor.require_stars("evaluate")
        rows = rows_of(test, NEEDED, "test", tuple(CANONICAL))
        describe_overlap("evaluate", (self.users, rows.user_ids), (self.items, rows.movie_ids))
        times = _times(rows, timestamps)
        report = self.predictor.evaluate(rows.user_ids, rows.movie_ids, rows.rating, times)
        if report.warning is not None:
            warnings.warn(report.warning, stacklevel=2)
        return report

    def evaluate_lists(self, test: TableLike) -> RankingReport:
        """NDCG, recall and other measures of the default lists on test ratings of known users and movies.

        Warns if the model has ratings of some of these pairs, which no list holds.

        Args:
            test: as in `evaluate`; for a model without stars, views, likes or counts.
        """
        stars = self.predictor.has_stars
        rows = rows_of(test, NEEDED if stars else PAIR, "test", tuple(CANONICAL), implicit=not stars)
        describe_overlap("evaluate_lists", (self.users, rows.user_ids), (self.items, rows.movie_ids))
        pairs = self.predictor.known_pairs(rows.user_ids, rows.movie_ids, rows.rating if stars else None)
        if (warning := self.predictor.warn_of_seen(pairs)) is not None:
            warnings.warn(warning, stacklevel=2)
        length = min(RECALL_LENGTH, len(self.items))
        return evaluate_lists(
            lambda users: self.list_indices(users, k=length), self.artifact.ratings, pairs, len(self.items),
            self.predictor.high, states=self.lists.ordering.unit_states,
        )  # fmt: skip

    @overload
    def recommend(self, *, users: Iterable[object], **options: Unpack[ListOptions]) -> UserSuggestions: ...

    @overload
    def recommend(
        self, user: object = None, *, ratings: TableLike | None = None, **options: Unpack[ListOptions]
    ) -> Suggestions: ...

    def recommend(
        self, user: object = None, *, users: Iterable[object] | None = None, ratings: TableLike | None = None,
        k: int = 10, order: Order | None = None, diversity: float | None = None, calibration: float = 0.0,
        popularity_penalty: float = 0.0, genre: str | None = None, year: str | int | None = None, min_ratings: int = 0,
        allow: Collection[object] | None = None, deny: Collection[object] = (), include_seen: bool = False,
    ) -> Suggestions | UserSuggestions:  # fmt: skip
        """The best movies for a training user, for several, or for a visitor.

        The other arguments are the length, order and filters of `lists.Choice`.

        Args:
            user: a user id.
            users: several user ids, in place of `user`.
            ratings: a visitor's ratings by movie id, in the data's scale, in place of `user`. Without any rating, the
                list is diverse and made of well-rated and often rated movies. For a model without stars, movie ids.

        Returns:
            The list, or the lists by user id; `to_pandas()` and the like make a table of either.

        Raises:
            UnknownIdError: if the user, a movie or the genre is unknown.
            ConfigError: if an option is out of range, or not exactly one of `user` and `ratings` is given.
            DataError: if a visitor's rating is outside the data's scale.
        """
        choice = Choice(
            k, order, diversity, calibration, popularity_penalty, genre, year, min_ratings, allow, deny, include_seen
        )
        if users is None:
            page = self.lists.page(self.person(user, ratings), choice)
            return Suggestions(page.suggestions, page.order_reason)
        if user is not None or ratings is not None:
            raise ConfigError("recommend: expected one of user, users and ratings, found several", "give one of them")
        index = np.asarray([self.users.index(each) for each in users], np.int32)
        made: dict[str, Suggestions] = {}
        for block, lists in self.lists.of_users(index, choice):
            for row, name in enumerate(self.users.names(block)):
                has_ratings = bool(self.predictor.user_counts[block[row]])
                reason = self.lists.order_reason(choice, has_ratings=has_ratings)
                made[name] = Suggestions(self._suggestions(lists, row), reason)
        return UserSuggestions(made)

    def _suggestions(self, lists: TopLists, row: int) -> Iterator[Suggestion]:
        listed = lists.item[row] != NO_ITEM
        stars = self.predictor.stars(lists.stars[row, listed]).tolist() if self.predictor.has_stars else None
        columns = lists.item[row, listed].tolist(), lists.score[row, listed].tolist()
        for place, (item, score) in enumerate(zip(*columns, strict=True)):
            yield Suggestion(self.catalogue.movie(item), score, None if stars is None else stars[place])

    def recommend_together(
        self, members: Iterable[object] | Mapping[str, object], *, strategy: Strategy = "fair",
        **options: Unpack[ListOptions],
    ) -> GroupSuggestions:  # fmt: skip
        """One list for several people, without what anyone has rated unless `include_seen`.

        Args:
            members: user ids, and visitors' ratings as in `recommend`; or these by the name to show.
            strategy: "fair" along the list, "average" or "least-misery"; see `recommend.together`.
            **options: as in `recommend`, but for diversity, calibration and surprises.

        Raises:
            UnknownIdError: if a user, a movie or the genre is unknown.
            ConfigError: if an option is out of range, or there is nobody.
            DataError: if a visitor's rating is outside the data's scale.
        """
        named = members.items() if isinstance(members, Mapping) else ((None, member) for member in members)
        people = []
        for number, (name, member) in enumerate(named, 1):
            is_id = isinstance(member, str | int | np.integer)
            person = self.person(member) if is_id else self.person(ratings=member)
            people.append(Member(name or (str(member) if is_id else f"person {number}"), person))
        page = list_together(self.lists, people, Choice(**options), strategy)
        return GroupSuggestions(page.suggestions, page.order_reason)

    def recommend_all(self, users: slice = slice(None), **options: Unpack[ListOptions]) -> Iterator[pa.Table]:
        """Lists of all training users, or of those in a slice of their indices; see `recommend`.

        Yields:
            Blocks of users, to bound memory: tables with `userId, movieId, rank, score, prediction`, rank from 1, but
            without `prediction` where the model has no stars.
        """
        index = np.arange(len(self.users), dtype=np.int32)[users]
        for block, lists in self.lists.of_users(index, Choice(**options)):
            row, place = np.nonzero(lists.item != NO_ITEM)
            columns = {
                "userId": self.users.ids.take(pa.array(block[row])),
                "movieId": self.items.ids.take(pa.array(lists.item[row, place])),
                "rank": (place + 1).astype(np.int32),
                "score": lists.score[row, place].astype(np.float32),
            }
            if self.predictor.has_stars:
                columns["prediction"] = self.predictor.stars(lists.stars[row, place])
            yield pa.table(columns)

    def list_indices(self, users: Indices, **options: Unpack[ListOptions]) -> Indices:
        """Lists as movie indices, int32 `(num_users, k)`, `NO_ITEM` after the end of a short one."""
        return np.concatenate([lists.item for _, lists in self.lists.of_users(users, Choice(**options))])

    def scores(self, user_index: Indices, **options: Unpack[ListOptions]) -> Float32s:
        """Scores of all movies for training users, float32 `(num_users, num_items)`.

        They are comparable only within a row, and only up to rounding; see `ordering`.
        """
        weights = self.lists.weights(Choice(**options))
        return self.lists.ordering.scores(self.predictor.people(user_index), weights)[0]

    def ask(self, ratings: TableLike | None = None, k: int = 10, *, deny: Collection[object] = ()) -> Movies:
        """The movies whose ratings would say most about a visitor, best first; see `recommend.asking`.

        Args:
            ratings: what the visitor has rated so far; see `recommend`.
            k: number of movies; fewer are returned where fewer are left.
            deny: ids of movies not to ask about, such as those that the visitor did not know; unknown ids are ignored.
        """
        matching = self.lists.matching(Choice(k=k, deny=deny))
        rated = self.visitor(ratings).person.rated
        matching[rated] = False
        states = self.lists.ordering.unit_states
        left = np.flatnonzero(matching).astype(np.int32)
        known = self.predictor.item_counts / len(self.users)
        chosen = choose_questions(self._usefulness, known, states, rated, left, k)
        return Movies(self.catalogue.movie(item) for item in chosen)

    @cached_property
    def _usefulness(self) -> Float64s:
        """Usefulness of a rating of each movie; computed on first use, in about a second."""
        return usefulness_of(self.predictor)

    def search(self, text: str, k: int = 10) -> Movies:
        """Movies whose titles or years match a text as people type it, best match first; see `TitleIndex.find`."""
        _check_length(k)
        return Movies(self.catalogue.movie(item) for item in self.titles.find(text)[:k])

    def similar(self, movie: object, k: int = 10) -> SimilarMovies:
        """The `k` most similar movies and the cosine similarities of their states, most similar first.

        The states are those of the ranking head if there is one.

        Raises:
            UnknownIdError: if the movie is unknown.
        """
        self.lists.matching(Choice(k=k))
        nearest = _nearest(self.lists.ordering.unit_states, self._item(movie), k)
        return SimilarMovies(SimilarMovie(self.catalogue.movie(item), cosine) for item, cosine in nearest)

    def _item(self, movie: object) -> int:
        """The index of a movie, given as an id or as one that another method has returned."""
        return self.items.index(movie.movie_id if isinstance(movie, Movie) else movie)

    def similar_users(self, user: object, k: int = 10) -> SimilarUsers:
        """The `k` most similar users and the cosine similarities of their states, most similar first.

        Raises:
            UnknownIdError: if the user is unknown.
        """
        index = self.users.index(user)
        _check_length(k)
        nearest = _nearest(unit_states(self.user_vectors.values), index, k)
        return SimilarUsers(SimilarUser(self.users.id(other), cosine) for other, cosine in nearest)

    def explain(self, user: object = None, *, movie: object, ratings: TableLike | None = None) -> Explanation:
        """Decompose a prediction and a ranking score into contributions of ratings.

        Raises:
            UnknownIdError: if the user or the movie is unknown.
            ConfigError: if the model's predictions are not sums (`gcn`).
        """
        item = self._item(movie)
        return explain(self.predictor, self.person(user, ratings), item)

    def visitor(self, ratings: TableLike | None = None) -> Visitor:
        """A visitor whose ratings can be added and removed.

        Raises:
            UnknownIdError: if a movie is unknown.
            DataError: if a rating is outside the data's scale.
        """
        visitor = Visitor(self.lists)
        visitor.rate_all({} if ratings is None else _ratings(ratings, stars=self.predictor.has_stars))
        return visitor

    def person(self, user: object = None, ratings: TableLike | None = None) -> Person:
        """A training user or a visitor as the model sees them; the arguments and errors are those of `recommend`."""
        if (user is None) == (ratings is None):
            given = "none" if user is None else "both"
            raise ConfigError(f"expected either a user or a visitor's ratings, found {given}", "give one of them")
        if ratings is not None:
            return self.visitor(ratings).person
        index = self.users.index(user)
        people = self.predictor.people(np.asarray([index], np.int32))
        return Person(people.state, people.rank_state, index, *self.predictor.seen(index))


def _nearest(unit: Float32s, index: int, k: int) -> list[tuple[int, float]]:
    """The `k` other rows with the largest cosines."""
    cosine = unit @ unit[index]
    order = np.argsort(-cosine, kind="stable")
    return [(int(other), float(cosine[other])) for other in order[order != index][:k]]


def _check_length(k: int) -> None:
    if not k >= 1:
        raise ConfigError(f"k: expected 1 or more, found {k}", "choose such a number")


def _read_only(states: Float32s) -> Float32s:
    view = states.view()
    view.flags.writeable = False
    return view


def _times(rows: Rows, timestamps: Iterable[Any] | None) -> Int64s | None:
    return rows.timestamps if timestamps is None else seconds_of(timestamps, rows.table.num_rows)


def _ratings(ratings: Any, *, stars: bool) -> Mapping[Any, Any]:
    """A visitor's ratings by movie id, from a mapping, a Series, or a table of movies and ratings.

    Without `stars`, likes or counts, which may also be a list of movie ids.
    """
    if not is_frame(ratings) and hasattr(ratings, "items"):  # a dict or a pandas Series
        return dict(ratings.items())
    if not stars:
        is_ids = isinstance(ratings, list | tuple | set) and not any(map(is_row, ratings))
        table = [(movie,) for movie in ratings] if is_ids else ratings
        return dict.fromkeys(rows_of(table, ("item",), "ratings", ("item", "rating"), implicit=True).movie_ids, 1.0)
    rows = rows_of(ratings, ("item", "rating"), "ratings")
    return dict(zip(rows.movie_ids, rows.rating.tolist(), strict=True))


def open_model(path: str | Path, *, lists_only: bool = False) -> Recommender:
    """Read a trained model from its directory.

    Args:
        path: the directory.
        lists_only: read only what lists of training users need, in a fraction of the time and memory.

    Raises:
        ArtifactError: if it is incomplete, damaged, or of another format version.
    """
    return Recommender(read_artifact(Path(path), lists_only=lists_only))

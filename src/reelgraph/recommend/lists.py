"""Which movies come in a list and in what order: scores, filters, diversity. Numpy only."""

import math
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypedDict

import numpy as np

from reelgraph.arrays import NOTHING, Float32s, Indices, Mask
from reelgraph.errors import ConfigError
from reelgraph.recommend.catalogue import Movie
from reelgraph.recommend.ordering import Listed, Ordering, People, Weights
from reelgraph.recommend.predictor import Person, Predictor
from reelgraph.scoring.scorers import ranker_for

ORDERS = ("rank", "stars", "blend")

# Weight of a movie's popularity, log(1 + ratings) as a share of the most rated movie's, in standard deviations of the
# ratings, where there is no ranking head or nothing is known of a visitor. Chosen by nDCG@10 on the validation ratings
# of ML-100K, ML-1M and ml-latest-small (docs/experiments.md).
POPULARITY_WEIGHT = 3.0

START_DIVERSITY = 0.5  # of the list for someone of whom nothing is known


class Wishes(TypedDict, total=False):
    """The fields of `Choice`, all optional."""

    k: int
    order: Literal["rank", "stars", "blend"] | None
    diversity: float | None
    popularity_penalty: float
    genre: str | None
    year: str | int | None
    min_ratings: int
    allow: Collection[object] | None
    deny: Collection[object]
    include_seen: bool


@dataclass(frozen=True)
class Choice:
    """What someone wants of a list.

    Attributes:
        k: length; a list is shorter where fewer movies are left.
        order: "rank" by the ranking head; "stars" by predicted ratings; "blend" by both, weighed by validation, which
            is what None means. Without a ranking head "blend" is predicted ratings and popularity.
        diversity: 0 to 1: each next movie is the one with the highest (1 - diversity) * relevance - diversity * cosine
            with the most similar movie listed, relevance being the score scaled to [0, 1] among the 10 * k best
            (maximal marginal relevance, Carbonell and Goldstein, The Use of MMR, 1998). None is 0, but a start list for
            someone of whom nothing is known is made with `START_DIVERSITY`.
        popularity_penalty: times log(1 + ratings of the movie), taken off the score, which is a log of odds itself.
        genre: only movies of this genre.
        year: only movies of this year, or of years "1990-1999", "1990-" or "-1999".
        min_ratings: only movies with at least as many training ratings.
        allow: only these movies, by id; ids that the model does not know are passed over.
        deny: none of these movies, likewise.
        include_seen: also movies that were rated already.
    """

    k: int = 10
    order: Literal["rank", "stars", "blend"] | None = None
    diversity: float | None = None
    popularity_penalty: float = 0.0
    genre: str | None = None
    year: str | int | None = None
    min_ratings: int = 0
    allow: Collection[object] | None = None
    deny: Collection[object] = ()
    include_seen: bool = False

    def __post_init__(self) -> None:
        if self.order not in {None, *ORDERS}:
            raise ConfigError(f"order: expected {', '.join(ORDERS)}, found {self.order!r}", "choose one of them")
        if self.diversity is not None and not 0 <= self.diversity <= 1:
            raise ConfigError(f"diversity: expected 0 to 1, found {self.diversity!r}", "choose a number in between")
        if not 0 <= self.popularity_penalty < math.inf:
            raise ConfigError(
                f"popularity penalty: expected 0 or more, found {self.popularity_penalty!r}", "choose such a number"
            )
        if self.min_ratings < 0:
            raise ConfigError(f"min ratings: expected 0 or more, found {self.min_ratings}", "choose such a number")


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
class Page:
    """A part of a list.

    Attributes:
        suggestions: the movies, best first.
        intervals: lower and upper end of each, which hold nine ratings of ten; None for each without validation errors.
        more: whether the list goes on.
    """

    suggestions: list[Suggestion]
    intervals: list[tuple[float, float] | None]
    more: bool


class ListMaker:
    """Makes lists from a model's scores.

    Args:
        predictor: the rating head, with the catalogue and what users have seen.
        ranking: what the manifest says of the ranking head, or None.
    """

    def __init__(self, predictor: Predictor, ranking: dict[str, Any] | None) -> None:
        self.predictor, self.ranker = predictor, ranker_for(predictor.weights)
        self.blend = float((ranking or {}).get("blend", 0.0))
        counts = predictor.item_counts
        self.popularity = POPULARITY_WEIGHT / math.log1p(max(int(counts.max(initial=0)), 1))
        self.ordering = Ordering(predictor.scorer, self.ranker, counts)

    def wanted(self, choice: Choice) -> Mask:
        """Which movies the choice lets through, bool of shape `(num_items,)`, seen ones included.

        Raises:
            ConfigError: if `k` or `year` is out of range.
            UnknownIdError: if the genre is not known.
        """
        items = self.predictor.items
        if not 1 <= choice.k <= len(items):
            raise ConfigError(
                f"k: expected 1 to {len(items)} (the catalogue), found {choice.k}", "choose a k in between"
            )
        wanted = self.predictor.catalogue.matching(choice.genre, choice.year)
        if choice.min_ratings:
            wanted &= self.predictor.item_counts >= choice.min_ratings
        if choice.allow is not None:
            wanted &= self._members(choice.allow)
        if choice.deny:
            wanted &= ~self._members(choice.deny)
        return wanted

    def _members(self, movie_ids: Collection[object]) -> Mask:
        index, known = self.predictor.items.indices([str(movie_id) for movie_id in movie_ids])
        mask = np.zeros(len(self.predictor.items), bool)
        mask[index[known]] = True
        return mask

    def weights(self, choice: Choice, *, start: bool = False) -> Weights:
        """What lists are ordered by.

        Args:
            choice: order and popularity penalty.
            start: for someone of whom nothing is known: well rated and rated often.

        Raises:
            ConfigError: if the order needs a ranking head that the model does not have.
        """
        order, penalty = choice.order or "blend", choice.popularity_penalty
        if order == "rank" and self.ranker is None:
            raise ConfigError("--order rank: expected a model with a ranking head, found none", "train --ranking")
        if order == "stars":
            return Weights(0.0, 1.0, -penalty)
        if start or self.ranker is None:
            return Weights(0.0, 1.0, self.popularity - penalty)
        return Weights(1.0, self.blend if order == "blend" else 0.0, -penalty)

    def _wish(self, choice: Choice, *, anything_rated: bool) -> tuple[Weights, float]:
        """What the list of someone is ordered by, and its diversity."""
        if anything_rated or choice.order is not None:
            return self.weights(choice), choice.diversity or 0.0
        return self.weights(choice, start=True), START_DIVERSITY if choice.diversity is None else choice.diversity

    def score_of(self, person: Person) -> Float32s:
        """What the list of one person is ordered by, `(num_items,)`; of someone who rated nothing, the start list."""
        weights, _ = self._wish(Choice(), anything_rated=bool(len(person.rated)))
        scores, _ = self.ordering.scores(People(person.state, person.rank_state), weights)
        return np.asarray(scores[0])

    def people(self, users: Indices) -> People:
        """Users of the training data as both heads see them."""
        return People(self.predictor.scorer.users(users), None if self.ranker is None else self.ranker.users(users))

    def blocks(self, users: Indices, choice: Choice) -> Iterator[Indices]:
        """Users some at a time, so that what `of_users` holds stays small."""
        block = self.ordering.block(choice.k, bool(choice.diversity))
        for start in range(0, len(users), block):
            yield users[start : start + block]

    def of_users(self, users: Indices, choice: Choice, wanted: Mask) -> Listed:
        """Lists of users of the training data, the same as `suggest` makes of each.

        Args:
            users: `(num_users,)`; see `blocks`.
            choice: what they want.
            wanted: what `wanted` says of the choice.
        """
        rated = self.predictor.user_counts[users] > 0
        found = Listed.nothing(len(users), choice.k)
        for anything_rated in np.unique(rated).tolist():
            rows = np.flatnonzero(rated == anything_rated)
            people, (weights, diversity) = self.people(users[rows]), self._wish(choice, anything_rated=anything_rated)
            scores = self.ordering.scores(people, weights)
            if not wanted.all():
                np.copyto(scores[0], -np.inf, where=~wanted)
            if not choice.include_seen:
                scores[0][self.predictor.seen_cells(users[rows])] = -np.inf
            found.put(rows, self.ordering.best(people, weights, scores, choice.k, diversity))
        return found

    def suggest(self, person: Person, choice: Choice) -> list[Suggestion]:
        """A person's list.

        Raises:
            ConfigError: if the choice is out of range.
            UnknownIdError: if the genre is not known.
        """
        return self.page(person, choice).suggestions

    def page(self, person: Person, choice: Choice, offset: int = 0) -> Page:
        """The `choice.k` movies of a person's list after the first `offset`; see `suggest`.

        A diverse list is made page by page, each of `choice.k` movies and diverse in itself, so that what comes later
        changes nothing of what came before.
        """
        wanted = self.wanted(choice)
        if not choice.include_seen:
            wanted[person.rated] = False
        people = People(person.state, person.rank_state)
        weights, diversity = self._wish(choice, anything_rated=bool(len(person.rated)))
        scores = self.ordering.scores(people, weights)
        scores[0][0, ~wanted] = -np.inf
        pages, length = [], choice.k if diversity else offset + choice.k
        for _ in range(0, offset + choice.k, length):
            page = self.ordering.best(people, weights, scores, length, diversity)
            there = page.item[page.item != NOTHING]
            if not len(there):
                break
            pages.append(page)
            scores[0][0, there] = -np.inf
        listed = [line for page in pages for line in page.of(0)][offset : offset + choice.k]
        items = np.asarray([item for item, _, _ in listed], np.int32)
        stars = self.predictor.stars(np.asarray([prediction for _, _, prediction in listed], np.float64))
        movie = self.predictor.catalogue.movie
        suggestions = [
            Suggestion(movie(item), score, prediction)
            for (item, score, _), prediction in zip(listed, stars.tolist(), strict=True)
        ]
        ends = self.predictor.around(stars, items, len(person.rated))
        intervals: list[tuple[float, float] | None] = [None] * len(items)
        if ends is not None:
            intervals = list(zip(*(end.tolist() for end in ends), strict=True))
        return Page(suggestions, intervals, int(wanted.sum()) > offset + len(items))

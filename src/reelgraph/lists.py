"""Which movies come in a list and in what order: scores, filters, diversity. Numpy only."""

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt

from reelgraph.catalogue import Movie
from reelgraph.errors import ConfigError
from reelgraph.predictor import Predictor
from reelgraph.ranker import ranker_for
from reelgraph.ranking import NOTHING, top_k, unit_states
from reelgraph.why import Person

Floats = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

ORDERS = ("rank", "stars", "blend")
# Weight of a movie's popularity, log(1 + ratings) as a share of the most rated movie's, in standard deviations of the
# ratings, where there is no ranking head or nothing is known of a visitor. Chosen by nDCG@10 on the validation ratings
# of ML-100K, ML-1M and ml-latest-small (docs/experiments.md).
POPULARITY_WEIGHT = 3.0
START_DIVERSITY = 0.5  # of the list for someone of whom nothing is known
POOL = 10  # as many times the list's length are looked at where diversity is asked for


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
            with the most similar movie listed, relevance being the score scaled to [0, 1] among the `POOL` * k best
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
        self.log_counts = np.log1p(counts)
        self.popularity = POPULARITY_WEIGHT * self.log_counts / math.log1p(max(int(counts.max(initial=0)), 1))
        states = predictor.scorer.item_states if self.ranker is None else self.ranker.item_states
        self.unit_states = unit_states(states)

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

    def scores(self, prediction: Floats, rank_state: Floats | None, choice: Choice) -> Scores:
        """What lists are ordered by, `(num_users, num_items)`.

        Args:
            prediction: standardised predictions of all movies, `(num_users, num_items)`.
            rank_state: the ranking head's states of the users, `(num_users, dim)`; None without a head.
            choice: order and popularity penalty.

        Raises:
            ConfigError: if the order needs a ranking head that the model does not have.
        """
        order = choice.order or "blend"
        if order == "stars":
            score = prediction.astype(np.float64)
        elif self.ranker is None or rank_state is None:
            if order == "rank":
                raise ConfigError("--order rank: expected a model with a ranking head, found none", "train --ranking")
            score = prediction + self.popularity
        else:
            score = self.ranker.score(rank_state).astype(np.float64)
            if order == "blend" and self.blend:
                score += self.blend * prediction
        return score - choice.popularity_penalty * self.log_counts if choice.popularity_penalty else score

    def start(self, prediction: Floats) -> Scores:
        """What the list for someone of whom nothing is known is ordered by: well rated and rated often."""
        return np.asarray(prediction + self.popularity, np.float64)

    def score_of(self, person: Person, choice: Choice | None = None) -> Scores:
        """What the list of one person is ordered by, `(num_items,)`; of someone who rated nothing, the start list."""
        return self._scored(person, self.predictor.scorer.score(person.state), choice or Choice())[0]

    def _scored(self, person: Person, prediction: Floats, choice: Choice) -> tuple[Scores, float]:
        """Scores and diversity of a person's list."""
        if len(person.rated) or choice.order is not None:
            return self.scores(prediction, person.rank_state, choice)[0], choice.diversity or 0.0
        score = self.start(prediction)[0] - choice.popularity_penalty * self.log_counts
        return score, START_DIVERSITY if choice.diversity is None else choice.diversity

    def suggest(self, person: Person, choice: Choice) -> list[Suggestion]:
        """A person's list.

        Raises:
            ConfigError: if the choice is out of range.
            UnknownIdError: if the genre is not known.
        """
        return self.page(person, choice).suggestions

    def page(self, person: Person, choice: Choice, offset: int = 0) -> "Page":
        """The `choice.k` movies of a person's list after the first `offset`; see `suggest`.

        A diverse list is made page by page, each of `choice.k` movies and diverse in itself, so that what comes later
        changes nothing of what came before.
        """
        wanted = self.wanted(choice)
        if not choice.include_seen:
            wanted[person.rated] = False
        prediction = self.predictor.scorer.score(person.state)
        score, diversity = self._scored(person, prediction, choice)
        stars = self.predictor.stars(prediction[0])
        items = self._paged(score, wanted, choice.k, diversity, offset)
        movie = self.predictor.catalogue.movie
        listed = [Suggestion(movie(int(item)), float(score[item]), float(stars[item])) for item in items]
        ends = self.predictor.around(stars[items], items, len(person.rated))
        intervals: list[tuple[float, float] | None] = [None] * len(items)
        if ends is not None:
            intervals = list(zip(*(end.tolist() for end in ends), strict=True))
        return Page(listed, intervals, int(wanted.sum()) > offset + len(items))

    def _paged(self, score: Scores, wanted: Mask, k: int, diversity: float, offset: int) -> Indices:
        if not diversity:
            return self.best(score, wanted, offset + k)[offset:]
        pages, left = [], wanted.copy()
        for _ in range(0, offset + k, k):
            pages.append(self.best(score, left, k, diversity))
            left[pages[-1]] = False
        return np.concatenate(pages)[offset : offset + k]

    def best(self, score: Scores, wanted: Mask, k: int, diversity: float = 0.0) -> Indices:
        """The up to `k` best of the wanted movies; ties go to the lower index.

        Args:
            score: `(num_items,)`.
            wanted: which movies may be listed, bool of shape `(num_items,)`.
            k: length of the list.
            diversity: see `Choice`.
        """
        items = np.flatnonzero(wanted)
        length = k if not diversity else max(POOL * k, k)
        found = top_k(score[items][None], length)[0] if len(items) else np.empty(0, np.int32)
        pool = items[found[found != NOTHING]].astype(np.int32)
        return pool if not diversity else self._diverse(score[pool], pool, k, diversity)

    def _diverse(self, score: Scores, pool: Indices, k: int, diversity: float) -> Indices:
        """Maximal marginal relevance over a pool, best first."""
        if not len(pool):
            return pool
        span = score.max() - score.min()
        relevance = (score - score.min()) / span if span > 0 else np.ones(len(pool))
        states = self.unit_states[pool].astype(np.float64)
        nearest, left, chosen = np.zeros(len(pool)), np.ones(len(pool), bool), []
        for place in range(min(k, len(pool))):
            value = np.where(left, (1 - diversity) * relevance - diversity * nearest, -np.inf)
            best = int(value.argmax())
            chosen.append(best)
            left[best] = False
            cosine = states @ states[best]
            nearest = cosine if place == 0 else np.maximum(nearest, cosine)
        return pool[chosen]

"""Lists of movies: options, filters, order and pages."""

import math
import operator
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypedDict, get_args

import numpy as np

from reelgraph.arrays import NO_ITEM, Float32s, Floats, Indices, Mask
from reelgraph.data.vocabulary import describe_overlap
from reelgraph.errors import ConfigError
from reelgraph.recommend.catalogue import Movie
from reelgraph.recommend.ordering import Ordering, TopLists, Weights
from reelgraph.recommend.predictor import Person, Predictor
from reelgraph.recommend.variety import Variety, direction_of, genres_of

Order = Literal["best", "stars", "less-known", "surprise", "blend", "rank"]
ORDERS: tuple[Order, ...] = get_args(Order)

# Weight of log(1 + ratings of the movie), as a share of the most rated movie's, in standard deviations of the ratings.
# Used without a ranking head and for visitors without ratings. Chosen by nDCG@10 on the validation ratings of ML-100K,
# ML-1M and ml-latest-small (docs/experiments.md).
POPULARITY_WEIGHT = 3.0
START_DIVERSITY = 0.5  # default diversity of the list for a visitor without ratings
SURPRISE_DIVERSITY = 0.4  # of the order "surprise"
# The order "less-known": its damping in models that hold none chosen by validation, and the weight of popularity where
# there is no ranking score, as a multiple of the usual one.
LESS_KNOWN, LESS_KNOWN_POPULARITY = 0.7, -0.3


class ListOptions(TypedDict, total=False):
    """Keyword arguments of `Choice`."""

    k: int
    order: Order | None
    diversity: float | None
    calibration: float
    popularity_penalty: float
    genre: str | None
    year: str | int | None
    min_ratings: int
    allow: Collection[object] | None
    deny: Collection[object]
    include_seen: bool


@dataclass(frozen=True)
class Choice:
    """Options of a list.

    Attributes:
        k: length; a list is shorter if fewer movies are left.
        order: "best" (the default): by ranking score and predicted ratings, popular movies damped, all weights by
            validation; "stars": by predicted ratings; "less-known": as "best" with more damping; "surprise": of the
            best of these, those least like what the person has rated and like each other. "blend" is "best" without
            damping, "rank" the ranking score alone. Without a ranking head, popularity replaces the ranking score.
        diversity: 0 to 1: how much the movies of a list differ; see `Variety`. The default is 0, `START_DIVERSITY` for
            a visitor without ratings and `SURPRISE_DIVERSITY` for "surprise".
        calibration: 0 to 1: how far the genres of a list agree with those that the person has rated; see `Variety`. Of
            no effect for a visitor without ratings.
        popularity_penalty: subtracts so many times log(1 + ratings of the movie) from the score, which is a log odds,
            besides the damping of the order.
        genre: only movies of this genre.
        year: only movies of this year, or of years "1990-1999", "1990-" or "-1999".
        min_ratings: only movies with at least so many training ratings.
        allow: only these movie ids; unknown ids are ignored.
        deny: none of these movie ids; unknown ids are ignored.
        include_seen: include movies that the person has rated.
    """

    k: int = 10
    order: Order | None = None
    diversity: float | None = None
    calibration: float = 0.0
    popularity_penalty: float = 0.0
    genre: str | None = None
    year: str | int | None = None
    min_ratings: int = 0
    allow: Collection[object] | None = None
    deny: Collection[object] = ()
    include_seen: bool = False

    def __post_init__(self) -> None:
        for name in ("k", "min_ratings"):  # numpy's integers too; they are compared with larger ones
            try:
                object.__setattr__(self, name, operator.index(getattr(self, name)))
            except TypeError:
                raise ConfigError(
                    f"{name}: expected a whole number, found {getattr(self, name)!r}", "pass an int"
                ) from None
        for name in ("allow", "deny"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _id_tuple(getattr(self, name)))
        for name in ("diversity", "calibration", "popularity_penalty"):
            value = getattr(self, name)
            if not (isinstance(value, int | float | np.number) or (value is None and name == "diversity")):
                raise ConfigError(f"{name}: expected a number, found {value!r}", "pass a float")
        if self.order not in (None, *ORDERS):  # a list has no hash
            raise ConfigError(f"order: expected {', '.join(ORDERS)}, found {self.order!r}", "choose one of them")
        for name, share in (("diversity", self.diversity or 0), ("calibration", self.calibration)):
            if not 0 <= share <= 1:
                raise ConfigError(f"{name}: expected 0 to 1, found {share!r}", "choose a number in between")
        if (self.diversity or 0) + self.calibration > 1:
            total = f"{self.diversity:g} + {self.calibration:g}"
            raise ConfigError(f"diversity + calibration: expected 1 at most, found {total}", "lower one of them")
        if not 0 <= self.popularity_penalty < math.inf:
            problem = f"popularity penalty: expected 0 or more, found {self.popularity_penalty!r}"
            raise ConfigError(problem, "choose such a number")
        if self.min_ratings < 0:
            raise ConfigError(f"min ratings: expected 0 or more, found {self.min_ratings}", "choose such a number")


def _id_tuple(ids: object) -> tuple[object, ...]:
    """Ids from a collection, an array or a Series; a single id is one of its own."""
    if isinstance(ids, Iterable) and not isinstance(ids, str | bytes):
        return tuple(ids)
    return (ids,)


@dataclass(frozen=True)
class Suggestion:
    """One movie of a list; scores of different lists are not comparable, predictions are clipped to the scale."""

    movie: Movie
    score: float
    prediction: float | Any  # None without a rating model (typed as `re.Match.group` is)

    def to_json(self, rank: int) -> dict[str, Any]:
        """The suggestion at a rank as JSON values."""
        return {"rank": rank, **asdict(self.movie), "score": self.score, "prediction": self.prediction}


@dataclass(frozen=True)
class Page:
    """A part of a list, bounds of the predictions' 90 % intervals, whether more movies follow, and why this order."""

    suggestions: list[Suggestion]
    intervals: list[tuple[float, float] | None]
    more: bool
    order_reason: str


class ListMaker:
    """Makes lists; `ranking` is the manifest's entry for the ranking head."""

    def __init__(self, predictor: Predictor, ranking: dict[str, Any] | None) -> None:
        self.predictor = predictor
        self.blend = float((ranking or {}).get("blend", 0.0))
        damping = (ranking or {}).get("damping") or {}
        best = float(damping.get("best", 0.0))  # models of earlier versions have none
        less_known = float(damping.get("less_known", LESS_KNOWN))
        self.damping = {"best": best, "less-known": less_known, "surprise": less_known}
        counts = predictor.item_counts
        self.popularity = POPULARITY_WEIGHT / math.log1p(max(int(counts.max(initial=0)), 1))
        self.ordering = Ordering(predictor.scorer, predictor.ranker, counts)

    def matching(self, choice: Choice) -> Mask:
        """Movies that pass the filters of the choice, bool of shape `(num_items,)`, seen ones included."""
        count = len(self.predictor.items)
        if not 1 <= choice.k <= count:
            raise ConfigError(f"k: expected 1 to {count} (the catalogue), found {choice.k}", "choose a k in between")
        if choice.calibration:
            _ = self.predictor.catalogue.genre_shares  # refuses a model without genres
        matching = self.predictor.catalogue.matching(choice.genre, choice.year)
        if choice.min_ratings:
            matching &= self.predictor.item_counts >= choice.min_ratings
        if choice.allow is not None:
            matching &= self._members("allow", choice.allow)
        if choice.deny:
            matching &= ~self._members("deny", choice.deny)
        return matching

    def _members(self, name: str, movie_ids: Collection[object]) -> Mask:
        describe_overlap(name, (self.predictor.items, movie_ids))
        index, known = self.predictor.items.indices(movie_ids)
        mask = np.zeros(len(self.predictor.items), bool)
        mask[index[known]] = True
        return mask

    def weights(self, choice: Choice, *, cold: bool = False) -> Weights:
        """Weights of the score for a choice; `cold` is for a person without ratings: popularity replaces the rank."""
        order, penalty, ranker = choice.order or "best", choice.popularity_penalty, self.predictor.ranker
        if order == "rank" and ranker is None:
            raise ConfigError("--order rank: expected a model with a ranking head, found none", "train --ranking")
        if order == "stars":
            self.predictor.require_stars("--order stars")
            return Weights(0.0, 1.0, -penalty)
        if cold or ranker is None:
            less_known = order in {"less-known", "surprise"} and self.predictor.has_stars
            return Weights(0.0, 1.0, (LESS_KNOWN_POPULARITY if less_known else 1.0) * self.popularity - penalty)
        return Weights(1.0, 0.0 if order == "rank" else self.blend, -penalty - self.damping.get(order, 0.0))

    def _order(self, choice: Choice, rated: Sequence[Indices]) -> tuple[Weights, Variety]:
        """Weights and variety of the lists of people who have rated these movies; either all or none have rated any."""
        has_ratings, diversity, calibration = bool(len(rated[0])), choice.diversity, choice.calibration
        cold = not has_ratings and choice.order in {None, "best", "less-known", "surprise"}
        surprise = choice.order == "surprise"
        if diversity is None:
            diversity = START_DIVERSITY if cold else SURPRISE_DIVERSITY if surprise else 0.0
            diversity = min(diversity, 1 - calibration)
        familiar = direction_of(rated, self.ordering.unit_states) if surprise and has_ratings else None
        genres = self.predictor.catalogue.genre_shares if calibration else None
        if genres is None or not has_ratings:
            return self.weights(choice, cold=cold), Variety(diversity, 0.0, familiar)
        return self.weights(choice, cold=cold), Variety(
            diversity, calibration, familiar, genres_of(rated, genres), genres
        )

    def weights_for(self, person: Person, choice: Choice) -> Weights:
        """Weights of the score of a person's list."""
        return self._order(choice, [person.rated])[0]

    def score_of(self, person: Person) -> Float32s:
        """Scores of all movies in the default order, `(num_items,)`."""
        scores, _ = self.ordering.scores(person, self.weights_for(person, Choice()))
        return np.asarray(scores[0])

    def of_users(self, users: Indices, choice: Choice) -> Iterator[tuple[Indices, TopLists]]:
        """Blocks of training users and their lists, which equal those of `page`."""
        matching = self.matching(choice)
        block = self.ordering.block(
            choice.k, bool(choice.diversity or choice.calibration) or choice.order == "surprise"
        )
        for start in range(0, len(users), block):
            some = users[start : start + block]
            yield some, self._of_block(some, choice, matching)

    def _of_block(self, users: Indices, choice: Choice, matching: Mask) -> TopLists:
        has_ratings = self.predictor.user_counts[users] > 0
        lists = TopLists.empty(len(users), choice.k)
        for group in np.unique(has_ratings).tolist():
            rows = np.flatnonzero(has_ratings == group)
            rated = [self.predictor.seen_movies(user) for user in users[rows].tolist()]
            people, (weights, variety) = self.predictor.people(users[rows]), self._order(choice, rated)
            scores = self.ordering.scores(people, weights)
            if not matching.all():
                np.copyto(scores[0], -np.inf, where=~matching)
            if not choice.include_seen:
                scores[0][self.predictor.seen_cells(users[rows])] = -np.inf
            lists.put(rows, self.ordering.best(people, weights, scores, choice.k, variety))
        return lists

    def page(self, person: Person, choice: Choice, offset: int = 0) -> Page:
        """The `choice.k` movies of a person's list after the first `offset`.

        A varied list is made page by page, each of `choice.k` movies and varied in itself, so that a later page never
        changes an earlier one.
        """
        matching = self.matching(choice)
        if not choice.include_seen:
            matching[person.rated] = False
        weights, variety = self._order(choice, [person.rated])
        scores = self.ordering.scores(person, weights)
        scores[0][0, ~matching] = -np.inf
        entries: list[tuple[int, float, float]] = []
        length = choice.k if variety else offset + choice.k
        for _ in range(0, offset + choice.k, length):
            page = self.ordering.best(person, weights, scores, length, variety)
            listed = page.item[0] != NO_ITEM
            if not listed.any():
                break
            columns = (column[0, listed].tolist() for column in (page.item, page.score, page.stars))
            entries += zip(*columns, strict=True)
            scores[0][0, page.item[0, listed]] = -np.inf
        entries = entries[offset : offset + choice.k]
        items = np.asarray([item for item, _, _ in entries], np.int32)
        forecasts = self.forecasts(person, items, np.asarray([standardised for _, _, standardised in entries]))
        suggestions = [
            Suggestion(self.predictor.catalogue.movie(item), score, prediction)
            for (item, score, _), (prediction, _) in zip(entries, forecasts, strict=True)
        ]
        intervals = [interval for _, interval in forecasts]
        reason = self.order_reason(choice, has_ratings=bool(len(person.rated)))
        return Page(suggestions, intervals, int(matching.sum()) > offset + len(items), reason)

    def forecasts(
        self, person: Person, items: Indices, standardised: Floats
    ) -> list[tuple[float | None, tuple[float, float] | None]]:
        """Predicted stars and the bounds of their 90 % interval for each movie; both arrays are `(num_movies,)`."""
        stars = self.predictor.stars(standardised)
        predictions = stars.tolist() if self.predictor.has_stars else [None] * len(items)
        bounds = self.predictor.around(stars, items, len(person.rated))
        if bounds is None:
            return [(prediction, None) for prediction in predictions]
        return list(zip(predictions, zip(*(bound.tolist() for bound in bounds), strict=True), strict=True))

    def order_reason(self, choice: Choice, *, has_ratings: bool) -> str:
        """Why the movies of a list are in their order, in one line."""
        order, ranks = choice.order or "best", self.predictor.ranker is not None
        first = {
            "best": "Best match first: how likely you are to like each movie",
            "stars": "Highest predicted stars first.",
            "less-known": "Good matches that fewer people have rated come first.",
            "surprise": "Good matches that fewer people have rated, unlike what you have rated and each other.",
            "blend": "Best match first, however well known.",
            "rank": "Highest ranking score first.",
        }[order]
        if not has_ratings and order in {"best", "less-known", "surprise"}:
            known = "that many know" if order == "best" else "that fewer people have rated"
            first = f"Nothing rated yet: well-rated movies {known}, of different kinds."
        elif order == "best":
            stars = ", and its predicted stars." if self.predictor.has_stars else "."
            damped = " Movies that everybody knows count a little less." if self.damping["best"] else ""
            first = (
                f"{first}{stars}{damped}"
                if ranks
                else "Best match first: predicted stars, and how many know each movie."
            )
        if choice.diversity:
            first += " Similar movies are kept apart."
        if choice.calibration and has_ratings:
            first += " The genres are in the proportions of what you have rated."
        return first

"""One list for several people, with everyone's predicted stars and reasons.

A movie's relevance to a person is their score, scaled so that 1 is the best and 0 the middle of the movies that may be
listed. The strategies "average" and "least-misery" sort by the mean and by the least of these (Masthoff, Group
Modeling, 2004). "fair" builds the list place by place, so that every beginning of it is fair: the next movie maximises

    sum_u relevance_u / ( DAMPING + received_u )

with the sum of the relevances to u of the movies listed so far as `received`, so who got little counts more. That is
the greedy scheme of Kaya, Bridge and Tintarev, Ensuring Fairness in Group Recommendations by Rank-Sensitive Balancing
of Relevance, 2020, with proportional fairness (the gradient of a sum of logarithms) in place of their chance that
everyone finds a movie, by which the one who gets least gets less (docs/experiments.md).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from reelgraph.arrays import NO_ITEM, Float64s, Indices, top_k
from reelgraph.errors import ConfigError
from reelgraph.recommend.catalogue import Movie
from reelgraph.recommend.explain import Reason, supporting_reasons
from reelgraph.recommend.lists import Choice, ListMaker
from reelgraph.recommend.predictor import Person

Strategy = Literal["fair", "average", "least-misery"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
MAX_REASONS = 2  # of each person for each movie
DAMPING = 0.3
CANDIDATES = 1000  # movies from which "fair" chooses: so many of the best of each person and of all on average
_BLOCK = 1 << 13  # movies scored at a time

_REASONS = {
    "fair": "Good for everyone, and each next movie is more for those who got less so far.",
    "average": "Best for the group on average first.",
    "least-misery": "Movies that nobody would mind first: the one who likes a movie least decides.",
}


@dataclass(frozen=True)
class Member:
    """A person of a group; `open` says whether reasons, which show ratings, and intervals may be told to the others."""

    name: str
    person: Person
    open: bool = True


@dataclass(frozen=True)
class Opinion:
    """What a movie is to one person of the group."""

    name: str
    prediction: float | Any  # stars; None without a rating model
    interval: tuple[float, float] | None
    because: tuple[Reason, ...]  # the ratings that support it most; none of a person who is not open


@dataclass(frozen=True)
class GroupSuggestion:
    """One movie of a group's list; the score is its mean relevance, or the least with "least-misery"."""

    movie: Movie
    score: float
    opinions: tuple[Opinion, ...]  # in the order of the members

    @property
    def prediction(self) -> float | None:
        """The mean of everyone's predicted stars; None without a rating model."""
        stars = [opinion.prediction for opinion in self.opinions]
        return None if None in stars else float(np.mean(stars))

    def to_json(self, rank: int) -> dict[str, Any]:
        """The suggestion at a rank as JSON values."""
        facts = {"score": self.score, "prediction": self.prediction}
        return {"rank": rank, **asdict(self.movie), **facts, "members": [asdict(opinion) for opinion in self.opinions]}


@dataclass(frozen=True)
class GroupPage:
    """A part of a group's list, whether more movies follow, and why they are in this order."""

    suggestions: list[GroupSuggestion]
    more: bool
    order_reason: str


def list_together(
    lists: ListMaker, members: Sequence[Member], choice: Choice, strategy: Strategy = "fair", offset: int = 0
) -> GroupPage:
    """The `choice.k` movies of a group's list after the first `offset`; what anyone has rated is seen.

    Raises:
        ConfigError: if there is nobody, the strategy is unknown, or the choice asks for variety.
    """
    if not members:
        raise ConfigError("together: expected at least one person, found none", "name users or ratings")
    if strategy not in STRATEGIES:
        raise ConfigError(f"strategy: expected {', '.join(STRATEGIES)}, found {strategy!r}", "choose one of them")
    if choice.diversity or choice.calibration or choice.order == "surprise":
        problem = "together: expected no diversity, calibration or surprise, found one of them"
        raise ConfigError(problem, "leave it out: a group's list is balanced between its people")
    matching = lists.matching(choice)
    if not choice.include_seen:
        for member in members:
            matching[member.person.rated] = False
    left = np.flatnonzero(matching).astype(np.int32)
    if not len(left):
        return GroupPage([], False, _REASONS[strategy])
    scored = [_scores(lists, member.person, choice, left) for member in members]
    relevance = np.stack([_relevance(scores) for scores, _ in scored])
    places, value = _ORDERS[strategy](relevance, min(offset + choice.k, len(left)))
    places, value = places[offset:], value[offset:]
    items = left[places]
    opinions = [
        _opinions(lists, member, items, stars[places]) for member, (_, stars) in zip(members, scored, strict=True)
    ]
    suggestions = [
        GroupSuggestion(lists.predictor.catalogue.movie(item), score, tuple(own))
        for item, score, *own in zip(items.tolist(), value.tolist(), *opinions, strict=True)
    ]
    return GroupPage(suggestions, len(left) > offset + len(items), _REASONS[strategy])


def _scores(lists: ListMaker, person: Person, choice: Choice, items: Indices) -> tuple[Float64s, Float64s]:
    """A person's scores and standardised predictions of movies, float64, the same to the last digit in any group."""
    weights = lists.weights_for(person, choice)
    blocks = [
        lists.ordering.exact(person, items[None, start : start + _BLOCK], weights)
        for start in range(0, len(items), _BLOCK)
    ]
    scores, stars = (np.concatenate(column, axis=1)[0] for column in zip(*blocks, strict=True))
    return scores, stars


def _relevance(scores: Float64s) -> Float64s:
    middle, best = np.median(scores), scores.max()
    return (scores - middle) / (best - middle) if best > middle else np.ones_like(scores)


def _average(relevance: Float64s, length: int) -> tuple[Indices, Float64s]:
    return _sorted(relevance.mean(0), length)


def _least_misery(relevance: Float64s, length: int) -> tuple[Indices, Float64s]:
    return _sorted(relevance.min(0), length)


def _sorted(value: Float64s, length: int) -> tuple[Indices, Float64s]:
    places = top_k(value[None], length)[0]
    return places, value[places]


def _fair(relevance: Float64s, length: int) -> tuple[Indices, Float64s]:
    best = top_k(np.vstack([relevance, relevance.mean(0)]), max(CANDIDATES, length))
    pool = np.unique(best[best != NO_ITEM])
    own, received, left = relevance[:, pool], np.zeros((len(relevance), 1)), np.ones(len(pool), bool)
    places = np.empty(length, np.int32)
    for rank in range(length):
        gain = (own / (DAMPING + np.maximum(received, 0))).sum(0)
        place = int(np.where(left, gain, -np.inf).argmax())
        places[rank], left[place] = pool[place], False
        received += own[:, [place]]
    return places, relevance[:, places].mean(0)


_ORDERS = {"fair": _fair, "average": _average, "least-misery": _least_misery}


def _opinions(lists: ListMaker, member: Member, items: Indices, standardised: Float64s) -> list[Opinion]:
    predictor, person = lists.predictor, member.person
    stars = predictor.stars(standardised)
    bounds = predictor.around(stars, items, len(person.rated)) if member.open and predictor.has_stars else None
    opinions = []
    for place, item in enumerate(items.tolist()):
        prediction = float(stars[place]) if predictor.has_stars else None
        interval = None if bounds is None else (float(bounds[0][place]), float(bounds[1][place]))
        because: tuple[Reason, ...] = ()
        if member.open:
            because = supporting_reasons(predictor, person, item, MAX_REASONS)
        elif prediction is not None:
            prediction = round(prediction, 1)  # the last digits would tell more of the ratings than of the movie
        opinions.append(Opinion(member.name, prediction, interval, because))
    return opinions

"""What lists are ordered by, for many people at once: fast for every movie, exact for those that may be listed. Numpy.

    score = rank * ranking score + stars * standardised prediction + counts * log(1 + ratings of the movie)

All three are products of a person's and a movie's numbers, so that one matrix product in float32 scores a block of
people. Its last digits depend on how many people there are, on the machine and on its threads. The order of a list must
not: movies that these digits could bring in are scored again, one by one in float64.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reelgraph.arrays import NOTHING, Float32s, Float64s, Indices, Ints, top_k, unit_states
from reelgraph.scoring.base import Scorer, UserState
from reelgraph.scoring.ranking_head import Ranker

BLOCK_FLOATS = 1 << 23  # 32 MB of scores at a time

POOL = 10  # as many times the list's length are looked at where diversity is asked for

SPARE = 6  # movies scored again beyond a list's length; where they could be too few, all that could be listed are


@dataclass(frozen=True)
class Weights:
    """What a score is made of, see above."""

    rank: float
    stars: float
    counts: float


@dataclass(frozen=True)
class People:
    """Several people as both heads see them.

    Attributes:
        state: the rating head's states.
        rank_state: the ranking head's, `(num_people, dim)`; None without one.
    """

    state: UserState
    rank_state: Float32s | None

    def one(self, row: int) -> "People":
        """One of them."""
        state = UserState(self.state.state[row : row + 1], self.state.offset[row : row + 1])
        return People(state, None if self.rank_state is None else self.rank_state[row : row + 1])


@dataclass(frozen=True)
class Listed:
    """Lists of several people, each array of shape `(num_people, length)`.

    Attributes:
        item: movies by index, best first, int32; `NOTHING` after the end of a list, where the others mean nothing.
        score: what they are ordered by, float64.
        stars: standardised predictions, float64.
    """

    item: Indices
    score: Float64s
    stars: Float64s

    @classmethod
    def nothing(cls, people: int, length: int) -> "Listed":
        """Empty lists, to be `put` into."""
        shape = people, length
        return cls(np.full(shape, NOTHING, np.int32), np.zeros(shape), np.zeros(shape))

    def put(self, rows: Ints, lists: "Listed") -> None:
        """Lists of some of the people, no longer than these."""
        length = lists.item.shape[1]
        self.item[rows, :length], self.score[rows, :length] = lists.item, lists.score
        self.stars[rows, :length] = lists.stars

    def of(self, row: int) -> list[tuple[int, float, float]]:
        """One person's list: item, score and standardised prediction."""
        there = self.item[row] != NOTHING
        columns = (each[row, there].tolist() for each in (self.item, self.score, self.stars))
        return list(zip(*columns, strict=True))

    def take(self, place: Ints) -> "Listed":
        """Other places of each list in their order, `(num_people, new_length)`; `NOTHING` ends a list there as well."""
        inside = np.maximum(place, 0)
        item = np.where(place == NOTHING, NOTHING, np.take_along_axis(self.item, inside, axis=1)).astype(np.int32)
        return Listed(item, *(np.take_along_axis(each, inside, axis=1) for each in (self.score, self.stars)))


class Ordering:
    """Orders movies for people.

    Args:
        scorer: the rating head.
        ranker: the ranking head, or None.
        counts: training ratings of the movies, `(num_items,)`.
    """

    def __init__(self, scorer: Scorer, ranker: Ranker | None, counts: Ints) -> None:
        self.scorer, self.ranker = scorer, ranker
        self.log_counts = np.log1p(counts)

    @cached_property
    def unit_states(self) -> Float32s:
        """States of the movies of length 1: of the ranking head where there is one."""
        return unit_states(self.scorer.item_states if self.ranker is None else self.ranker.item_states)

    @cached_property
    def _items(self) -> Float32s:
        """The movies' side of the product, `(width, num_items)`: rating head, log counts, ranking head."""
        parts = [self.log_counts[None]]
        if self.scorer.item_offset is not None:
            parts = [self.scorer.item_states.T, self.scorer.item_offset[None], *parts]
        if self.ranker is not None:
            parts += [self.ranker.item_states.T, self.ranker.item_bias[None]]
        return np.concatenate(parts, dtype=np.float32, casting="same_kind")

    def block(self, k: int, diverse: bool) -> int:
        """How many people to score at a time, so that nothing held is larger than `BLOCK_FLOATS` numbers."""
        width, count = self._items.shape
        pool = 2 * ((POOL if diverse else 1) * k + SPARE) * width
        movies = count * (1 if self.scorer.item_offset is not None else self.scorer.terms)
        return max(1, BLOCK_FLOATS // int(max(movies, pool)))

    def scores(self, people: People, weights: Weights) -> tuple[Float32s, Float64s]:
        """Scores of all movies, and how far they may be from the exact ones.

        Returns:
            Scores, float32 `(num_people, num_items)`, and a bound of their error, float64 `(num_people,)`. A prediction
            that is a product is scored without what it adds for all movies of a person alike.
        """
        count = len(people.state.offset)
        parts: list[Float32s] = [np.full((count, 1), weights.counts, np.float32)]
        first, last = 0, len(self._items)
        if self.scorer.item_offset is not None and weights.stars:
            of_item = np.full((count, 1), weights.stars, np.float32)
            parts = [np.float32(weights.stars) * people.state.state, of_item, *parts]
        elif self.scorer.item_offset is not None:
            first = self.scorer.item_states.shape[1] + 1
        if people.rank_state is not None and weights.rank:
            parts += [np.float32(weights.rank) * people.rank_state, np.full((count, 1), weights.rank, np.float32)]
        elif self.ranker is not None:
            last -= self.ranker.item_states.shape[1] + 1
        score = np.concatenate(parts, axis=1) @ self._items[first:last]
        if self.scorer.item_offset is None and weights.stars:
            score += np.float32(weights.stars) * self.scorer.score(people.state)
        return score, self._error(people, weights)

    def _error(self, people: People, weights: Weights) -> Float64s:
        """A bound of rounding: half an eps of the terms' sum for each of the terms; a whole one, to be safe."""
        size = weights.stars * self.scorer.size(people.state) + abs(weights.counts) * self.log_counts.max(initial=0)
        terms = self.scorer.terms + 1
        if weights.rank and self.ranker is not None and people.rank_state is not None:
            size += weights.rank * self.ranker.size(people.rank_state)
            terms += people.rank_state.shape[1] + 1
        return np.asarray(terms * np.finfo(np.float32).eps * size, np.float64)

    def exact(self, people: People, item: Indices, weights: Weights) -> tuple[Float64s, Float64s]:
        """Scores and standardised predictions of some movies, the same whoever else and whatever else is asked for.

        Args:
            people: the people.
            item: movies of each, `(num_people, num_movies)`.
            weights: what a score is made of.

        Returns:
            Two float64 arrays of the shape of `item`.
        """
        stars = self.scorer.pairs(people.state, item)
        score = weights.stars * stars + weights.counts * self.log_counts[item]
        if weights.rank and self.ranker is not None and people.rank_state is not None:
            score += weights.rank * self.ranker.pairs(people.rank_state, item)
        return score, stars

    def best(
        self, people: People, weights: Weights, scores: tuple[Float32s, Float64s], k: int, diversity: float = 0.0
    ) -> Listed:
        """The up to `k` best movies of each; ties go to the lower index.

        Args:
            people: the people.
            weights: what a score is made of.
            scores: what `scores` gave, with -inf where a movie may not be listed.
            k: length of the lists.
            diversity: see `lists.Choice`.
        """
        if not diversity:
            return self._highest(people, weights, scores, k)
        pool = self._highest(people, weights, scores, POOL * k)
        return pool.take(_diverse(pool, self.unit_states, k, diversity))

    def _highest(self, people: People, weights: Weights, scores: tuple[Float32s, Float64s], length: int) -> Listed:
        rough, error = scores
        length = min(length, rough.shape[1])
        pool = top_k(rough, length + SPARE)
        found = self._sorted(people, weights, np.sort(pool, axis=1), length)
        if length + SPARE >= rough.shape[1]:
            return found
        value = np.take_along_axis(rough, np.maximum(pool, 0), axis=1)
        least = value[:, length - 1] - 2 * error
        for row in np.flatnonzero((pool[:, -1] != NOTHING) & (value[:, -1] >= least)).tolist():
            near = np.flatnonzero(rough[row] >= least[row]).astype(np.int32)[None]
            found.put(np.asarray([row]), self._sorted(people.one(row), weights, near, length))
        return found

    def _sorted(self, people: People, weights: Weights, pool: Indices, length: int) -> Listed:
        """The best of a pool of movies of each, which stand in the order of their indices."""
        score, stars = self.exact(people, np.maximum(pool, 0), weights)
        score[pool == NOTHING] = -np.inf
        return Listed(pool, score, stars).take(top_k(score, length))


def _diverse(pool: Listed, states: Float32s, k: int, diversity: float) -> Ints:
    """Maximal marginal relevance over pools, best first: places in the pools, `(num_people, k)`."""
    left = pool.item != NOTHING
    low = np.where(left, pool.score, np.inf).min(1, initial=np.inf, keepdims=True)
    span = np.where(left, pool.score, -np.inf).max(1, initial=-np.inf, keepdims=True) - low
    relevance = np.where(left & (span > 0), pool.score - low, 1) / np.where(span > 0, span, 1)
    unit = states[np.maximum(pool.item, 0)].astype(np.float64)
    rows, nearest = np.arange(len(left)), np.zeros(left.shape)
    chosen = np.full((len(left), min(k, left.shape[1])), NOTHING)
    for place in range(chosen.shape[1]):
        value = np.where(left, (1 - diversity) * relevance - diversity * nearest, -np.inf)
        best = value.argmax(1)
        chosen[:, place] = np.where(left[rows, best], best, NOTHING)
        left[rows, best] = False
        cosine = np.einsum("npd,nd->np", unit, unit[rows, best])
        nearest = cosine if place == 0 else np.maximum(nearest, cosine)
    return chosen

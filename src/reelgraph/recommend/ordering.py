"""Scores and top lists for many people at once: float32 for all movies, float64 for the candidates of a list.

    score = rank * ranking score + stars * standardised prediction + counts * log(1 + ratings of the movie)

Every term is a product of a person's and a movie's numbers, so one float32 matrix product scores a block of people. Its
last digits depend on the block size, the machine and the number of threads, but the order of a list must not. Movies
within rounding error of a list are therefore scored again, one by one in float64.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reelgraph.arrays import NO_ITEM, Float32s, Float64s, Indices, Ints, top_k, unit_states
from reelgraph.recommend.variety import Variety, choose
from reelgraph.scoring.base import Scorer, UserState
from reelgraph.scoring.ranking_head import Ranker

BLOCK_FLOATS = 1 << 23  # scores held at a time, 32 MB
POOL = 10  # varied lists choose from so many times their length
SPARE = 6  # candidates scored again beyond a list's length; if they may not suffice, all possible ones are


@dataclass(frozen=True)
class Weights:
    """Weights of the three terms of a score."""

    rank: float
    stars: float
    counts: float


@dataclass(frozen=True)
class People:
    """Several people's states of the rating head and of the ranking head, `(num_people, dim)`, if there is one."""

    state: UserState
    rank_state: Float32s | None

    def row(self, row: int) -> "People":
        """One of them."""
        state = UserState(self.state.state[row : row + 1], self.state.offset[row : row + 1])
        return People(state, None if self.rank_state is None else self.rank_state[row : row + 1])


@dataclass(frozen=True)
class TopLists:
    """Lists of several people, best first, each array of shape `(num_people, length)`."""

    item: Indices  # `NO_ITEM` after the end of a list, where the others mean nothing
    score: Float64s
    stars: Float64s  # standardised predictions

    @classmethod
    def empty(cls, people: int, length: int) -> "TopLists":
        """Empty lists, to be filled by `put`."""
        shape = people, length
        return cls(np.full(shape, NO_ITEM, np.int32), np.zeros(shape), np.zeros(shape))

    def put(self, rows: Ints, lists: "TopLists") -> None:
        """Set the lists of some people; `lists` are no longer than these."""
        length = lists.item.shape[1]
        self.item[rows, :length], self.score[rows, :length] = lists.item, lists.score
        self.stars[rows, :length] = lists.stars

    def take(self, place: Ints) -> "TopLists":
        """Entries at given places of each list, `(num_people, new_length)`; `NO_ITEM` ends a list there as well."""
        inside = np.maximum(place, 0)
        item = np.where(place == NO_ITEM, NO_ITEM, np.take_along_axis(self.item, inside, axis=1)).astype(np.int32)
        score, stars = (np.take_along_axis(column, inside, axis=1) for column in (self.score, self.stars))
        return TopLists(item, score, stars)


class Ordering:
    """Scores and sorts movies; `counts` are their numbers of training ratings."""

    def __init__(self, scorer: Scorer, ranker: Ranker | None, counts: Ints) -> None:
        self.scorer, self.ranker = scorer, ranker
        self.log_counts = np.log1p(counts)

    @cached_property
    def unit_states(self) -> Float32s:
        """States of the movies, scaled to length 1: of the ranking head if there is one."""
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

    def block(self, k: int, varied: bool) -> int:
        """How many people to score at a time, so that no array is larger than `BLOCK_FLOATS`."""
        width, count = self._items.shape
        pool = 2 * ((POOL if varied else 1) * k + SPARE) * width
        movies = count * (1 if self.scorer.item_offset is not None else self.scorer.terms)
        return max(1, BLOCK_FLOATS // int(max(movies, pool)))

    def scores(self, people: People, weights: Weights) -> tuple[Float32s, Float64s]:
        """Approximate scores of all movies, `(num_people, num_items)`, and bounds of their errors, `(num_people,)`.

        Where predictions are products, the constant part of a person's predictions is left out.
        """
        count = len(people.state.offset)
        parts: list[Float32s] = [np.full((count, 1), weights.counts, np.float32)]
        first, last = 0, len(self._items)
        if self.scorer.item_offset is not None and weights.stars:
            constant = np.full((count, 1), weights.stars, np.float32)
            parts = [np.float32(weights.stars) * people.state.state, constant, *parts]
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
        """Bound of the rounding error: eps times the sum of the absolute terms, for each term, twice what is needed."""
        size = weights.stars * self.scorer.size(people.state) + abs(weights.counts) * self.log_counts.max(initial=0)
        terms = self.scorer.terms + 1
        if weights.rank and self.ranker is not None and people.rank_state is not None:
            size += weights.rank * self.ranker.size(people.rank_state)
            terms += people.rank_state.shape[1] + 1
        return np.asarray(terms * np.finfo(np.float32).eps * size, np.float64)

    def exact(self, people: People, item: Indices, weights: Weights) -> tuple[Float64s, Float64s]:
        """Scores and standardised predictions in float64 of some movies of each person, all `(num_people, num_movies)`.

        Each number is bit-identical whatever other people and movies are scored with it.
        """
        stars = self.scorer.pairs(people.state, item)
        score = weights.stars * stars + weights.counts * self.log_counts[item]
        if weights.rank and self.ranker is not None and people.rank_state is not None:
            score += weights.rank * self.ranker.pairs(people.rank_state, item)
        return score, stars

    def best(
        self,
        people: People,
        weights: Weights,
        scores: tuple[Float32s, Float64s],
        k: int,
        variety: Variety | None = None,
    ) -> TopLists:
        """Lists of up to `k` movies; ties go to the lower index.

        `scores` is the result of `scores`, set to -inf for movies to leave out.
        """
        if not variety:
            return self._highest(people, weights, scores, k)
        pool = self._highest(people, weights, scores, POOL * k)
        return pool.take(choose(pool.item, pool.score, k, variety, self.unit_states))

    def _highest(self, people: People, weights: Weights, scores: tuple[Float32s, Float64s], length: int) -> TopLists:
        rough, error = scores
        length = min(length, rough.shape[1])
        pool = top_k(rough, length + SPARE)
        lists = self._sorted(people, weights, np.sort(pool, axis=1), length)
        if length + SPARE >= rough.shape[1]:
            return lists
        value = np.take_along_axis(rough, np.maximum(pool, 0), axis=1)
        least = value[:, length - 1] - 2 * error
        for row in np.flatnonzero((pool[:, -1] != NO_ITEM) & (value[:, -1] >= least)).tolist():
            near = np.flatnonzero(rough[row] >= least[row]).astype(np.int32)[None]
            lists.put(np.asarray([row]), self._sorted(people.row(row), weights, near, length))
        return lists

    def _sorted(self, people: People, weights: Weights, pool: Indices, length: int) -> TopLists:
        """Lists from a pool of movies of each person, in ascending order of their indices."""
        score, stars = self.exact(people, np.maximum(pool, 0), weights)
        score[pool == NO_ITEM] = -np.inf
        return TopLists(pool, score, stars).take(top_k(score, length))

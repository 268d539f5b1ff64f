"""Varied lists: a list is chosen movie by movie from a pool of good ones, each in view of those chosen before."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from reelgraph.arrays import NO_ITEM, Float32s, Float64s, Indices, Ints

SMOOTHING = 0.01  # share of the wanted genres mixed into those of a list, so that a missing genre has a finite cost


@dataclass(frozen=True)
class Variety:
    """What a list is to be besides good, for a number of people.

    The next movie of a list maximises

        (1 - diversity - calibration) * relevance - diversity * near - calibration * KL(wanted | genres of the list)

    where relevance is the score scaled to [0, 1] within the pool, and near the cosine with the most similar movie
    listed before (maximal marginal relevance, Carbonell and Goldstein, The Use of MMR, 1998), or with `familiar` if
    that is higher. The last term is that of Steck, Calibrated Recommendations, 2018.
    """

    diversity: float = 0.0
    calibration: float = 0.0
    familiar: Float64s | None = None  # direction of what each person has rated, `(num_people, dim)`
    wanted: Float64s | None = None  # shares of the genres in what each person has rated, `(num_people, num_genres)`
    genres: Float32s | None = None  # and in all movies, `(num_items, num_genres)`

    def __bool__(self) -> bool:
        return bool(self.diversity or self.calibration)


def direction_of(rated: Iterable[Indices], states: Float32s) -> Float64s:
    """The mean of the unit states of each person's movies, scaled to length 1, float64 `(num_people, dim)`."""
    means = np.stack([states[items].sum(0, dtype=np.float64) for items in rated])
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.finfo(np.float64).tiny))


def genres_of(rated: Iterable[Indices], shares: Float32s) -> Float64s:
    """Shares of the genres in each person's movies with genres, float64 `(num_people, num_genres)`; 0 without any."""
    totals = np.stack([shares[items].sum(0, dtype=np.float64) for items in rated])
    return np.asarray(totals / np.maximum(totals.sum(1, keepdims=True), np.finfo(np.float64).tiny))


def choose(item: Indices, score: Float64s, k: int, variety: Variety, states: Float32s) -> Ints:
    """Places in the pools, best first, then `NO_ITEM`, `(num_people, k)`.

    Args:
        item, score: the pools, `(num_people, pool)`, with `NO_ITEM` after the end of a short one.
        k: length of the lists.
        variety: what they are to be.
        states: of all movies, of length 1, `(num_items, dim)`.
    """
    left, inside = item != NO_ITEM, np.maximum(item, 0)
    low = np.where(left, score, np.inf).min(1, initial=np.inf, keepdims=True)
    span = np.where(left, score, -np.inf).max(1, initial=-np.inf, keepdims=True) - low
    relevance = np.where(left & (span > 0), score - low, 1) / np.where(span > 0, span, 1)
    unit = states[inside].astype(np.float64)
    rows, nearest = np.arange(len(left)), np.full(left.shape, -np.inf)
    if variety.familiar is not None:
        nearest = np.einsum("npd,nd->np", unit, variety.familiar)
    genres = _ListGenres(variety, inside)
    chosen = np.full((len(left), min(k, left.shape[1])), NO_ITEM)
    for place in range(chosen.shape[1]):
        near = np.where(np.isfinite(nearest), nearest, 0.0)
        value = (1 - variety.diversity - variety.calibration) * relevance - variety.diversity * near
        if variety.calibration:
            value -= variety.calibration * genres.divergence(place + 1)
        best = np.where(left, value, -np.inf).argmax(1)
        chosen[:, place] = np.where(left[rows, best], best, NO_ITEM)
        left[rows, best] = False
        nearest = np.maximum(nearest, np.einsum("npd,nd->np", unit, unit[rows, best]))
        genres.add(best)
    return chosen


class _ListGenres:
    """Sums of the genre shares of the movies listed so far."""

    def __init__(self, variety: Variety, item: Indices) -> None:
        self.wanted, self.own = np.zeros((len(item), 0)), np.zeros((*item.shape, 0))
        if variety.wanted is not None and variety.genres is not None:
            self.wanted, self.own = variety.wanted, variety.genres[item].astype(np.float64)
        self.listed = np.zeros_like(self.wanted)
        self.entropy = -(self.wanted * np.log(np.where(self.wanted > 0, self.wanted, 1))).sum(1, keepdims=True)

    def divergence(self, length: int) -> Float64s:
        """Kullback-Leibler divergence of the lists of a length that end with each movie of the pool."""
        each = (1 - SMOOTHING) / length
        share = self.own * each
        share += (self.listed * each + SMOOTHING * self.wanted)[:, None]
        np.log(np.maximum(share, np.finfo(np.float64).tiny, out=share), out=share)  # A genre may be in neither.
        return np.asarray(-self.entropy - np.einsum("ng,npg->np", self.wanted, share))

    def add(self, place: Ints) -> None:
        """Add the movies at a place of each pool to the lists."""
        self.listed += self.own[np.arange(len(place)), place]

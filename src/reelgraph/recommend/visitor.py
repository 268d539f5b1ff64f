"""A visitor: ratings that come and go, and predictions, lists and explanations from them without training."""

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np

from reelgraph.arrays import Float32s, Indices
from reelgraph.errors import DataError
from reelgraph.recommend.explain import Explanation, explain
from reelgraph.recommend.lists import Choice, ListMaker, ListOptions, Suggestion
from reelgraph.recommend.predictor import Person
from reelgraph.scoring.base import RunningState, UserState


class Visitor:
    """Someone unknown to the model. Adding or removing a rating takes the same time whatever was rated before."""

    def __init__(self, lists: ListMaker) -> None:
        self.lists, self.predictor = lists, lists.predictor
        self._ratings: dict[int, float] = {}
        scorer, ranker = self.predictor.scorer, self.predictor.ranker
        self._stars = RunningState(scorer.fold_in) if scorer.fold_in else None
        self._rank = RunningState(ranker.fold_in) if ranker else None

    def rate(self, movie: object, stars: float) -> None:
        """Set a rating; raises `UnknownIdError` for an unknown movie, `DataError` for one outside the data's scale."""
        self.rate_all({movie: stars})

    def rate_all(self, ratings: Mapping[Any, float]) -> None:
        """Set ratings in the data's scale by movie id, all or none; see `rate`."""
        items = dict(self._checked(movie, stars) for movie, stars in ratings.items())
        for item in items.keys() & self._ratings.keys():
            self._remove(item)
        self._ratings.update(items)
        index = np.fromiter(items, np.int32, len(items))
        self._add(index, np.fromiter(items.values(), np.float32, len(items)), 1)

    def _checked(self, movie: object, stars: float) -> tuple[int, float]:
        item, rating = self.predictor.items.index(movie), self.predictor.as_rating(stars)
        if rating is None:
            problem = f"rating of movie {movie}: expected {self.predictor.expected}, found {stars!r}"
            raise DataError(problem, "correct it")
        return item, rating

    def rate_indices(self, item_index: Indices, stars: Float32s) -> None:
        """Add ratings in the data's scale of movies not rated yet, by index, both `(num_ratings,)`."""
        self._ratings.update(zip(item_index.tolist(), stars.tolist(), strict=True))
        self._add(item_index, stars, 1)

    def remove(self, movie: object) -> None:
        """Remove a rating, if there is one; raises `UnknownIdError` for an unknown movie."""
        item = self.predictor.items.index(movie)
        if item in self._ratings:
            self._remove(item)

    def _remove(self, item: int) -> None:
        self._add(np.asarray([item]), np.asarray([self._ratings.pop(item)], np.float32), -1)

    def _add(self, item_index: Indices, stars: Float32s, sign: int) -> None:
        standardised = self.predictor.standardise(stars)
        for running in (self._stars, self._rank):
            if running is not None:
                running.add(item_index, standardised, sign)

    @property
    def ratings(self) -> dict[str, float]:
        """The ratings by movie id."""
        return {self.predictor.items.id(item): stars for item, stars in self._ratings.items()}

    @property
    def person(self) -> Person:
        """The visitor as the model sees them."""
        rated = np.fromiter(self._ratings, np.int32, len(self._ratings))
        stars = np.fromiter(self._ratings.values(), np.float32, len(self._ratings))
        if self._stars is None:
            state = self.predictor.scorer.visitor(rated, self.predictor.standardise(stars))
        else:
            offset = np.asarray([float(self._stars.fold_in.mean) + self._stars.bias], np.float32)
            state = UserState(self._stars.state, offset)
        return Person(state, None if self._rank is None else self._rank.state, None, rated, stars)

    def recommend(self, **options: Unpack[ListOptions]) -> list[Suggestion]:
        """The visitor's list; see `Recommender.recommend`."""
        return self.lists.page(self.person, Choice(**options)).suggestions

    def predict(self) -> Float32s:
        """Predicted ratings of all movies in the data's scale, clipped to it, float32 of shape `(num_items,)`."""
        self.predictor.require_stars("predict")
        return self.predictor.stars(self.predictor.scorer.score(self.person.state)[0])

    def explain(self, movie: object) -> Explanation:
        """Decompose the movie's prediction and ranking score; see `Recommender.explain`."""
        return explain(self.predictor, self.person, self.predictor.items.index(movie))

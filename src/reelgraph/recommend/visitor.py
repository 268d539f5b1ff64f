"""A visitor, known by ratings that come and go: predictions, lists and explanations without training. Numpy only."""

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np

from reelgraph.arrays import Float32s, Indices
from reelgraph.errors import DataError
from reelgraph.recommend.explain import Explanation, explain
from reelgraph.recommend.lists import Choice, ListMaker, Suggestion, Wishes
from reelgraph.recommend.predictor import Person
from reelgraph.scoring.base import UserState


class Visitor:
    """Someone the model has never seen. A rating is added or taken away in time that depends on no other.

    Args:
        lists: what makes the lists of the model.
    """

    def __init__(self, lists: ListMaker) -> None:
        self.lists, self.predictor = lists, lists.predictor
        self._ratings: dict[int, float] = {}
        rating, ranking = self.predictor.scorer.fold_in, lists.ranker and lists.ranker.fold_in
        self._stars = rating.running() if rating else None
        self._rank = ranking.running() if ranking else None

    def rate(self, movie: object, stars: float) -> None:
        """Add a rating in the data's scale, in place of an earlier one of the movie.

        Raises:
            UnknownIdError: if the movie is not known.
            DataError: if the rating is outside the data's scale.
        """
        item = self._checked(movie, stars)
        if item in self._ratings:
            self._change(item, -1)
        self._ratings[item] = float(stars)
        self._change(item, 1)

    def rate_all(self, ratings: Mapping[Any, float]) -> None:
        """Add ratings in the data's scale by movie id, all or none, at once; see `rate`."""
        items = {self._checked(movie, stars): float(stars) for movie, stars in ratings.items()}
        for item in items.keys() & self._ratings.keys():
            self._change(item, -1)
            del self._ratings[item]
        numbers = np.fromiter(items, np.int32, len(items)), np.fromiter(items.values(), np.float32, len(items))
        self.rate_indices(*numbers)

    def _checked(self, movie: object, stars: float) -> int:
        item, low, high = self.predictor.items.index(str(movie)), self.predictor.low, self.predictor.high
        if not low <= stars <= high:
            raise DataError(f"rating of movie {movie}: expected {low:g} to {high:g}, found {stars!r}", "correct it")
        return item

    def rate_indices(self, item_index: Indices, stars: Float32s) -> None:
        """Add ratings in the data's scale by the indices of movies that have none yet, each `(num_ratings,)`."""
        self._ratings.update(zip(item_index.tolist(), stars.tolist(), strict=True))
        standardised = self.predictor.standardise(stars)
        for running in (self._stars, self._rank):
            if running is not None and len(stars):
                running.add(item_index, standardised)

    def remove(self, movie: object) -> None:
        """Take a rating away; nothing happens where there is none.

        Raises:
            UnknownIdError: if the movie is not known.
        """
        item = self.predictor.items.index(str(movie))
        if item in self._ratings:
            self._change(item, -1)
            del self._ratings[item]

    def _change(self, item: int, sign: int) -> None:
        items = np.asarray([item])
        standardised = self.predictor.standardise(np.asarray([self._ratings[item]], np.float32))
        for running in (self._stars, self._rank):
            if running is not None:
                running.add(items, standardised, sign)

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
        return Person(None, state, None if self._rank is None else self._rank.state, rated, stars)

    def recommend(self, **wishes: Unpack[Wishes]) -> list[Suggestion]:
        """The visitor's list; see `Recommender.recommend`."""
        return self.lists.suggest(self.person, Choice(**wishes))

    def predict(self) -> Float32s:
        """Predicted ratings of all movies, in the data's scale and clipped to it, float32 of shape `(num_items,)`."""
        return self.predictor.stars(self.predictor.scorer.score(self.person.state)[0])

    def explain(self, movie: object) -> Explanation:
        """Why a movie is predicted and ranked as it is; see `Recommender.explain`."""
        item = self.predictor.items.index(str(movie))
        return explain(self.predictor, self.lists.ranker, self.person, item)

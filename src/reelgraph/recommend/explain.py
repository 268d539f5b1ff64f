"""Explanations: predictions and ranking scores as sums over ratings."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reelgraph.arrays import Float32s, Indices, Int64s
from reelgraph.recommend.catalogue import Movie
from reelgraph.recommend.predictor import Person, Predictor


@dataclass(frozen=True)
class Reason:
    """The signed contribution of one of the user's ratings, which is in the data's scale."""

    movie: Movie
    rating: float | Any  # None in a model without stars
    contribution: float

    def __str__(self) -> str:
        given = f"you gave {self.movie} {self.rating:g} stars" if self.rating is not None else f"of {self.movie}"
        return f"because {given}: {self.contribution:+.2f}"


@dataclass(slots=True)  # A popular movie has thousands of neighbours, and frozen instances are three times slower.
class Neighbour:
    """The signed contribution of another user's rating of the movie."""

    user_id: str
    rating: float | Any
    contribution: float


@dataclass(frozen=True)
class Score:
    """A ranking score, a log odds up to a constant; the parts are those of `Explanation`.

    It is `movie +` all of `because`, and also `movie + movie_free + movie_side +` all of `neighbours`.
    """

    score: float
    movie: float
    because: tuple[Reason, ...]
    movie_free: float
    movie_side: float
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Explanation:
    """A prediction in the data's scale; in a model without stars, `ranking` holds the explanation.

    It is `mean + user + movie + free + side +` all of `because`, and also
    `mean + user + movie + movie_free + movie_side +` all of `neighbours`.
    """

    target: Movie
    prediction: float | Any  # the sum, not clipped to the scale; None in a model without stars
    mean: float  # mean rating
    user: float  # user bias
    movie: float  # movie bias
    free: float  # from the user's own free state; 0 for a visitor
    side: float  # from the user's side features; 0 for a visitor
    because: tuple[Reason, ...]  # the largest absolute contribution first
    movie_free: float  # from the movie's own free state
    movie_side: float  # from the movie's side features
    neighbours: tuple[Neighbour, ...]  # the largest absolute contribution first
    ranking: Score | None  # None without a ranking head

    def to_json(self) -> dict[str, Any]:
        """The explanation as JSON values."""
        return asdict(self)

    def text(self, most: int = 5) -> list[str]:
        """Lines for the console: the prediction, the baseline and the `most` largest contributions."""
        because, others = self.because, "ratings"
        if self.prediction is not None:
            lines = [
                f"{self.target}: {self.prediction:.2f} stars predicted",
                f"movies are rated {self.mean:.2f} on average",
                f"your ratings are {_than_average(self.user)}",
                f"this movie's are {_than_average(self.movie)}",
            ]
        else:
            assert self.ranking is not None
            because, others = self.ranking.because, "movies"
            own = f"{self.ranking.movie:+.2f} from the movie itself"
            lines = [f"{self.target}: ranking score {self.ranking.score:.2f}", own]
        if self.free or self.side:
            lines.append(f"what is known of you besides your ratings: {self.free + self.side:+.2f}")
        lines += [str(reason) for reason in because[:most]]
        rest = because[most:]
        if rest:
            total = sum(reason.contribution for reason in rest)
            lines.append(f"your {len(rest)} other {others} together: {total:+.2f}")
        return lines


def _than_average(part: float) -> str:
    return f"{abs(part):.2f} {'higher' if part >= 0 else 'lower'} than that"


def explain(predictor: Predictor, person: Person, item: int) -> Explanation:
    """Decompose a person's prediction and ranking score of a movie."""
    raters, their_ratings = predictor.raters(item)
    own = person.rated, predictor.standardise(person.ratings)
    others = raters, predictor.standardise(their_ratings)
    parts = predictor.scorer.parts(person.index, item, person.state, own, others)
    std = predictor.std
    mean, because = parts.mean * std + predictor.mean, parts.because * std
    user, movie, free, side = (part * std for part in (parts.user, parts.movie, parts.free, parts.side))
    prediction = mean + user + movie + free + side + float(because.sum(dtype=np.float64))
    ranking = None
    if predictor.ranker is not None:
        score = predictor.ranker.parts(item, own, others)
        ranking = Score(
            score=score.movie + float(score.because.sum(dtype=np.float64)),
            movie=score.movie,
            because=_reasons(predictor, person, score.because),
            movie_free=score.movie_free,
            movie_side=score.movie_side,
            neighbours=_neighbours(predictor, raters, their_ratings, score.neighbours),
        )
    return Explanation(
        target=predictor.catalogue.movie(item),
        prediction=prediction if predictor.has_stars else None,
        mean=mean,
        user=user,
        movie=movie,
        free=free,
        side=side,
        because=_reasons(predictor, person, because),
        movie_free=parts.movie_free * std,
        movie_side=parts.movie_side * std,
        neighbours=_neighbours(predictor, raters, their_ratings, parts.neighbours * std),
        ranking=ranking,
    )


def _reasons(predictor: Predictor, person: Person, parts: Float32s) -> tuple[Reason, ...]:
    movie, rating = predictor.catalogue.movie, _shown(predictor, person.ratings)
    return tuple(
        Reason(movie(int(person.rated[place])), rating[place], float(parts[place]))
        for place in _largest_first(parts).tolist()
    )


def _neighbours(predictor: Predictor, raters: Indices, ratings: Float32s, parts: Float32s) -> tuple[Neighbour, ...]:
    order = _largest_first(parts)
    shown = _shown(predictor, ratings[order])
    return tuple(map(Neighbour, predictor.users.names(raters[order]), shown, parts[order].tolist()))


def _shown(predictor: Predictor, ratings: Float32s) -> Sequence[float | None]:
    """The ratings, or None for each in a model without stars."""
    return ratings.tolist() if predictor.has_stars else [None] * len(ratings)


def _largest_first(parts: Float32s) -> Int64s:
    return np.argsort(-np.abs(parts), kind="stable")

"""Explanations: predictions and ranking scores as sums over ratings."""

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
    rating: float
    contribution: float

    def __str__(self) -> str:
        return f"because you gave {self.movie} {self.rating:g} stars: {self.contribution:+.2f}"


@dataclass(slots=True)  # A popular movie has thousands of neighbours, and frozen instances are three times slower.
class Neighbour:
    """The signed contribution of another user's rating of the movie."""

    user_id: str
    rating: float
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
    """A prediction in the data's scale.

    It is `mean + user + movie + free + side +` all of `because`, and also
    `mean + user + movie + movie_free + movie_side +` all of `neighbours`.
    """

    target: Movie
    prediction: float  # the sum, not clipped to the scale
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
        lines = [
            f"{self.target}: {self.prediction:.2f} stars predicted",
            f"movies are rated {self.mean:.2f} on average",
            f"your ratings are {_than_average(self.user)}",
            f"this movie's are {_than_average(self.movie)}",
        ]
        if self.free or self.side:
            lines.append(f"what is known of you besides your ratings: {self.free + self.side:+.2f}")
        lines += [str(reason) for reason in self.because[:most]]
        rest = self.because[most:]
        if rest:
            total = sum(reason.contribution for reason in rest)
            lines.append(f"your {len(rest)} other ratings together: {total:+.2f}")
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
        prediction=mean + user + movie + free + side + float(because.sum(dtype=np.float64)),
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
    movie = predictor.catalogue.movie
    return tuple(
        Reason(movie(int(person.rated[place])), float(person.ratings[place]), float(parts[place]))
        for place in _largest_first(parts).tolist()
    )


def _neighbours(predictor: Predictor, raters: Indices, ratings: Float32s, parts: Float32s) -> tuple[Neighbour, ...]:
    order = _largest_first(parts)
    return tuple(map(Neighbour, predictor.users.names(raters[order]), ratings[order].tolist(), parts[order].tolist()))


def _largest_first(parts: Float32s) -> Int64s:
    return np.argsort(-np.abs(parts), kind="stable")

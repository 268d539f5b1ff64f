"""Explanations: predictions and ranking scores as sums over ratings."""

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from reelgraph.arrays import Float32s, Indices, Int64s
from reelgraph.recommend.catalogue import Movie
from reelgraph.recommend.predictor import Person, Predictor
from reelgraph.tabular import Tabular

MOST = 5  # reasons for a suggestion that are told one by one; half as many are told against it
_TINY = 0.005  # rounds to 0.00


def signed(part: float) -> str:
    """A contribution with its sign and two decimals; 0.00 has none."""
    return f"{part:+.2f}" if abs(part) >= _TINY else "0.00"


def rounded(parts: Sequence[float], total: float) -> list[float]:
    """Parts with two decimals that sum to the rounded total; each is at most 0.015 from the exact one.

    The parts nearest to the next hundredth are rounded there, and preferably none that would then be 0.00.
    """
    cents = [round(100 * part) for part in parts]
    missing = round(100 * round(total, 2)) - sum(cents)
    step = 1 if missing > 0 else -1

    def gain(place: int) -> float:
        return step * (100 * parts[place] - cents[place]) - (cents[place] == -step)

    order = sorted(range(len(parts)), key=gain, reverse=True)
    for place in order[: abs(missing)]:
        cents[place] += step
    return [cent / 100 for cent in cents]


@dataclass(frozen=True)
class Reason:
    """The signed contribution of one of the user's ratings, which is in the data's scale."""

    movie: Movie
    rating: float | Any  # None in a model without stars
    contribution: float
    disliked: bool = False  # whether the rating is below the middle of the scale

    def __str__(self) -> str:
        if self.rating is None:
            return f"you like {self.movie}"
        stars = f"{self.rating:g} star{'' if self.rating == 1 else 's'}"
        if not self.disliked:
            return f"you gave {self.movie} {stars}"
        alike = ", and so do people who like this" if self.contribution > 0 else ""
        return f"you disliked {self.movie} ({stars}){alike}"


@dataclass(frozen=True)
class Grounds:
    """Contributions as a person is told them; each is in one of the parts, and the parts sum to `total`."""

    supporting: tuple[Reason, ...]  # above 0: movies that the person did not dislike before the others
    opposing: tuple[Reason, ...]  # below 0, the largest first
    own: Reason | None  # the rating of the explained movie itself, which is no reason
    rest_number: int  # ratings that are not told one by one
    rest: float
    total: float

    def text(self, noun: str = "rating") -> list[str]:
        """One line for each part, and one for the sum of several; the numbers add up as they are shown."""
        rows = [(f"because {reason}", reason.contribution) for reason in self.supporting]
        rows += [(f"but {reason}", reason.contribution) for reason in self.opposing]
        if self.own is not None:
            rows.append((f"your own {noun} of this movie", self.own.contribution))
        if self.rest_number:
            rows.append((f"your {self.rest_text(noun).removeprefix('1 ')}", self.rest))
        shown = rounded([part for _, part in rows], self.total)
        lines = [f"{text}: {signed(part)}" for (text, _), part in zip(rows, shown, strict=True)]
        return [*lines, f"together: {signed(self.total)}"] if len(lines) > 1 else lines

    def rest_text(self, noun: str = "rating") -> str:
        """The ratings that are not told one by one, such as "3 other ratings"."""
        told = self.supporting or self.opposing or self.own
        return f"{self.rest_number} {'other ' if told else ''}{noun}{'' if self.rest_number == 1 else 's'}"


def _grounds(because: tuple[Reason, ...], target: Movie, most: int) -> Grounds:
    others = [reason for reason in because if reason.movie.movie_id != target.movie_id]
    own = next((reason for reason in because if reason.movie.movie_id == target.movie_id), None)
    up = [reason for reason in others if reason.contribution >= _TINY]
    up.sort(key=lambda reason: reason.disliked)
    down = [reason for reason in others if reason.contribution <= -_TINY]
    down_most = (most + 1) // 2
    # A single further reason is told, too: "1 other rating" would only hide it.
    supporting = tuple(up[: most + (len(up) == most + 1)])
    opposing = tuple(down[: down_most + (len(down) == down_most + 1)])
    total = sum(reason.contribution for reason in because)
    told = sum(reason.contribution for reason in (*supporting, *opposing)) + (own.contribution if own else 0.0)
    return Grounds(
        supporting=supporting, opposing=opposing, own=own, rest_number=len(others) - len(supporting) - len(opposing),
        rest=total - told, total=total,
    )  # fmt: skip


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


@dataclass(frozen=True, repr=False)
class Explanation(Tabular):
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

    def grounds(self, *, ranking: bool = False, most: int = MOST) -> Grounds:
        """What to tell of the ratings behind the predicted stars, or with `ranking` behind the place in the list."""
        if not ranking:
            return _grounds(self.because, self.target, most)
        return _grounds(() if self.ranking is None else self.ranking.because, self.target, most)

    def to_json(self) -> dict[str, Any]:
        """The explanation and its `grounds` as JSON values."""
        content = asdict(self) | {"grounds": asdict(self.grounds())}
        if self.ranking is not None:
            content["ranking"]["grounds"] = asdict(self.grounds(ranking=True))
        return content

    def to_arrow(self) -> pa.Table:
        """The user's ratings: `movieId`, `title`, `year`, `rating`, and what each contributes.

        `contribution` is in stars, if there are any; `score_contribution` is to the ranking score, if there is one.
        """
        rows = {reason.movie.movie_id: reason for reason in self.because}
        ranking = {} if self.ranking is None else {reason.movie.movie_id: reason for reason in self.ranking.because}
        reasons = list((rows or ranking).values())
        columns = {
            "movieId": pa.array([reason.movie.movie_id for reason in reasons], pa.string()),
            "title": pa.array([reason.movie.title for reason in reasons], pa.string()),
            "year": pa.array([reason.movie.year for reason in reasons], pa.int32()),
            "rating": pa.array([reason.rating for reason in reasons], pa.float64()),
        }
        if self.prediction is not None:
            columns["contribution"] = pa.array([reason.contribution for reason in reasons], pa.float64())
        if self.ranking is not None:
            parts = [ranking.get(reason.movie.movie_id) for reason in reasons]
            scores = [None if part is None else part.contribution for part in parts]
            columns["score_contribution"] = pa.array(scores, pa.float64())
        return pa.table(columns)

    def __repr__(self) -> str:
        return "\n".join(self.text())

    def _repr_html_(self) -> str:
        first, *lines = map(html.escape, self.text())
        return f"<div><b>{first}</b><br/>{'<br/>'.join(lines)}</div>"

    def sum_text(self) -> str:
        """The parts of the predicted stars or, in a model without stars, of the ranking score in one line.

        The numbers add up as they are shown: the part of the movie takes what the others lose by rounding.
        """
        if self.prediction is None and self.ranking is not None:
            return self._score_text("your movies")
        mean, user, taste = (round(part, 2) for part in (self.mean, self.user, self.grounds().total))
        known = round(self.free + self.side, 2)
        # The mean and the level are the same for all movies, and the taste is the sum of the reasons.
        movie = round(self.prediction, 2) - mean - user - taste - known
        terms = [(user, "your level"), (movie, "this movie's"), (taste, "your taste")]
        if self.free or self.side:
            terms.append((known, "what else is known of you"))
        return ", ".join([f"{mean:.2f} on average", *(f"{signed(part)} {label}" for part, label in terms)])

    def _score_text(self, whose: str) -> str:
        """The parts of the ranking score, which must exist, in one line."""
        own, score = self.grounds(ranking=True).total, self.ranking.score if self.ranking else 0.0
        return f"{signed(round(score, 2) - round(own, 2))} from the movie itself, {signed(own)} {whose}"

    def text(self, most: int = MOST) -> list[str]:
        """Lines for the console: the prediction, its parts, and about `most` reasons for it and half as many against.

        The same follows for the ranking score, if there is one.
        """
        lines, ranking = list[str](), self.ranking
        if self.prediction is not None:
            lines = [f"{self.target}: {self.prediction:.2f} stars predicted", self.sum_text()]
            lines += self.grounds(most=most).text()
        if ranking is not None:
            told = self.grounds(ranking=True, most=most)
            if lines:
                lines += [f"its place in the list: score {ranking.score:.2f}", self._score_text("your ratings")]
                lines += told.text()
            else:
                lines = [f"{self.target}: ranking score {ranking.score:.2f}", self.sum_text(), *told.text("movie")]
        return lines


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


def supporting_reasons(predictor: Predictor, person: Person, item: int, most: int) -> tuple[Reason, ...]:
    """The ratings that support a movie most, by predicted stars where these are sums over ratings, else by rank."""
    own, nobody = (
        (person.rated, predictor.standardise(person.ratings)),
        (np.empty(0, np.int32), np.empty(0, np.float32)),
    )
    if predictor.has_stars and predictor.scorer.fold_in is not None:
        parts = predictor.scorer.parts(person.index, item, person.state, own, nobody).because * predictor.std
    elif predictor.ranker is not None:
        parts = predictor.ranker.parts(item, own, nobody).because
    else:
        return ()
    return _grounds(_reasons(predictor, person, parts), predictor.catalogue.movie(item), most).supporting[:most]


def _reasons(predictor: Predictor, person: Person, parts: Float32s) -> tuple[Reason, ...]:
    movie, rating = predictor.catalogue.movie, _shown(predictor, person.ratings)
    disliked = [stars is not None and stars < (predictor.low + predictor.high) / 2 for stars in rating]
    return tuple(
        Reason(movie(int(person.rated[place])), rating[place], float(parts[place]), disliked[place])
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

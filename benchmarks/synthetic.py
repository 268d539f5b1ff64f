"""Makes any number of ratings with a known noise floor: python benchmarks/synthetic.py --ratings 20e6 --out DIR.

    expected liking  t_ui = mean + b_u + b_i + <p_u, q_i>
    rating           r_ui = t_ui + noise, rounded to half stars within 0.5 and 5

Users choose movies by popularity (a Zipf-Mandelbrot law) and taste; popular movies are liked a little better, and
nobody rates a movie twice. The number of ratings per user is log-normal; ratings come in sessions. The best prediction
of a rating is its expectation given t_ui; rounding and clipping are part of the noise. Its error is the noise floor,
which `Truth.floor` measures on any rows, such as a test split that `reelgraph prepare` draws.

DIR gets `ratings/part-00000.parquet` and so on (userId, movieId, rating, timestamp, sorted by user and time),
`truth.npz` (everything in the formulas) and `manifest.json` (counts, noise floor, seed). Each block of users has its
own random numbers, so memory does not grow with the ratings and the rows do not depend on the size of the parts.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from reelgraph.files import MANIFEST, new_directory

KIND = "reelgraph-synthetic"
RATINGS_A_USER = 145  # as in MovieLens-20M, like everything below
MOVIES_AT, RATINGS_AT = 27_000, 20_000_000  # movies grow with the root of the ratings
FEWEST = 20  # ratings of a user, where there are enough for all
ACTIVITY = 1.38  # standard deviation of the logarithm of what a user rates beyond those
ZIPF_POWER, ZIPF_SHIFT = 1.5, 100.0  # the most popular movie is rated by nearly half of the users
MEAN, USER_BIAS, MOVIE_BIAS, TASTE, NOISE = 3.50, 0.42, 0.52, 0.46, 0.84  # standard deviations but for the mean
LIKED_TOO = 0.4  # correlation of a movie's bias with its popularity
RANK, DECAY = 12, 0.7  # dimensions of taste, and the factor on the variance from one to the next
CHOOSES = 1.0  # how strongly taste decides what is rated, on the logit for one standard deviation
SESSION, WITHIN, BETWEEN = 40, 15.0, 864_000.0  # ratings, seconds between two of them, seconds between sessions
FIRST_YEARS = (789_652_009, 1_388_534_400)  # when users come: 1995 to 2013
BLOCK = 512  # users made at a time
LEVELS = np.arange(0.5, 5.01, 0.5)
SCHEMA = pa.schema([
    ("userId", pa.int64()), ("movieId", pa.int64()), ("rating", pa.float32()), ("timestamp", pa.int64()),
])  # fmt: skip

Floats = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """The parameters of the ratings, as arrays of `truth.npz`.

    Attributes:
        seed: of everything random.
        mean, noise: scalars of the formula, in stars.
        user_bias, movie_bias: float32 of shape `(num_users,)` and `(num_movies,)`, in stars.
        user_taste, movie_taste: float32 of shape `(num_users, RANK)` and `(num_movies, RANK)`.
        popularity: probability of drawing a movie before taste counts, float64 of shape `(num_movies,)`, sum 1.
        activity: number of ratings of each user, int64 of shape `(num_users,)`.
    """

    seed: int
    mean: float
    noise: float
    user_bias: npt.NDArray[np.float32]
    movie_bias: npt.NDArray[np.float32]
    user_taste: npt.NDArray[np.float32]
    movie_taste: npt.NDArray[np.float32]
    popularity: npt.NDArray[np.float64]
    activity: Indices

    @classmethod
    def drawn(cls, ratings: int, users: int, movies: int, seed: int) -> "Truth":
        """Draw the parameters for exactly this number of ratings."""
        rng = np.random.default_rng([seed, 0])
        popularity = np.power(rng.permutation(movies) + 1 + ZIPF_SHIFT, -ZIPF_POWER, dtype=np.float64)
        popularity /= popularity.sum()
        fame = np.log(popularity)
        fame -= fame @ popularity  # Weighted, so that the ratings' mean and spread do not depend on their number.
        fame /= math.sqrt(np.square(fame) @ popularity)
        liking = LIKED_TOO * fame + math.sqrt(1 - LIKED_TOO**2) * rng.normal(size=movies)
        spread = DECAY ** np.arange(RANK)
        scale = TASTE * np.sqrt(spread / spread.sum())
        return cls(
            seed,
            MEAN,
            NOISE,
            rng.normal(0, USER_BIAS, users).astype(np.float32),
            (MOVIE_BIAS * liking).astype(np.float32),
            (rng.normal(size=(users, RANK)) * scale).astype(np.float32),
            rng.normal(size=(movies, RANK)).astype(np.float32),
            popularity,
            _activity(rng, ratings, users, movies),
        )

    @classmethod
    def read(cls, path: Path) -> "Truth":
        """Read a `truth.npz`."""
        with np.load(path) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        return cls(**{name: value.item() if value.ndim == 0 else value for name, value in found.items()})

    def write(self, path: Path) -> None:
        """Write a `truth.npz`."""
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    def taste(self, user: Indices, movie: Indices) -> Floats:
        """<p_u, q_i> of pairs of indices, float32 of their shape."""
        product: Floats = np.einsum("nk,nk->n", self.user_taste[user], self.movie_taste[movie])
        return product

    def liking(self, user: Indices, movie: Indices) -> Floats:
        """The expected liking t of pairs of indices, float32 of their shape."""
        return np.float32(self.mean) + self.user_bias[user] + self.movie_bias[movie] + self.taste(user, movie)

    def rated(self, liking: Floats) -> Floats:
        """The expected rating given t, in stars, float64 of the same shape.

        A rating reaches a level where t and noise pass the middle between it and the level below.
        """
        return np.interp(liking, *self._expectation)

    @cached_property
    def _expectation(self) -> tuple[Floats, Floats]:
        grid = np.arange(-2.0, 8.0, 1e-3)
        steps = (grid[:, None] - (LEVELS[1:] - 0.25)) / (self.noise * math.sqrt(2))
        reached = (1 + np.vectorize(math.erf)(steps)) / 2
        return grid, LEVELS[0] + 0.5 * reached.sum(1)

    def floor(self, user_id: Indices, movie_id: Indices, rating: Floats) -> dict[str, float]:
        """RMSE and MAE of the best possible prediction of rows, given by their ids in the files."""
        wrong = self.rated(self.liking(user_id - 1, movie_id - 1)) - rating
        return {"rmse": math.sqrt(np.square(wrong).mean()), "mae": float(np.abs(wrong).mean())}


def sizes(ratings: int) -> tuple[int, int]:
    """Users and movies for a number of ratings: 138 thousand and 27 thousand for 20 million."""
    return max(10, round(ratings / RATINGS_A_USER)), max(50, round(MOVIES_AT * math.sqrt(ratings / RATINGS_AT)))


def _activity(rng: np.random.Generator, ratings: int, users: int, movies: int) -> Indices:
    """The number of ratings of each user, at most half of the movies, `ratings` in total."""
    most = movies // 2
    if not users <= ratings <= users * most:
        raise ValueError(f"expected between {users:,} and {users * most:,} ratings, found {ratings:,}")
    fewest = min(FEWEST, most, ratings // users)
    beyond = np.exp(rng.normal(0, ACTIVITY, users))
    low, high = 0.0, float(ratings)  # a factor on `beyond` too small and one too large, halved until they meet
    for _ in range(100):
        middle = (low + high) / 2
        enough = np.minimum(fewest + middle * beyond, most).sum() >= ratings
        low, high = (low, middle) if enough else (middle, high)
    exact = np.minimum(fewest + low * beyond, most)
    counts = exact.astype(np.int64)
    left, room = ratings - counts.sum(), np.flatnonzero(counts < most)
    counts[room[np.argsort(counts[room] - exact[room])[:left]]] += 1
    return counts


def blocks(truth: Truth) -> Iterator[tuple[Indices, Indices, Floats, Indices]]:
    """User and movie indices, ratings and timestamps, block by block of users."""
    for number, first in enumerate(range(0, len(truth.activity), BLOCK)):
        rng = np.random.default_rng([truth.seed, 1, number])
        user, movie = _chosen(rng, truth, first)
        noisy = truth.liking(user, movie) + rng.normal(0, truth.noise, len(user))
        rating = np.clip(np.round(2 * noisy) / 2, LEVELS[0], LEVELS[-1]).astype(np.float32)
        yield user, movie, rating, _times(rng, user)


def _chosen(rng: np.random.Generator, truth: Truth, first: int) -> tuple[Indices, Indices]:
    """Users and movies of the ratings in the block from user `first`, sorted by user, movies in the order of choice.

    Movies are drawn without replacement by popularity times taste: for few ratings by rejection of repeated draws, for
    many by exponential arrival times, of which the first are taken. Both have the same distribution.
    """
    counts = truth.activity[first : first + BLOCK]
    many = counts > len(truth.movie_bias) // 25
    chosen = [drawn(rng, truth, first, np.where(many, 0, counts))]
    chosen += [raced(rng, truth, first + racer, counts[racer]) for racer in np.flatnonzero(many).tolist()]
    user, movie = (np.concatenate(part) for part in zip(*chosen, strict=True))
    order = np.argsort(user, kind="stable")
    return user[order], movie[order]


def drawn(rng: np.random.Generator, truth: Truth, first: int, counts: Indices) -> tuple[Indices, Indices]:
    """Draw `counts` different movies for each user from `first` on, rejecting repeated draws."""
    reach, num_movies = np.cumsum(truth.popularity), len(truth.popularity)
    user, movie = np.empty(0, np.int64), np.empty(0, np.int64)
    missing = counts
    while missing.any():
        again = np.repeat(np.arange(len(counts)), np.where(missing > 0, 5 * missing // 2 + 4, 0))
        found = np.minimum(np.searchsorted(reach, rng.random(len(again)), side="right"), num_movies - 1)
        taken = rng.random(len(again)) < _takes(truth.taste(again + first, found))
        user, movie = np.concatenate([user, again[taken]]), np.concatenate([movie, found[taken]])
        _, new = np.unique(user * num_movies + movie, return_index=True)
        new.sort()
        new = new[np.argsort(user[new], kind="stable")]
        place = np.arange(len(new)) - np.searchsorted(user[new], np.arange(len(counts)))[user[new]]
        new = new[place < counts[user[new]]]
        user, movie = user[new], movie[new]
        missing = counts - np.bincount(user, minlength=len(counts))
    return user + first, movie


def raced(rng: np.random.Generator, truth: Truth, user: int, count: int) -> tuple[Indices, Indices]:
    """Draw `count` different movies for one user by their arrival times."""
    weight = truth.popularity * _takes(truth.movie_taste @ truth.user_taste[user])
    arrival = rng.exponential(size=len(weight)) / weight
    ahead = np.argpartition(arrival, count - 1)[:count]
    return np.full(count, user), ahead[np.argsort(arrival[ahead])]


def _takes(taste: Floats) -> Floats:
    """The probability that a drawn movie is watched and rated."""
    chance: Floats = 1 / (1 + np.exp(-CHOOSES / TASTE * taste))
    return chance


def _times(rng: np.random.Generator, user: Indices) -> Indices:
    """Timestamps in seconds since 1970, increasing within each user."""
    new_session = rng.random(len(user)) < 1 / SESSION
    gaps = 1 + rng.exponential(WITHIN, len(user)) + new_session * rng.exponential(BETWEEN, len(user))
    begins = np.flatnonzero(np.diff(user, prepend=-1))
    gaps[begins] = 0
    passed = np.cumsum(gaps.astype(np.int64))
    lengths = np.diff(begins, append=len(user))
    come = rng.integers(*FIRST_YEARS, len(begins)) - passed[begins]
    return passed + np.repeat(come, lengths)


def write(truth: Truth, out: Path, rows_a_part: int) -> dict[str, Any]:
    """Draw the ratings and write everything; returns the manifest.

    Raises:
        OutputError: if `out` cannot be written or holds something else.
    """
    count, total, square, wrong_square, wrong_absolute = 0, 0.0, 0.0, 0.0, 0.0
    with new_directory(out, KIND) as directory:
        truth.write(directory / "truth.npz")
        with Parts(directory / "ratings", rows_a_part) as parts:
            for user, movie, rating, times in blocks(truth):
                parts.write(pa.table([user + 1, movie + 1, rating, times], schema=SCHEMA))
                wrong = truth.rated(truth.liking(user, movie)) - rating
                count, total, square = count + len(user), total + float(rating.sum()), square + _squares(rating)
                wrong_square, wrong_absolute = wrong_square + _squares(wrong), wrong_absolute + float(abs(wrong).sum())
        manifest = {
            "kind": KIND,
            "seed": truth.seed,
            "ratings": count,
            "users": len(truth.user_bias),
            "movies": len(truth.movie_bias),
            "mean": total / count,
            "std": math.sqrt(square / count - (total / count) ** 2),
            "floor": {"rmse": math.sqrt(wrong_square / count), "mae": wrong_absolute / count},
        }
        (directory / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def _squares(values: Floats) -> float:
    return float(np.square(values, dtype=np.float64).sum())


class Parts:
    """Writes Parquet parts of a fixed number of rows.

    Args:
        directory: made here.
        rows: in each part but the last.
    """

    def __init__(self, directory: Path, rows: int) -> None:
        directory.mkdir()
        self.directory, self.rows, self.part, self.room = directory, rows, 0, 0
        self.writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()

    def write(self, table: pa.Table) -> None:
        """Add rows; a new part begins when one is full."""
        while table.num_rows:
            if not self.room:
                self.__exit__()
                self.writer = pq.ParquetWriter(self.directory / f"part-{self.part:05}.parquet", SCHEMA)
                self.part, self.room = self.part + 1, self.rows
            assert self.writer is not None
            now = table.slice(0, self.room)
            self.writer.write_table(now)
            self.room -= now.num_rows
            table = table.slice(now.num_rows)


def main() -> None:
    """Make ratings and print the manifest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=float, default=20e6, help="how many [20e6]")
    parser.add_argument("--users", type=int, help="how many; one for 145 ratings when not given")
    parser.add_argument("--movies", type=int, help="how many; 27 thousand times the root of ratings / 20e6")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows-a-part", type=int, default=2_000_000, help="ratings in a Parquet part [2000000]")
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    asked = parser.parse_args()
    started, (users, movies) = time.monotonic(), sizes(int(asked.ratings))
    try:
        truth = Truth.drawn(int(asked.ratings), asked.users or users, asked.movies or movies, asked.seed)
    except ValueError as error:
        parser.error(str(error))
    manifest = write(truth, asked.out, asked.rows_a_part)
    sys.stdout.write(json.dumps(manifest, indent=1) + f"\n{time.monotonic() - started:.1f} s\n")


if __name__ == "__main__":
    main()

"""What the parts of a run cost in bytes and seconds, by the number of ratings, users and movies.

Bytes are those of the arrays that a part keeps at its peak, as docs/performance.md lists them. Seconds and steps were
measured by benchmarks/scale.py (benchmarks/results/scale/scale.json), on a machine of `MEASURED`.
"""

from dataclasses import dataclass

from reelgraph.data.counting import Size


@dataclass(frozen=True)
class Cost:
    """A sum: a constant, and so much for each rating, each node, each number of a table, of messages, and each pair.

    A table has a row of `dim` numbers a node, messages have one a rating; a pair is one of a user and a movie.
    """

    fixed: float = 0.0
    rating: float = 0.0
    node: float = 0.0
    number: float = 0.0
    message: float = 0.0
    pair: float = 0.0

    def of(self, size: Size, dim: int = 0) -> float:
        """The cost of a size with states of `dim` numbers."""
        by_rating = size.ratings * (self.rating + self.message * dim)
        by_node = size.nodes * (self.node + self.number * dim)
        return self.fixed + by_rating + by_node + self.pair * size.users * size.movies


@dataclass(frozen=True)
class Head:
    """What a fit of one kind of model costs.

    Attributes:
        model: bytes of its tables: parameters, gradients, moments, running average, best and live ones.
        step: bytes of the arrays of one step.
        look: bytes of a look at the validation ratings.
        kept: bytes of what stays when the fit is over.
        seconds: of one step.
        best: steps until the best one.
    """

    model: Cost
    step: Cost
    look: Cost
    kept: Cost
    seconds: Cost
    best: int

    def bytes(self, size: Size, dim: int) -> float:
        """What a fit keeps while it runs, apart from the look at the validation ratings."""
        return self.model.of(size, dim) + self.step.of(size, dim)


@dataclass(frozen=True)
class Speed:
    """How fast a machine is: rows that one thread gathers a second (`capacity.gathers`), and its threads."""

    gathers: float
    threads: int

    def seconds(self, measured: float) -> float:
        """What took `measured` seconds on the machine of the measurements."""
        return measured * (MEASURED.gathers * MEASURED.threads) / (self.gathers * self.threads)


MEASURED = Speed(1.68e8, 2)

# With the usual shares of validation (9 %) and test ratings (10 %), of all ratings.
TRAINED = 0.81
DATA = Cost(fixed=4.2e8, rating=20, node=450)  # libraries; indices, ratings, times; ids
LOAD = Cost(rating=80)  # the file as Arrow reads it, given back afterwards
GRAPH = Cost(rating=23)  # of the training ratings
AGAIN = Cost(rating=43)  # training and validation ratings as one, and their graph, for each head
JUDGE = Cost(fixed=1.5e8, rating=71, number=110)  # exported tables, seen ratings with residuals, biases in float64
LOAD_SECONDS, JUDGE_SECONDS = Cost(rating=1.2e-7), Cost(fixed=2.0, rating=2.5e-6)
HEADS = {
    "residual": Head(
        model=Cost(number=84),
        step=Cost(rating=23, number=110),
        look=Cost(message=0.72),
        kept=Cost(number=48),
        seconds=Cost(4e-3, rating=2.2e-8, message=1.3e-9),
        best=400,
    ),
    "gcn": Head(
        model=Cost(number=28),
        step=Cost(rating=60, number=60, message=80),
        look=Cost(),
        kept=Cost(number=16),
        seconds=Cost(2e-3, message=6e-8),
        best=100,
    ),
    "rank": Head(
        model=Cost(number=60),
        step=Cost(fixed=3.5e8, rating=61, number=19),
        look=Cost(),
        kept=Cost(rating=35, number=10),
        seconds=Cost(3e-2, rating=2.2e-7),
        best=150,
    ),
}
PREPARE, PREPARE_SECONDS = Cost(fixed=3.0e8, rating=76), Cost(fixed=1.5, rating=1e-6)
LISTS = Cost(fixed=2.2e8, rating=12, node=500, number=6)
LISTS_SECONDS = Cost(fixed=1.0, rating=1.5e-7, pair=3.5e-9)

# What the search may take, in plain trainings, and how wide it may make the tables; see `tuning`.
SEARCHED, RANK_SEARCHED = {"none": 0.0, "quick": 2.0, "full": 30.0}, 0.375
WIDER, WIDEST = {"none": 1, "quick": 2, "full": 4}, 128

"""What a run will take: time and memory from the number of ratings, users and movies. No torch.

Memory is the sum of the arrays that a stage keeps at its peak, time that of the numbers it moves; docs/performance.md
says which. The constants of time were measured by benchmarks/scale.py (benchmarks/results/scale/scale.json) and are
scaled by how fast this machine gathers rows and by the threads it has.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from reelgraph.capacity import Memory
from reelgraph.config import TrainConfig
from reelgraph.data.counting import Size
from reelgraph.errors import SetupError


@dataclass(frozen=True)
class Speed:
    """How fast a machine is: rows that one thread gathers a second (`capacity.gathers`), and its threads."""

    gathers: float
    threads: int

    def seconds(self, measured: float) -> float:
        """What took `measured` seconds on the machine of the measurements."""
        return measured * (MEASURED.gathers * MEASURED.threads) / (self.gathers * self.threads)


@dataclass(frozen=True)
class Cost:
    """A sum: a constant, so much for each rating, node, number of a table of node states, and number of a message.

    A table has a row of `dim` numbers a node; a model that stores its messages has such a row for each rating.
    """

    fixed: float = 0.0
    rating: float = 0.0
    node: float = 0.0
    number: float = 0.0
    message: float = 0.0

    def of(self, size: Size, dim: int = 0) -> float:
        """The cost of a size with states of `dim` numbers."""
        by_rating = size.ratings * (self.rating + self.message * dim)
        return self.fixed + by_rating + size.nodes * (self.node + self.number * dim)


@dataclass(frozen=True)
class Head:
    """What a fit of one kind of model costs.

    Attributes:
        model: bytes of its tables: parameters, gradients, moments, running average, best and live ones.
        kept: bytes of them that stay when the fit is over.
        step: bytes of the arrays of one step.
        seconds: of one step, on the machine of the measurements.
        best: steps until the best one with a million ratings.
        decade: more steps with ten times as many.
    """

    model: Cost
    kept: Cost
    step: Cost
    seconds: Cost
    best: float
    decade: float

    def bytes(self, size: Size, dim: int) -> float:
        """What a fit keeps while it runs."""
        return self.model.of(size, dim) + self.step.of(size, dim)


# Bytes at the peak; docs/performance.md derives them. Seconds and steps are measured.
HEADS = {
    "residual": Head(
        model=Cost(number=84),
        kept=Cost(number=48),
        step=Cost(rating=30, number=40),
        seconds=Cost(2e-3, rating=5e-8, message=2.5e-9),
        best=250,
        decade=60,
    ),
    "gcn": Head(
        model=Cost(number=28),
        kept=Cost(number=16),
        step=Cost(rating=60, number=60, message=80),
        seconds=Cost(2e-3, message=6e-8),
        best=100,
        decade=0,
    ),
    "rank": Head(
        model=Cost(number=64),
        kept=Cost(number=32),
        step=Cost(fixed=3e8, rating=30, number=40),
        seconds=Cost(5e-3, rating=3e-7, message=4e-9),
        best=150,
        decade=0,
    ),
}
DATA = Cost(fixed=4.5e8, rating=45, node=500)
GRAPHS = Cost(rating=48)
PREPARE, PREPARE_SECONDS = Cost(fixed=3.0e8, rating=160, node=300), Cost(fixed=1.5, rating=7e-7)
LISTS = Cost(fixed=2.2e8, rating=12, node=500, number=6)
LISTS_SECONDS, LISTS_PAIR_SECONDS = Cost(fixed=1.0, rating=1.5e-7), 5.5e-9  # a pair of a user and a movie
MEASURED = Speed(1.44e8, 2)
# What the search may take, in plain trainings, and how wide it may make the tables; see `tuning`.
SEARCHED, RANK_SEARCHED = {"none": 0.0, "quick": 2.0, "full": 30.0}, 0.375
WIDER, WIDEST = {"none": 1, "quick": 2, "full": 4}, 128


@dataclass(frozen=True)
class Stage:
    """A part of a run.

    Attributes:
        name: for people.
        seconds: expected time; the longest possible where `most`.
        memory: expected peak, in bytes.
        most: whether `seconds` is a limit that the part may stay far below.
    """

    name: str
    seconds: float
    memory: float
    most: bool = False


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Attributes:
        size: what it is over.
        prepare, train, lists: the commands.
        parts: of `train`.
        memory: what there is; None where the system does not tell.
    """

    size: Size
    prepare: Stage
    train: Stage
    parts: tuple[Stage, ...]
    lists: Stage
    memory: Memory | None

    @property
    def fits(self) -> bool:
        """Whether preparing and training fit into the free memory."""
        return self.memory is None or self.train.memory <= self.memory.free

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; memory in bytes."""
        return asdict(self) | {"fits": self.fits}


def plan(size: Size, config: TrainConfig, speed: Speed, memory: Memory | None) -> Plan:
    """What preparation, training and lists for everybody will take.

    Args:
        size: how much there is.
        config: settings of the fit.
        speed: of the machine.
        memory: what there is.
    """
    parts = tuple(_parts(size, config, speed))
    train = Stage("train", sum(part.seconds for part in parts), max(part.memory for part in parts), most=True)
    dims = config.dim + (config.rank_dim if config.ranking else 0)
    prepare = Stage("prepare", speed.seconds(PREPARE_SECONDS.of(size)), PREPARE.of(size))
    lists_seconds = LISTS_SECONDS.of(size) + LISTS_PAIR_SECONDS * size.users * size.movies
    lists = Stage("recommend --all", speed.seconds(lists_seconds), LISTS.of(size, dims))
    return Plan(size, prepare, train, parts, lists, memory)


def _parts(size: Size, config: TrainConfig, speed: Speed) -> Iterator[Stage]:
    """The parts of a training in their order; each holds the data and what the ones before it left."""
    held, again, most = DATA.of(size) + GRAPHS.of(size), 0.0, 0.0
    heads: list[tuple[str, str, TrainConfig, float]] = [("rating head", config.model, config, SEARCHED[config.tune])]
    if config.ranking:
        ranks = config.for_ranking(size.ratings)
        heads.append(("ranking head", "rank", ranks, RANK_SEARCHED * SEARCHED[config.tune]))
    for name, kind, settings, searched in heads:
        head, dim = HEADS[kind], settings.dim
        best = head.best + head.decade * math.log10(size.ratings / 1e6)
        best = min(max(best, settings.eval_every), settings.max_steps)
        steps = min(best + settings.patience * settings.eval_every, settings.max_steps)
        step = speed.seconds(head.seconds.of(size, dim))
        own, refit = head.bytes(size, dim), best * step if config.refit else 0.0
        yield Stage(name, steps * step, held + own)
        held += head.kept.of(size, dim)
        if searched:
            wide = head.bytes(size, _widest(config) if settings is config else dim)
            yield Stage(f"search for the {name}'s settings", searched * (steps * step + refit), held + wide, most=True)
        again, most = again + refit, max(most, own)
    if config.refit:
        yield Stage("refit", again, held + most)


def _widest(config: TrainConfig) -> int:
    """The dimension that the search may come to; it leaves alone what the user gave."""
    if "dim" in config.model_fields_set:
        return config.dim
    return max(config.dim, min(WIDEST, config.dim * WIDER[config.tune]))


def check(size: Size, config: TrainConfig, memory: Memory | None) -> None:
    """Refuse a training that cannot fit into the free memory.

    Raises:
        SetupError: with what is needed, what there is, and what would fit.
    """
    needed = _needed(size, config)
    if memory is None or needed <= memory.free:
        return
    raise SetupError(
        f"train: expected a fit within {gigabytes(memory.free)} of memory (free {memory.where}), found {size}, "
        f"which need about {gigabytes(needed)}",
        f"choose {_remedy(size, config, memory.free)}, or insist with --no-plan-check",
    )


def gigabytes(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:.1f} GB"


def _needed(size: Size, config: TrainConfig) -> float:
    return max(part.memory for part in _parts(size, config, MEASURED))


def _remedy(size: Size, config: TrainConfig, free: float) -> str:
    """Options that make a training fit, each alone or else together, and how many ratings fit without any."""
    options: dict[str, dict[str, Any]] = {"--tune none": {"tune": "none"}, "--no-ranking": {"ranking": False}}
    options |= {f"--dim {dim}": {"dim": dim} for dim in (32, 16, 8) if dim < _widest(config)}
    smaller = {name: config.model_copy(update=update) for name, update in options.items()}
    found = [f"{name} ({gigabytes(_needed(size, one))})" for name, one in smaller.items() if _needed(size, one) <= free]
    if not found:
        together = config.model_copy(
            update={name: value for update in options.values() for name, value in update.items()}
        )
        if _needed(size, together) <= free:
            found = [f"--tune none --no-ranking --dim {together.dim} together ({gigabytes(_needed(size, together))})"]
    low, high = 0.0, 1.0
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if _needed(size.share(middle), config) <= free else (low, middle)
    if low:
        found.append(f"at most {math.floor(low * size.ratings / 1e5) / 10:,} million ratings")
    return ", ".join([*found, "a machine with more memory"])

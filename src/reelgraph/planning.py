"""What a run will take: time and memory from the number of ratings, users and movies. No torch.

Memory is the sum of the arrays that a part keeps at its peak; time is what was measured (`costs`), scaled by how fast
this machine gathers rows and by the threads it has.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelgraph.config import RANK_SEARCHED, SEARCHED, WIDER, WIDEST, DataConfig, TrainConfig
from reelgraph.data import side_tables, sources
from reelgraph.data.dataset import is_prepared, read_manifest
from reelgraph.data.parquet_files import as_text, batches_of, is_parquet, schemas_of
from reelgraph.data.text_files import layout_of, read_text
from reelgraph.errors import DataError, SetupError
from reelgraph.machine import Memory

_NOTHING = pa.nulls(0, pa.string())  # `pa.array` would import pandas


@dataclass(frozen=True)
class Size:
    """How much there is, validation and test included."""

    ratings: int
    users: int
    movies: int

    @property
    def nodes(self) -> int:
        """Users and movies together."""
        return self.users + self.movies

    def share(self, part: float) -> "Size":
        """A part of the ratings, by a part of the users, of the same movies."""
        return Size(round(self.ratings * part), round(self.users * part), self.movies)

    def __str__(self) -> str:
        """For messages."""
        return f"{self.ratings:,} ratings of {self.users:,} users and {self.movies:,} movies"


def size_of(
    ratings: Path | None, items: Path | None, users: Path | None, test: Path | None, config: DataConfig
) -> Size:
    """How much there is in what a training is asked to read: ratings, users, movies.

    Args:
        ratings: a file, a MovieLens folder, a prepared directory, or None for the bundled sample.
        items: a movie table, which counts with movies that nobody rated.
        users: a user table, likewise.
        test: test ratings.
        config: data settings.

    Raises:
        DataError: if a file cannot be read.
    """
    if ratings is not None and is_prepared(ratings):
        counts = read_manifest(ratings)["counts"]
        return Size(*(counts[name] for name in ("ratings", "users", "movies")))
    source = sources.find(ratings, items, users, test)
    count, known = 0, {"user": _NOTHING, "item": _NOTHING}
    for path in (source.ratings, source.test):
        for batch in () if path is None else _ids(path, config.columns):
            count += batch.num_rows
            # Text, as preparation reads it, of the few distinct ones alone.
            known = {
                role: pc.unique(pa.concat_arrays([ids, as_text(pc.unique(batch[role]))])) for role, ids in known.items()
            }
    if not count:
        raise DataError(f"{source.ratings}: expected rows below the header, found none", "check the file")
    listed = {
        "user": 0 if source.users is None else side_tables.read_users(source.users).num_rows,
        "item": 0 if source.items is None else side_tables.read_items(source.items).num_rows,
    }
    found = {role: max(len(ids.drop_null()), listed[role]) for role, ids in known.items()}
    return Size(count, found["user"], found["item"])


def _ids(path: Path, columns: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    """The columns `user` and `item` of a ratings file, chosen as preparation chooses them."""
    roles = ["user", "item"]
    if is_parquet(path):
        found = sources.roles_of(path, schemas_of(path)[0].names, columns, sources.NEEDED)
        names = [found[role] for role in roles]
        batches = batches_of(path, list(dict.fromkeys(names)))
    else:
        layout = layout_of(path)
        chosen = sources.choose_columns(path, layout, columns, sources.NEEDED)
        names = [chosen.roles[role] for role in roles]
        batches = read_text(path, layout, chosen.names, names, chosen.header, lambda _: None)
    for batch in batches:
        yield pa.RecordBatch.from_arrays([batch[name] for name in names], roles)


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
    lists = Stage("recommend --all", speed.seconds(LISTS_SECONDS.of(size)), LISTS.of(size, dims))
    return Plan(size, prepare, train, parts, lists, memory)


def _parts(size: Size, config: TrainConfig, speed: Speed) -> Iterator[Stage]:
    """The parts of a training in their order; each holds the data and what the ones before it left."""
    held = DATA.of(size) * config.processes
    yield Stage("load", speed.seconds(LOAD_SECONDS.of(size)), held + LOAD.of(size))
    held += GRAPH.of(size)
    heads: list[tuple[str, str, TrainConfig, float]] = [("rating head", config.model, config, SEARCHED[config.tune])]
    if config.ranking:
        ranks = config.for_ranking(size.ratings)
        heads.append(("ranking head", "rank", ranks, RANK_SEARCHED * SEARCHED[config.tune]))
    again, most, ratings = 0.0, 0.0, max(1, int(TRAINED * size.ratings))
    for name, kind, settings, searched in heads:
        head, dim = HEADS[kind], settings.dim
        best = min(head.best, settings.max_steps)
        steps = min(best + settings.rates(ratings).patience * settings.eval_every, settings.max_steps)
        step = speed.seconds(head.seconds.of(size, dim))
        own = head.bytes(size, dim)
        refit = settings.refit_steps(ratings, best) * step if config.refit else 0.0
        yield Stage(name, steps * step, held + own + head.look.of(size, dim))
        if searched:
            wide = _widest(config) if settings is config else dim
            tried = head.bytes(size, wide) + head.look.of(size, wide) + head.kept.of(size, dim)
            yield Stage(f"search for the {name}'s settings", searched * (steps * step + refit), held + tried, most=True)
        held += head.kept.of(size, dim)
        again, most = again + refit, max(most, own)
    if config.refit:
        held += AGAIN.of(size) * len(heads)
        yield Stage("refit", again, held + most)
    judged = JUDGE.of(size, config.dim + (config.rank_dim if config.ranking else 0))
    yield Stage("judge and save", speed.seconds(JUDGE_SECONDS.of(size)), held + judged)


def _widest(config: TrainConfig) -> int:
    """The dimension that the search may come to; it leaves alone what the user gave."""
    if "dim" in config.model_fields_set:
        return config.dim
    return max(config.dim, min(WIDEST, config.dim * WIDER[config.tune]))


def elsewhere(config: TrainConfig, engine: str) -> bool:
    """Whether a training's memory is not, or not all, that of this machine."""
    return (config.processes > 1 and engine.startswith("spark://")) or int(os.environ.get("WORLD_SIZE", "1")) > 1


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
    return ", ".join([*found, "a machine with more memory", "several machines (--engine spark://... --processes N)"])

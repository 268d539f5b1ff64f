"""Estimates of the time and memory of a run, from the numbers of ratings, users and movies."""

import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelgraph.config import LIMITS, RACE_RATINGS, RACE_STEPS, TRIALS, DataConfig, TrainConfig
from reelgraph.data import side_tables, sources
from reelgraph.data.dataset import is_prepared, read_manifest
from reelgraph.data.parquet_files import ParquetTable, as_text, batches_of
from reelgraph.data.table_files import open_table
from reelgraph.errors import DataError, SetupError
from reelgraph.machine import Memory

_NO_IDS = pa.nulls(0, pa.string())  # pa.array would import pandas
WIDER = {"none": 1, "quick": 1, "full": 4}  # how many times the search may enlarge the node states
_TRAINED = 0.81  # share of the ratings that the default split trains on


@dataclass(frozen=True)
class Size:
    """Numbers of ratings, users and movies, with validation and test."""

    ratings: int
    users: int
    movies: int

    @property
    def nodes(self) -> int:
        """Users and movies."""
        return self.users + self.movies

    def share(self, part: float) -> "Size":
        """The size of a share of the users with their ratings; all movies stay."""
        return Size(round(self.ratings * part), round(self.users * part), self.movies)

    def __str__(self) -> str:
        return f"{self.ratings:,} ratings of {self.users:,} users and {self.movies:,} movies"


def size_of(
    ratings: Path | None, items: Path | None, users: Path | None, test: Path | None, config: DataConfig
) -> Size:
    """Count the ratings, users and movies in the input of a training; movies and users without ratings count too."""
    if ratings is not None and is_prepared(ratings):
        counts = read_manifest(ratings)["counts"]
        return Size(*(counts[name] for name in ("ratings", "users", "movies")))
    source = sources.find(ratings, items, users, test)
    count, known = 0, {"user": _NO_IDS, "item": _NO_IDS}
    for path in (source.ratings, source.test):
        for batch in () if path is None else _read_ids(path, config):
            count += batch.num_rows
            for role, ids in known.items():
                known[role] = pc.unique(pa.concat_arrays([ids, as_text(pc.unique(batch[role]))]))
    if not count:
        raise DataError(f"{source.ratings}: expected rows below the header, found none", "check the file")
    listed = {
        "user": 0
        if source.users is None
        else side_tables.read_users(
            source.users, columns=config.user_columns, rating_column=config.columns.get("user")
        ).num_rows,
        "item": 0
        if source.items is None
        else side_tables.read_items(
            source.items, columns=config.item_columns, rating_column=config.columns.get("item")
        ).num_rows,
    }
    distinct = {role: max(len(ids.drop_null()), listed[role]) for role, ids in known.items()}
    return Size(count, distinct["user"], distinct["item"])


def _read_ids(path: Path, config: DataConfig) -> Iterator[pa.RecordBatch]:
    """The columns `user` and `item` of a ratings file, found as in preparation."""
    table = open_table(path, matrix=config.matrix)
    chosen = sources.choose_columns(table, config.columns, sources.PAIR if config.implicit else sources.NEEDED)
    names = [chosen.roles["user"], chosen.roles["item"]]
    wanted = list(dict.fromkeys(names))
    if isinstance(table, ParquetTable):
        batches = batches_of(table.files[0], wanted)
    else:
        batches = (block.cells for block in table.blocks(chosen.names, wanted, chosen.header))
    for batch in batches:
        yield pa.RecordBatch.from_arrays([batch[name] for name in names], ["user", "item"])


@dataclass(frozen=True)
class Cost:
    """Bytes or seconds: a constant, and an amount per rating, node, number of a state, number of a message, and pair.

    Every node has a state and every rating a message of `dim` numbers; a pair is a user with a movie.
    """

    fixed: float = 0.0
    rating: float = 0.0
    node: float = 0.0
    number: float = 0.0
    message: float = 0.0
    pair: float = 0.0

    def of(self, size: Size, dim: int = 0) -> float:
        """The cost for a size and dimension."""
        by_rating = size.ratings * (self.rating + self.message * dim)
        by_node = size.nodes * (self.node + self.number * dim)
        return self.fixed + by_rating + by_node + self.pair * size.users * size.movies


@dataclass(frozen=True)
class HeadCost:
    """The cost of fitting a model or a ranking head, in bytes but for the last two fields."""

    model: Cost  # parameters, gradients, moments, running average and best weights
    step: Cost  # the arrays of one step
    validation: Cost  # an evaluation on the validation ratings
    kept: Cost  # what stays after the fit
    seconds: Cost  # of one step
    best: int  # steps until the best one

    def bytes(self, size: Size, dim: int) -> float:
        """The bytes of a running fit, without validation."""
        return self.model.of(size, dim) + self.step.of(size, dim)


@dataclass(frozen=True)
class Speed:
    """The speed of a machine: rows that one thread gathers per second (`machine.gathers`), and threads."""

    gathers: float
    threads: int

    def seconds(self, measured: float) -> float:
        """Seconds on this machine, from those measured on the machine with speed `MEASURED`."""
        return measured * (MEASURED.gathers * MEASURED.threads) / (self.gathers * self.threads)


MEASURED = Speed(1.68e8, 2)
DATA = Cost(fixed=2.9e8, rating=20, node=450)  # libraries; indices, ratings, times; ids
LOAD = Cost(rating=80)  # the file as Arrow reads it, freed afterwards
GRAPH = Cost(rating=23)  # of the training ratings
REFIT = Cost(rating=43)  # training and validation ratings together, and their graph, for each head
EVALUATE = Cost(fixed=1.5e8, rating=71, number=110)  # exported states, seen ratings with residuals, biases
LOAD_SECONDS, EVALUATE_SECONDS = Cost(rating=1.2e-7), Cost(fixed=2.0, rating=2.5e-6)

HEADS = {
    "residual": HeadCost(
        model=Cost(number=84), step=Cost(rating=23, number=110), validation=Cost(message=0.72), kept=Cost(number=60),
        seconds=Cost(4e-3, rating=2.2e-8, message=1.3e-9), best=300,
    ),
    "gcn": HeadCost(
        model=Cost(number=28), step=Cost(rating=60, number=60, message=80), validation=Cost(), kept=Cost(number=16),
        seconds=Cost(2e-3, message=6e-8), best=100,
    ),
    "rank": HeadCost(
        model=Cost(number=60), step=Cost(fixed=5.0e8, rating=61, number=19), validation=Cost(),
        kept=Cost(rating=35, number=10), seconds=Cost(3e-2, rating=2.2e-7), best=60,
    ),
}  # fmt: skip

PREPARE, PREPARE_SECONDS = Cost(fixed=3.0e8, rating=76), Cost(fixed=1.5, rating=1e-6)
LISTS = Cost(fixed=2.2e8, rating=12, node=500, number=6)
LISTS_SECONDS = Cost(fixed=1.0, rating=1.5e-7, pair=3.5e-9)


@dataclass(frozen=True)
class Stage:
    """A command or a part of one, with its expected time and peak memory in bytes."""

    name: str
    seconds: float
    memory: float
    most: bool = False  # whether `seconds` is an upper limit


@dataclass(frozen=True)
class Plan:
    """The expected time and memory of preparing, training and listing."""

    size: Size
    prepare: Stage
    train: Stage
    parts: tuple[Stage, ...]  # of `train`
    lists: Stage
    memory: Memory | None  # of this machine; None if unknown

    @property
    def fits(self) -> bool:
        """Whether training fits in free memory."""
        return self.memory is None or self.train.memory <= self.memory.free

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; memory in bytes."""
        return asdict(self) | {"fits": self.fits}


def plan(size: Size, config: TrainConfig, speed: Speed, memory: Memory | None) -> Plan:
    """Estimate the time and memory of preparing, training and listing."""
    parts = tuple(_parts(size, config, speed))
    train = Stage("train", sum(part.seconds for part in parts), max(part.memory for part in parts), most=True)
    prepare = Stage("prepare", speed.seconds(PREPARE_SECONDS.of(size)), PREPARE.of(size))
    lists = Stage("recommend --all", speed.seconds(LISTS_SECONDS.of(size)), LISTS.of(size, _dims(size, config)))
    return Plan(size, prepare, train, parts, lists, memory)


def _parts(size: Size, config: TrainConfig, speed: Speed) -> Iterator[Stage]:
    """The parts of a training in order; each adds to the memory that the data and earlier parts hold."""
    held = DATA.of(size) * config.processes
    yield Stage("load", speed.seconds(LOAD_SECONDS.of(size)), held + LOAD.of(size))
    held += GRAPH.of(size)
    heads = []
    if config.model != "ranking":
        left_out = config.tune == "quick" and _TRAINED * size.ratings >= RACE_RATINGS
        trials = 0 if left_out else TRIALS[config.tune]
        heads.append(("rating head", HEADS[config.model], config, trials, _widest(size, config)))
    if config.ranking:
        ranking = config.for_ranking(size.ratings)
        heads.append(("ranking head", HEADS["rank"], ranking, TRIALS["full"] * (config.tune == "full"), ranking.dim))
    refit_seconds, refit_memory = 0.0, 0.0
    for name, head, settings, trials, widest in heads:
        rates = settings.rates(size.ratings)
        dim, best = rates.dim, min(head.best, rates.max_steps)
        steps = min(best + rates.patience * settings.eval_every, rates.max_steps)
        step = speed.seconds(head.seconds.of(size, dim))
        again = (
            best if head is HEADS["rank"] else settings.refit_steps(best, size.ratings)
        )  # the ranking head is fitted anew
        refit = again * step if config.refit else 0.0
        yield Stage(name, steps * step, held + head.bytes(size, dim) + head.validation.of(size, dim))
        if trials:
            trial = head.bytes(size, widest) + head.validation.of(size, widest) + 2 * head.kept.of(size, dim)
            each = RACE_STEPS if config.tune == "quick" else steps
            yield Stage(f"search for the {name}'s settings", trials * each * step, held + trial, most=True)
        held += head.kept.of(size, dim)
        refit_seconds, refit_memory = refit_seconds + refit, max(refit_memory, head.bytes(size, dim))
    if config.refit:
        held += REFIT.of(size) * len(heads)
        yield Stage("refit", refit_seconds, held + refit_memory)
    yield Stage(
        "evaluate and save", speed.seconds(EVALUATE_SECONDS.of(size)), held + EVALUATE.of(size, _dims(size, config))
    )


def _dims(size: Size, config: TrainConfig) -> int:
    own = config.rates(size.ratings).dim * (config.model != "ranking")
    return own + (config.for_ranking(size.ratings).dim if config.ranking else 0)


def _widest(size: Size, config: TrainConfig) -> int:
    """The largest dimension that the search tries; one set by the user is kept."""
    dim = config.rates(size.ratings).dim
    if "dim" in config.model_fields_set:
        return dim
    return max(dim, min(int(LIMITS["dim"][1]), dim * WIDER[config.tune]))


def elsewhere(config: TrainConfig, engine: str) -> bool:
    """Whether a training uses the memory of other machines."""
    return (config.processes > 1 and engine.startswith("spark://")) or int(os.environ.get("WORLD_SIZE", "1")) > 1


def check(size: Size, config: TrainConfig, memory: Memory | None) -> None:
    """Refuse a training that does not fit in free memory, and say what would fit."""
    needed = _needed(size, config)
    if memory is None or needed <= memory.free:
        return
    problem = f"train: expected a training within {gigabytes(memory.free)} of memory (free {memory.where}), "
    problem += f"found {size}, which need about {gigabytes(needed)}"
    raise SetupError(problem, f"choose {_remedy(size, config, memory.free)}, or train anyway with --no-plan-check")


def gigabytes(size: float) -> str:
    """Bytes as text."""
    return f"{size / 1e9:.1f} GB"


def _needed(size: Size, config: TrainConfig) -> float:
    return max(part.memory for part in _parts(size, config, MEASURED))


def _remedy(size: Size, config: TrainConfig, free: float) -> str:
    """Options that make a training fit, alone or together, and the number of ratings that fits without."""
    changes: dict[str, dict[str, Any]] = {"--tune none": {"tune": "none"}, "--no-ranking": {"ranking": False}}
    changes |= {f"--dim {dim}": {"dim": dim} for dim in (32, 16, 8) if dim < _widest(size, config)}
    together: dict[str, Any] = {name: value for change in changes.values() for name, value in change.items()}
    all_options = f"--tune none --no-ranking --dim {together.get('dim', config.rates(size.ratings).dim)} together"
    remedies: list[str] = []
    for name, change in (*changes.items(), (all_options, together)):
        needed = _needed(size, config.model_copy(update=change))
        if needed <= free and not (change is together and remedies):
            remedies.append(f"{name} ({gigabytes(needed)})")
    low, high = 0.0, 1.0
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if _needed(size.share(middle), config) <= free else (low, middle)
    if low:
        remedies.append(f"at most {math.floor(low * size.ratings / 1e5) / 10:,} million ratings")
    return ", ".join([*remedies, "a machine with more memory", "several machines (--engine spark://... --processes N)"])

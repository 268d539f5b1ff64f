"""What a run will take: time and memory from the number of ratings, users and movies. No torch.

Memory is the sum of the arrays that a part keeps at its peak; time is what was measured (`costs`), scaled by how fast
this machine gathers rows and by the threads it has.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from reelgraph import costs
from reelgraph.capacity import Memory
from reelgraph.config import TrainConfig
from reelgraph.costs import MEASURED, Speed
from reelgraph.data.counting import Size
from reelgraph.errors import SetupError


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
    prepare = Stage("prepare", speed.seconds(costs.PREPARE_SECONDS.of(size)), costs.PREPARE.of(size))
    lists = Stage("recommend --all", speed.seconds(costs.LISTS_SECONDS.of(size)), costs.LISTS.of(size, dims))
    return Plan(size, prepare, train, parts, lists, memory)


def _parts(size: Size, config: TrainConfig, speed: Speed) -> Iterator[Stage]:
    """The parts of a training in their order; each holds the data and what the ones before it left."""
    held = costs.DATA.of(size) * config.processes
    yield Stage("load", speed.seconds(costs.LOAD_SECONDS.of(size)), held + costs.LOAD.of(size))
    held += costs.GRAPH.of(size)
    heads: list[tuple[str, str, TrainConfig, float]] = [
        ("rating head", config.model, config, costs.SEARCHED[config.tune])
    ]
    if config.ranking:
        ranks = config.for_ranking(size.ratings)
        heads.append(("ranking head", "rank", ranks, costs.RANK_SEARCHED * costs.SEARCHED[config.tune]))
    again, most, ratings = 0.0, 0.0, max(1, int(costs.TRAINED * size.ratings))
    for name, kind, settings, searched in heads:
        head, dim = costs.HEADS[kind], settings.dim
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
        held += costs.AGAIN.of(size) * len(heads)
        yield Stage("refit", again, held + most)
    judged = costs.JUDGE.of(size, config.dim + (config.rank_dim if config.ranking else 0))
    yield Stage("judge and save", speed.seconds(costs.JUDGE_SECONDS.of(size)), held + judged)


def _widest(config: TrainConfig) -> int:
    """The dimension that the search may come to; it leaves alone what the user gave."""
    if "dim" in config.model_fields_set:
        return config.dim
    return max(config.dim, min(costs.WIDEST, config.dim * costs.WIDER[config.tune]))


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

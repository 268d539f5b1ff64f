"""One process of a training in several: it meets the others, takes its part, and the leader tells how it gets on.

Every process runs `training.fit.take_part` over the same Prepared directory; `Shard` says which users are its own.
They meet by the environment variables of torchrun, whoever has set them.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from reelgraph.config import TrainConfig
from reelgraph.data.dataset import load_prepared
from reelgraph.errors import ReelgraphError, StoppedError, TrainingError
from reelgraph.models.shard import place
from reelgraph.recommend.recommender import Recommender
from reelgraph.training.fit import take_part
from reelgraph.training.loop import Progress
from reelgraph.training.runner import Checkpoints, Observe

MARK = "@reelgraph "  # begins the lines that the leader tells the launcher

EVERY = 0.2  # seconds between two of them

GONE = 75  # exit code of a process that has lost another one

PATIENCE = timedelta(hours=24)  # a dead process is noticed by its connection, a slow one is waited for


@dataclass(frozen=True)
class Job:
    """What each process is told.

    Attributes:
        prepared: the Prepared directory, seen by every process.
        out: the model directory that the leader writes.
        config: settings, those that were given and no others.
        checkpoints: directory of the checkpoints, seen by the leader, and when resumed by every process.
        resume: go on from them.
    """

    prepared: str
    out: str
    config: dict[str, Any]
    checkpoints: str
    resume: bool


def launched() -> bool:
    """Whether this process was started as one of several, by torchrun or alike."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined() -> Iterator[None]:
    """Meet the other processes, if this one was started as one of several.

    Collectives of CPU tensors run on gloo; where there are GPUs, those of CUDA tensors on nccl.

    Raises:
        TrainingError: if another process is gone.
    """
    if not launched():
        yield
        return
    import torch.distributed as dist  # noqa: PLC0415 (only where there are several)

    backend = "cpu:gloo,cuda:nccl" if dist.is_nccl_available() and _has_gpu() else "gloo"
    meeting = os.environ.get("REELGRAPH_MEETING")
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        dist.init_process_group(backend, init_method=meeting or "env://", rank=rank, world_size=size, timeout=PATIENCE)
        with _silence() if rank else nullcontext():
            yield
    except RuntimeError as error:
        if not _is_loss(error):
            raise
        raise LostError(
            f"training: expected {size} processes to the end, found one gone", "run it again with --resume"
        ) from None
    finally:
        with suppress(Exception):
            dist.destroy_process_group()


class LostError(TrainingError):
    """Another process of the training has died."""


@contextmanager
def _silence() -> Iterator[None]:
    """Several processes do alike; one of them speaks."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _has_gpu() -> bool:
    import torch  # noqa: PLC0415

    return torch.cuda.is_available()


def _is_loss(error: BaseException) -> bool:
    text = str(error).lower()
    return any(word in text for word in ("gloo", "nccl", "connection", "socket", "peer", "broken pipe", "tcpstore"))


def fit_and_write(
    prepared: Path, out: Path, config: TrainConfig, checkpoints: Checkpoints, observe: Observe
) -> Recommender | None:
    """This process's part of a training on a Prepared directory; the leader, or the only one, writes and returns it."""
    model = take_part(load_prepared(prepared), config, observe=observe, checkpoints=checkpoints)
    if model is not None:
        model.save(out)
    return model


def work(job: Job, tell: Callable[[dict[str, Any]], None]) -> None:
    """One process's part; the leader writes the model and tells of its steps."""
    with joined():
        told = 0.0

        def observe(phase: str, progress: Progress, config: TrainConfig) -> None:
            nonlocal told
            if place()[0] == 0 and (time.monotonic() - told >= EVERY or progress.step in {1, config.max_steps}):
                told = time.monotonic()
                lines = [progress.best_evaluation, progress.history[-1]] if progress.history else []
                tell({
                    "phase": phase, "step": progress.step, "best_step": progress.best_step, "seconds": progress.seconds,
                    "history": [asdict(line) for line in lines], "max_steps": config.max_steps,
                })  # fmt: skip

        checkpoints = Checkpoints(Path(job.checkpoints), job.resume)
        fit_and_write(Path(job.prepared), Path(job.out), TrainConfig(**job.config), checkpoints, observe)


def on_worker(job: dict[str, Any]) -> None:
    """The function that TorchDistributor runs in each process."""
    code = _run(Job(**job))
    if code:
        sys.exit(code)


def _tell(found: dict[str, Any]) -> None:
    sys.stdout.write(f"{MARK}{json.dumps(found)}\n")
    sys.stdout.flush()


def _run(job: Job) -> int:
    """One process from start to end; its exit code."""
    try:
        work(job, _tell)
    except LostError:
        return GONE
    except ReelgraphError as error:
        stopped = isinstance(error, StoppedError)
        _tell({"error": error.problem, "remedy": error.remedy, "stopped": stopped})
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(_run(Job(**json.loads(sys.argv[1]))))

"""One process of a distributed training, under `train --processes`, torchrun or Spark's TorchDistributor."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from reelgraph.config import TrainConfig
from reelgraph.data.dataset import load_prepared
from reelgraph.errors import ReelgraphError, StoppedError, TrainingError
from reelgraph.recommend.recommender import Recommender
from reelgraph.training.fit import take_part
from reelgraph.training.loop import Progress
from reelgraph.training.runner import Checkpoints, Observe

MARK = "@reelgraph "  # begins the lines of stdout that are messages to the launcher
MESSAGE_SECONDS = 0.2  # least time between two messages about steps
PEER_LOST = 75  # exit code of a process whose peer has died
TIMEOUT = timedelta(hours=24)  # dead peers close their connections; slow ones are waited for


@dataclass(frozen=True)
class ProcessJob:
    """What the launcher passes to each process, as JSON."""

    prepared: str  # visible to every process
    out: str  # written by rank 0
    config: dict[str, Any]  # the settings that the user gave
    checkpoints: str  # visible to rank 0, and to every process when resumed
    resume: bool


class PeerLostError(TrainingError):
    """Another process of the training has died."""


def is_launched() -> bool:
    """Whether this process was started as one of several, by `launch`, torchrun or TorchDistributor."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined() -> Iterator[None]:
    """Join the process group if this is one of several processes; only rank 0 prints."""
    if not is_launched():
        yield
        return
    import torch.distributed as dist  # noqa: PLC0415 (slow to import)

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    rendezvous = os.environ.get("REELGRAPH_RENDEZVOUS", "env://")
    try:
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=size, timeout=TIMEOUT)
        with _silenced() if rank else nullcontext():
            yield
    except RuntimeError as error:
        if not any(word in str(error).lower() for word in ("gloo", "connection", "socket", "peer", "broken pipe")):
            raise
        raise PeerLostError(
            f"training: expected {size} processes to the end, found one gone", "run it again with --resume"
        ) from None
    finally:
        with suppress(Exception):
            dist.destroy_process_group()


@contextmanager
def _silenced() -> Iterator[None]:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def fit_and_write(
    prepared: Path, out: Path, config: TrainConfig, checkpoints: Checkpoints, observe: Observe
) -> Recommender | None:
    """Run this process's part of a training on a prepared directory; rank 0 writes and returns the model."""
    model = take_part(load_prepared(prepared), config, observe=observe, checkpoints=checkpoints)
    if model is not None:
        model.save(out)
        checkpoints.remove(model.artifact)
    return model


def run(job: ProcessJob) -> int:
    """Run one process from start to end; returns its exit code."""
    checkpoints = Checkpoints(Path(job.checkpoints), job.resume)
    try:
        with joined():
            fit_and_write(
                Path(job.prepared), Path(job.out), TrainConfig(**job.config), checkpoints, _message_observer()
            )
    except PeerLostError:
        return PEER_LOST
    except ReelgraphError as error:
        stopped = isinstance(error, StoppedError)
        _send({"error": error.problem, "remedy": error.remedy, "stopped": stopped})
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def run_on_spark(job: dict[str, Any]) -> None:
    """Run one process of TorchDistributor."""
    code = run(ProcessJob(**job))
    if code:
        sys.exit(code)


def _message_observer() -> Observe:
    """An observer that sends the progress to the launcher every so often, from rank 0."""
    sent = 0.0

    def observe(phase: str, progress: Progress, config: TrainConfig) -> None:
        nonlocal sent
        if os.environ["RANK"] == "0" and (
            time.monotonic() - sent >= MESSAGE_SECONDS or progress.step in {1, config.max_steps}
        ):
            sent = time.monotonic()
            history = [progress.best_evaluation, progress.history[-1]] if progress.history else []
            _send({
                "phase": phase, "step": progress.step, "best_step": progress.best_step, "seconds": progress.seconds,
                "history": [asdict(evaluation) for evaluation in history], "max_steps": config.max_steps,
            })  # fmt: skip

    return observe


def _send(message: dict[str, Any]) -> None:
    sys.stdout.write(f"{MARK}{json.dumps(message)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run(ProcessJob(**json.loads(sys.argv[1]))))

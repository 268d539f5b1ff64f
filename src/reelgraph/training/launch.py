"""Launches the processes of a training: with PyTorch's elastic launcher on this machine, TorchDistributor on Spark."""

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict
from io import TextIOBase
from pathlib import Path
from typing import Any, TextIO

from reelgraph.config import TrainConfig
from reelgraph.engines.engine import open_engine
from reelgraph.errors import StoppedError, TrainingError
from reelgraph.files import output_errors
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.training.loop import Evaluation, Progress
from reelgraph.training.process import MARK, PEER_LOST, ProcessJob, fit_and_write, is_launched, run_on_spark
from reelgraph.training.runner import Checkpoints, Observe

RESUME = "checkpoints are complete: run it again with --resume"


def train(
    prepared: Path, out: Path, config: TrainConfig, checkpoints: Checkpoints, engine: str, observe: Observe
) -> Recommender | None:
    """Train in as many processes as the settings say, and write the model; `spark://host:port` trains on its workers.

    Every process must see the directories `prepared` and `out`. Returns the model; None in a process that was launched
    as one of several and is not rank 0.
    """
    if config.processes == 1 or is_launched():
        return fit_and_write(prepared, out, config, checkpoints, observe)
    given = config.model_dump(mode="json", include=config.model_fields_set - {"processes"})
    directory = checkpoints.directory.absolute()
    job = ProcessJob(str(prepared.absolute()), str(out.absolute()), given, str(directory), checkpoints.resume)
    if engine.startswith("spark://"):
        _launch_on_spark(job, config, engine, observe)
    else:
        _launch_here(job, config, observe)
    return open_model(out)


@contextmanager
def prepared_place(config: TrainConfig, checkpoints: Checkpoints, stage: Path | None) -> Iterator[Path]:
    """A path for a prepared directory: beside the checkpoints where other processes have to find it."""
    if config.processes > 1 and not is_launched():
        with output_errors(checkpoints.directory):
            checkpoints.directory.mkdir(parents=True, exist_ok=True)
        yield checkpoints.directory / "prepared"
        return
    with tempfile.TemporaryDirectory(prefix="reelgraph-", dir=stage) as directory:
        yield Path(directory) / "prepared"


class _Messages(TextIOBase):
    """A stream in place of stdout or stderr that takes messages of the processes out of their output."""

    def __init__(self, observe: Observe, config: TrainConfig, log: TextIO | None = None) -> None:
        self.observe, self.config, self.log = observe, config, log
        self.error: dict[str, Any] | None = None
        self.rest, self.terminal = "", sys.stderr

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            if line.startswith(MARK):
                self._receive(json.loads(line.removeprefix(MARK)))
            elif self.log is not None:  # without a log, other lines are dropped
                self.log.write(line + "\n")
        return len(text)

    def _receive(self, message: dict[str, Any]) -> None:
        if "error" in message:
            self.error = message
            return
        history = [Evaluation(**row) for row in message["history"]]
        progress = Progress(message["step"], {}, {}, message["best_step"], history, message["seconds"])
        with redirect_stderr(self.terminal):
            self.observe(message["phase"], progress, self.config.model_copy(update={"max_steps": message["max_steps"]}))

    def raise_error(self) -> None:
        """Raise the error that a process ended with, if it sent one."""
        if self.error is not None:
            kind = StoppedError if self.error["stopped"] else TrainingError
            raise kind(self.error["error"], self.error["remedy"])


def _launch_here(job: ProcessJob, config: TrainConfig, observe: Observe) -> None:
    """Run the processes on this machine; they share its cores unless OMP_NUM_THREADS is set.

    They meet in a file: the store of torchrun's own rendezvous would listen on every network interface.
    """
    from torch.distributed.elastic import multiprocessing as elastic  # noqa: PLC0415 (slow to import)

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    directory, ranks, messages = Path(job.checkpoints), range(config.processes), _Messages(observe, config)
    shutil.rmtree(directory / "logs", ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="rendezvous-", dir=directory) as meeting, _signals():
        common = {
            "WORLD_SIZE": str(config.processes),
            "OMP_NUM_THREADS": threads_of(config.processes),
            "REELGRAPH_RENDEZVOUS": f"file://{meeting}/store",
            "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo"),
            "TORCH_CPP_LOG_LEVEL": "ERROR",
        }
        with redirect_stdout(messages):
            context = elastic.start_processes(
                "process",
                sys.executable,
                {rank: ("-m", "reelgraph.training.process", json.dumps(asdict(job))) for rank in ranks},
                {rank: common | {"RANK": str(rank)} for rank in ranks},
                elastic.DefaultLogsSpecs(str(directory / "logs"), redirects=elastic.Std.ALL, tee=elastic.Std.OUT),
                dict.fromkeys(ranks, ""),
            )
        try:
            result = context.wait(period=0.05)
        except elastic.SignalException as error:
            sys.exit(128 + error.sigval)
        finally:
            context.close()
    assert result is not None
    codes = {rank: failure.exitcode for rank, failure in result.failures.items()}
    if 130 in codes.values():
        raise KeyboardInterrupt
    messages.raise_error()
    if codes:
        raise TrainingError(_describe_death(codes, result.stderrs, config.processes), RESUME)


def threads_of(processes: int) -> str:
    """OMP_NUM_THREADS of each process: as the user set it, else an equal share of the cores."""
    return os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))


@contextmanager
def _signals() -> Iterator[None]:
    """Leave Ctrl-C to the processes, which end their step and keep the best model; SIGTERM ends all of them."""
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGTERM"
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _describe_death(codes: dict[int, int], logs: dict[int, str], processes: int) -> str:
    """The process that died first, and how; others end because it did."""
    consequences = (PEER_LOST, -signal.SIGTERM)
    rank = min(codes, key=lambda rank: (codes[rank] in consequences, codes[rank]))
    how = f"killed by {signal.Signals(-codes[rank]).name}" if codes[rank] < 0 else f"exit code {codes[rank]}"
    last = Path(logs[rank]).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    cause = f" ({last[0]})" if last and codes[rank] > 0 else ""
    return f"training: expected {processes} processes to the end, found process {rank} gone: {how}{cause}"


def _launch_on_spark(job: ProcessJob, config: TrainConfig, engine: str, observe: Observe) -> None:
    """Run the processes on the workers of a cluster, one in each task of a barrier stage."""
    log = Path(job.checkpoints) / "processes.log"
    with open_engine(engine), log.open("w", encoding="utf-8") as file:
        from pyspark.ml.torch.distributor import TorchDistributor  # noqa: PLC0415 (an optional dependency)

        messages = _Messages(observe, config, file)
        try:
            with redirect_stderr(messages):
                distributor = TorchDistributor(num_processes=config.processes, local_mode=False, use_gpu=False)
                distributor.run(run_on_spark, asdict(job))
        except Exception as error:
            messages.raise_error()
            file.flush()
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            cause = next((line for line in reversed(lines) if "Error" in line), str(error).splitlines()[0])
            raise TrainingError(
                f"training: expected {config.processes} processes on {engine} to the end, "
                f"found one gone ({cause.strip()})",
                f"{RESUME}; try reelgraph doctor --engine {engine}",
            ) from None
        messages.raise_error()

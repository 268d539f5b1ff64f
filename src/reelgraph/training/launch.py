"""Starts the processes of a training: on this machine, or on the workers of a Spark cluster.

Whoever starts them waits for them: the leader tells of its steps, and a process that dies ends the training with one
line that says which and how.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from reelgraph.config import TrainConfig
from reelgraph.engines.engine import open_engine
from reelgraph.errors import StoppedError, TrainingError
from reelgraph.files import output_errors
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.training.loop import Evaluation, Progress
from reelgraph.training.process import GONE, MARK, Job, fit_and_write, launched, on_worker
from reelgraph.training.runner import Checkpoints, Observe

GRACE = 15.0  # seconds that the others have to end after one has died


def train(
    prepared: Path, out: Path, config: TrainConfig, checkpoints: Checkpoints, engine: str, observe: Observe
) -> Recommender | None:
    """Train on a Prepared directory, in as many processes as the settings say, and write the model.

    Args:
        prepared: the ratings; every process must see the directory.
        out: the model directory, likewise.
        config: settings.
        checkpoints: where checkpoints are kept.
        engine: whose workers: "spark://host:port"; with any other engine it is this machine's own processes.
        observe: called with every step, or with what the leader tells of its steps.

    Returns:
        The model; None in a process that was started as one of several and does not lead them.

    Raises:
        TrainingError: if a process dies; checkpoints are left as they were.
        ReelgraphError: what the leader ended with.
    """
    if config.processes > 1 and not launched():
        chosen = config.model_dump(mode="json", include=config.model_fields_set - {"processes"})
        directory = str(checkpoints.directory.absolute())
        job = Job(str(prepared.absolute()), str(out.absolute()), chosen, directory, checkpoints.resume)
        told = _Told(observe, config)
        (_on_spark if engine.startswith("spark://") else _here)(job, config.processes, engine, told)
        told.settle()
        return open_model(out)
    return fit_and_write(prepared, out, config, checkpoints, observe)


@contextmanager
def room(config: TrainConfig, checkpoints: Checkpoints, stage: Path | None) -> Iterator[Path]:
    """A place for a Prepared directory: beside the checkpoints where other processes are to find it."""
    if config.processes > 1 and not launched():
        with output_errors(checkpoints.directory):
            checkpoints.directory.mkdir(parents=True, exist_ok=True)
        yield checkpoints.directory / "prepared"
        return
    with tempfile.TemporaryDirectory(prefix="reelgraph-", dir=stage) as directory:
        yield Path(directory) / "prepared"


class _Told:
    """What the leader has told so far."""

    def __init__(self, observe: Observe, config: TrainConfig) -> None:
        self.observe, self.config, self.error = observe, config, None

    def hear(self, line: str) -> bool:
        """Take a line of the leader's; whether it was one for us."""
        if not line.startswith(MARK):
            return False
        found = json.loads(line.removeprefix(MARK))
        if "error" in found:
            self.error = found
        else:
            history = [Evaluation(**each) for each in found["history"]]
            progress = Progress(found["step"], {}, {}, found["best_step"], history, found["seconds"])
            self.observe(found["phase"], progress, self.config.model_copy(update={"max_steps": found["max_steps"]}))
        return True

    def settle(self) -> None:
        """Raise what the leader ended with, if it was an error."""
        if self.error is not None:
            kind = StoppedError if self.error["stopped"] else TrainingError
            raise kind(self.error["error"], self.error["remedy"])


def _here(job: Job, processes: int, engine: str, told: _Told) -> None:  # noqa: ARG001 (as `_on_spark`)
    """Run the processes on this machine, their cores shared out evenly unless the user set OMP_NUM_THREADS."""
    directory = Path(job.checkpoints)
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    meeting = directory / f"meeting-{os.getpid()}-{time.monotonic_ns()}"
    common = os.environ | {
        "WORLD_SIZE": str(processes), "OMP_NUM_THREADS": threads, "REELGRAPH_MEETING": f"file://{meeting}",
        "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", loopback), "TORCH_CPP_LOG_LEVEL": "ERROR",
    }  # fmt: skip
    command = [sys.executable, "-m", "reelgraph.training.process", json.dumps(asdict(job))]
    logs = [directory / f"process-{rank}.log" for rank in range(processes)]
    running = []
    try:
        for rank, log in enumerate(logs):
            with log.open("wb") as errors:
                out = subprocess.PIPE if rank == 0 else subprocess.DEVNULL
                running.append(
                    subprocess.Popen(  # noqa: S603 (this interpreter)
                        command, env=common | {"RANK": str(rank)}, stdout=out, stderr=errors, text=True
                    )
                )
        listener = threading.Thread(target=_listen, args=(running[0].stdout, told), daemon=True)
        listener.start()
        # Ctrl-C reaches the processes by themselves: they end their step, keep the best, and this one waits for them.
        codes = _wait(running)
        listener.join(GRACE)
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
            process.wait()
        meeting.unlink(missing_ok=True)
    _judge(codes, logs, told)


def _listen(lines: TextIO | None, told: _Told) -> None:
    for line in lines or ():
        told.hear(line)


def _wait(running: list["subprocess.Popen[str]"]) -> list[int]:
    """Exit codes of all processes; once one has died, the others are ended after a while."""
    previous = signal.getsignal(signal.SIGINT)
    with suppress(ValueError):  # Not the main thread.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        died: float | None = None
        while any(process.poll() is None for process in running):
            if died is None and any(process.poll() not in {None, 0} for process in running):
                died = time.monotonic()
            if died is not None and time.monotonic() - died > GRACE:
                for process in running:
                    if process.poll() is None:
                        process.kill()
                        process.wait()
                        process.returncode = GONE
            time.sleep(0.02)
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGINT, previous)
    return [process.returncode for process in running]


def _judge(codes: list[int], logs: list[Path], told: _Told) -> None:
    """Raise for processes that did not end well, the cause before its consequences."""
    bad = [rank for rank, code in enumerate(codes) if code not in {0, GONE}]
    if not any(codes) or (told.error is not None and not any(codes[rank] < 0 for rank in bad)):
        return
    if 130 in codes:
        raise KeyboardInterrupt
    rank = next((rank for rank in bad if codes[rank] < 0), bad[0] if bad else 0)
    how = f"killed by {signal.Signals(-codes[rank]).name}" if codes[rank] < 0 else f"exit code {codes[rank]}"
    last = logs[rank].read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if codes[rank] > 0 else []
    cause = f" ({last[0]})" if last else ""
    raise TrainingError(
        f"training: expected {len(codes)} processes to the end, found process {rank} gone: {how}{cause}",
        "checkpoints are whole: run it again with --resume",
    )


def _on_spark(job: Job, processes: int, engine: str, told: _Told) -> None:
    """Run the processes on the workers of a cluster, one a task of a barrier stage."""
    log = Path(job.checkpoints) / "processes.log"
    with open_engine(engine), log.open("w", encoding="utf-8") as file:
        from pyspark.ml.torch.distributor import TorchDistributor  # noqa: PLC0415 (Spark alone needs it)

        try:
            with redirect_stderr(_Filter(told, file)):
                distributor = TorchDistributor(num_processes=processes, local_mode=False, use_gpu=False)
                distributor.run(on_worker, asdict(job))
        except Exception as error:
            if told.error is not None:  # `train` raises it.
                return
            text = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            cause = next((line for line in reversed(text) if "Error" in line), str(error).splitlines()[0])
            raise TrainingError(
                f"training: expected {processes} processes on {engine} to the end, found one gone ({cause.strip()})",
                f"checkpoints are whole: run it again with --resume; try reelgraph doctor --engine {engine}",
            ) from None


class _Filter:
    """In place of stderr: what the leader tells goes on, all other output of the workers into a file."""

    def __init__(self, told: _Told, file: TextIO) -> None:
        self.told, self.file, self.part, self.terminal = told, file, "", sys.stderr

    def write(self, text: str) -> int:
        *lines, self.part = (self.part + text).split("\n")
        for line in lines:
            with redirect_stderr(self.terminal):  # where progress is shown
                heard = self.told.hear(line)
            if not heard:
                self.file.write(line + "\n")
        return len(text)

    def flush(self) -> None:
        self.file.flush()

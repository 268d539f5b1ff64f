"""The device that a training runs on."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from reelgraph.errors import ConfigError
from reelgraph.models.shard import place
from reelgraph.models.sparse import Edges, PairProduct, quiet_sparse

LOGGER = logging.getLogger("reelgraph")


@contextmanager
def running_on(name: str) -> Iterator[torch.device]:
    """Create the tensors of the block on a device, and restore its random generator at the end; see `choose`."""
    device = choose(name)
    forked = [torch.cuda.current_device()] if device.type == "cuda" else []
    with quiet_sparse(), torch.random.fork_rng(devices=forked):
        if device.type == "cpu":  # The default; setting it would cost a little in every call.
            yield device
        else:
            with device:
                yield device


def choose(name: str) -> torch.device:
    """The device of a name: "auto" is an NVIDIA or AMD GPU if PyTorch can use one, else the CPU.

    The CPU replaces a device that lacks an operation, and one that several processes would share; a line of the log
    says so.

    Raises:
        ConfigError: if there is no such device.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device = torch.device(("cuda" if there["cuda"] else "cpu") if name == "auto" else name)
    if not there[device.type]:
        found = ", ".join(kind for kind, here in there.items() if here)
        raise ConfigError(f"--device {name}: expected one that PyTorch can use, found only {found}", "see doctor")
    if device.type == "cpu":
        return device
    lack = "training in several processes" if place()[1] > 1 else lacking(device)
    if lack is None:
        return device
    LOGGER.warning("--device %s: no %s there, training on the CPU", name, lack)
    return torch.device("cpu")


def lacking(device: torch.device) -> str | None:
    """The first operation of a training step that PyTorch lacks on a device, with its error; None if there is none."""
    operations = {"sparse products": _multiply, "products of pairs": _multiply_pairs, "random draws": _draw}
    for name, operation in operations.items():
        try:
            with quiet_sparse(), warnings.catch_warnings(action="ignore"), device:
                operation()
        except Exception as error:
            return f"{name} ({str(error).splitlines()[0]})"
    return None


def _multiply() -> None:
    matrix, table = _one_edge().matrix(torch.ones(2)), torch.ones(2, 4)
    matrix.add_to(torch.zeros(2, 4), table)
    matrix @ torch.ones(2)


def _multiply_pairs() -> None:
    product: torch.Tensor = PairProduct.apply(torch.ones(2, 4, requires_grad=True), _one_edge())  # type: ignore[no-untyped-call]
    product.sum().backward()  # type: ignore[no-untyped-call]


def _one_edge() -> Edges:
    """The edge between a user and a movie."""
    return Edges(torch.tensor([[1, 0], [0, 1]], dtype=torch.int32), torch.zeros(1, dtype=torch.int32), 1, 1)


def _draw() -> None:
    torch.empty(1, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)

"""A load generator: sends requests over kept connections, at a fixed rate or in sequence, and measures latency."""

import asyncio
import gc
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import cycle, repeat

import numpy as np


def post(path: str, body: object) -> bytes:
    """A POST request with a JSON body, as bytes."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Accept-Encoding: gzip\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


@dataclass
class Timings:
    """Latencies and failures of a run.

    Attributes:
        seconds: from the time a request was due to the end of its response, for responses with status 200.
        failures: number of other outcomes by status or exception.
        began, ended: of the run.
    """

    seconds: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    began: float = 0.0
    ended: float = 0.0

    def count_failure(self, outcome: str) -> None:
        """Count a failure."""
        self.failures[outcome] = self.failures.get(outcome, 0) + 1

    def summary(self) -> Mapping[str, object]:
        """Rate, percentiles in milliseconds, failures."""
        wall = self.ended - self.began
        facts: dict[str, object] = {
            "requests": len(self.seconds) + sum(self.failures.values()),
            "seconds": round(wall, 2),
            "requests a second": round(len(self.seconds) / wall, 1),
        }
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)):
            facts[f"{name}, ms"] = round(1000 * float(np.quantile(self.seconds, share)), 2) if self.seconds else None
        return facts | {"failures": self.failures}


class Connection:
    """A kept connection."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the response to a request.

        Raises:
            OSError, EOFError, ValueError: if there is none; the next request opens a new connection.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port)
        reader, writer = self._streams
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            return int(head[9:12]), await reader.readexactly(length)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def _worker(connection: Connection, due: "asyncio.Queue[tuple[float, bytes] | None]", timings: Timings) -> None:
    while (job := await due.get()) is not None:
        when, request = job
        await _send(connection, request, when, timings)
    connection.close()


async def _send(connection: Connection, request: bytes, when: float, timings: Timings) -> None:
    try:
        status, _ = await asyncio.wait_for(connection.ask(request), 30)
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        timings.count_failure(type(error).__name__)
        return
    if status == 200:
        timings.seconds.append(time.perf_counter() - when)
    else:
        timings.count_failure(str(status))


async def at_a_rate(
    port: int,
    requests: Iterable[bytes],
    rate: float,
    seconds: float,
    connections: int = 32,
    stop: asyncio.Event | None = None,
    timings: Timings | None = None,
) -> Timings:
    """Send requests at fixed times, whether or not earlier ones have been answered, as independent visitors do.

    Latency counts from the time a request was due; otherwise a stalled server would delay requests unmeasured.

    Args:
        port: of the service on this machine.
        requests: sent in a cycle.
        rate: requests a second.
        seconds: duration.
        connections: number of connections.
        stop: ends the run earlier.
        timings: to be filled, for a caller that looks at them meanwhile.
    """
    due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    timings = timings or Timings()
    workers = [asyncio.create_task(_worker(Connection("127.0.0.1", port), due, timings)) for _ in range(connections)]
    timings.began = time.perf_counter()
    for number, request in zip(range(int(rate * seconds)), cycle(requests), strict=False):
        when = timings.began + number / rate
        if (wait := when - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        if stop is not None and stop.is_set():
            break
        due.put_nowait((when, request))
    for _ in workers:
        due.put_nowait(None)
    await asyncio.gather(*workers)
    timings.ended = time.perf_counter()
    return timings


async def one_after_another(port: int, requests: Iterable[bytes], number: int, at_once: int = 1) -> Timings:
    """Send each request once the previous one on its connection has been answered.

    Args:
        port: of the service on this machine.
        requests: sent in a cycle.
        number: of requests in all.
        at_once: number of connections.
    """
    timings, source = Timings(), cycle(requests)

    async def visitor(count: int) -> None:
        connection = Connection("127.0.0.1", port)
        for _ in repeat(None, count):
            await _send(connection, next(source), time.perf_counter(), timings)
        connection.close()

    timings.began = time.perf_counter()
    await asyncio.gather(*(visitor(number // at_once) for _ in range(at_once)))
    timings.ended = time.perf_counter()
    return timings


def quiet() -> None:
    """Keep garbage collection of this process out of the measurement."""
    gc.collect()
    gc.freeze()

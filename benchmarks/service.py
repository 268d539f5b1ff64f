"""The service under load: python benchmarks/service.py MODEL, a model directory; writes results/service.json.

One server process and this load generator share the machine. Each part can be left out: --parts start,rate,single,...
"""

import argparse
import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fuzz import TRACEBACK, fuzz
from loads import at_a_rate, one_after_another, post, quiet
from measuring import describe
from playwright.sync_api import sync_playwright
from visitor import RATINGS, visitors

import reelgraph as rg
from reelgraph.artifact import read_artifact, write_artifact

HERE = Path(__file__).resolve().parent
SWAPS, SINGLE, WARM_UP, MALFORMED = 100, 3000, 500, 10_000
HOSTILE = 2 * [  # beginnings of requests that never end
    b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
    b"GET /",
    b"POST /api/recommendations HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n",
    b"POST /api/recommendations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
    b"",
]


@dataclass(frozen=True)
class Server:
    """A running service.

    Attributes:
        process: its process.
        port: where it listens.
        started: seconds from the start of the process until it was ready.
    """

    process: subprocess.Popen[str]
    port: int
    started: float

    def get(self, path: str, method: str = "GET") -> Any:
        """The JSON of a response."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    @property
    def megabytes(self) -> float:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextmanager
def serving(model: Path, folder: Path, *options: str, **environment: str) -> Iterator[Server]:
    """Run a service in its own process, on a free port."""
    command = [sys.executable, "-m", "reelgraph", "serve", str(model), "--port", "0"]
    command += ["--database", str(folder / "ratings.sqlite"), *options]
    variables, began = os.environ | environment, time.perf_counter()
    with (
        (folder / "log").open("a") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=variables) as process,
    ):
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rpartition(":")[2])
            server = Server(process, port, 0.0)
            while True:
                try:
                    server.get("/health/ready")
                    break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.005)
            yield replace(server, started=time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait(60)


Part = Callable[[Path, Path, list[bytes]], Mapping[str, Any]]


def start(model: Path, folder: Path, requests: list[bytes]) -> Mapping[str, Any]:
    """Seconds until the service is ready, and memory before and after some requests; the best of three starts."""
    starts = []
    for _ in range(3):
        with serving(model, folder) as server:
            fresh = server.megabytes
            asyncio.run(one_after_another(server.port, requests, WARM_UP))
            starts.append((server.started, fresh, server.megabytes))
    seconds, fresh, warm = min(starts)
    return {"seconds": round(seconds, 2), "megabytes": round(fresh, 1), "megabytes after visits": round(warm, 1)}


def single(model: Path, folder: Path, requests: list[bytes]) -> Mapping[str, Any]:
    """One request at a time."""
    with serving(model, folder, "--rate", "0") as server:
        asyncio.run(one_after_another(server.port, requests, WARM_UP))
        return asyncio.run(one_after_another(server.port, requests, SINGLE)).summary()


def rate(model: Path, folder: Path, requests: list[bytes]) -> Mapping[str, Any]:
    """220 requests a second, for a minute."""
    with serving(model, folder) as server:
        asyncio.run(one_after_another(server.port, requests, WARM_UP))
        return asyncio.run(at_a_rate(server.port, requests, 220, 60)).summary()


def most(model: Path, folder: Path, requests: list[bytes]) -> Mapping[str, Any]:
    """As many requests as possible, from eight clients that each wait for their response."""
    with serving(model, folder, "--rate", "0") as server:
        asyncio.run(one_after_another(server.port, requests, WARM_UP, 8))
        return asyncio.run(one_after_another(server.port, requests, 10_000, 8)).summary()


def swaps(model: Path, folder: Path, requests: list[bytes]) -> Mapping[str, Any]:
    """A hundred model changes under 50 requests a second: failures, and growth of memory."""
    places = [shutil.copytree(model, folder / "first"), folder / "second"]
    write_artifact(replace(read_artifact(model)), places[1])

    async def changes(server: Server, stop: asyncio.Event) -> list[float]:
        durations = []
        for number in range(SWAPS):
            body = {"path": str(places[(number + 1) % 2])}
            began = time.perf_counter()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(post("/api/admin/reload", body))
            status = (await reader.readuntil(b"\r\n"))[9:12]
            writer.close()
            if status != b"200":
                raise SystemExit(f"a change ended with status {status!r}")
            durations.append(time.perf_counter() - began)
        stop.set()
        return durations

    async def both(server: Server) -> Mapping[str, Any]:
        stop = asyncio.Event()
        load = asyncio.create_task(at_a_rate(server.port, requests, 50, 3600, 16, stop))
        durations = await changes(server, stop)
        longest = round(max(durations), 2)
        return {"changes": len(durations), "longest change, s": longest, "load": (await load).summary()}

    with serving(places[0], folder, "--rate", "0", "--open") as server:
        asyncio.run(one_after_another(server.port, requests, WARM_UP, 8))
        before = server.megabytes
        outcome = asyncio.run(both(server))
        after = server.megabytes
    growth = f"{100 * (after / before - 1):+.1f}%"
    return dict(outcome) | {"megabytes before": round(before, 1), "megabytes after": round(after, 1), "growth": growth}


def slow(model: Path, folder: Path, requests: list[bytes]) -> Mapping[str, Any]:
    """100 requests a second for 30 seconds, beside 50 clients that send endless or very slow requests."""

    async def hostile(port: int, head: bytes, piece: bytes, pause: float) -> None:
        while True:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            with suppress(OSError):
                writer.write(head)
                while True:
                    await asyncio.sleep(pause)
                    writer.write(piece)
                    await writer.drain()
            writer.close()

    async def both(port: int) -> Mapping[str, Any]:
        clients = [
            asyncio.create_task(hostile(port, head, piece, 0.2 if len(piece) == 1 else 0.05))
            for head in HOSTILE
            for piece in (b"y", b"y", b"y", b"y", b"y" * 65_536)
        ]
        timings = await at_a_rate(port, requests, 100, 30)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        return {"hostile clients": len(clients), "load": timings.summary()}

    with serving(model, folder, "--rate", "0") as server:
        asyncio.run(one_after_another(server.port, requests, WARM_UP))
        return asyncio.run(both(server.port))


def page(model: Path, folder: Path, _: list[bytes]) -> Mapping[str, Any]:
    """The page in Chromium with an empty cache: seconds to its first list, and bytes sent; the median of five."""
    program = os.environ.get("REELGRAPH_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    visits = []
    with serving(model, folder) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for _visit in range(6):
            visit = browser.new_context().new_page()
            began = time.perf_counter()
            visit.goto(f"http://127.0.0.1:{server.port}/")
            visit.wait_for_selector(".card")
            seconds = time.perf_counter() - began
            kinds = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
            sent = visit.evaluate(f"{kinds}.reduce((sum, entry) => sum + entry.transferSize, 0)")
            visits.append((seconds, sent))
            visit.context.close()
        browser.close()
    seconds, sent = sorted(visits[1:])[2]  # The first visit starts the browser's processes.
    return {"seconds to the first list": round(seconds, 2), "kilobytes sent": round(sent / 1000, 1)}


def fuzzer(model: Path, folder: Path, _: list[bytes]) -> Mapping[str, Any]:
    """Ten thousand malformed requests; a wrong response ends the run."""
    key = secrets.token_hex(16)
    with serving(model, folder, "--rate", "0", REELGRAPH_WRITE_KEY=key, REELGRAPH_ADMIN_KEY=key) as server:
        counts = fuzz(f"http://127.0.0.1:{server.port}", MALFORMED, key=key)
    log = (folder / "log").read_text(encoding="utf-8")
    return counts | {"tracebacks in the log": log.count(TRACEBACK)}


PARTS: dict[str, Part] = {
    "start": start, "single": single, "rate": rate, "most": most, "swaps": swaps, "slow": slow, "page": page,
    "fuzzer": fuzzer,
}  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "service.json")
    given = parser.parse_args()
    model = rg.open(given.model)
    requests = [post("/api/recommendations", {"ratings": ratings, "k": 10}) for ratings in visitors(model)]
    size = {"movies": len(model.items), "users": len(model.users), "ratings": len(model.predictor.seen_rating)}
    del model
    quiet()
    result: dict[str, Any] = json.loads(given.out.read_text(encoding="utf-8")) if given.out.is_file() else {}
    result |= describe(f"python benchmarks/service.py {given.model.name}") | {
        "visitors": f"POST /api/recommendations with {RATINGS} ratings, lists of 10",
        **size,
    }
    for name in given.parts.split(","):
        with tempfile.TemporaryDirectory(prefix="reelgraph-") as folder:
            result[name] = PARTS[name](given.model, Path(folder), requests)
        sys.stdout.write(f"{name}: {json.dumps(result[name])}\n")
        sys.stdout.flush()
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

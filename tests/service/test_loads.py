"""The load generator of the benchmarks."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from reelgraph.recommend.recommender import Recommender
from tests.support.worlds import benchmark

loads = benchmark("loads")


def port_of(client: httpx.Client) -> int:
    return client.base_url.port or 0


def test_all_requests_are_sent_and_counted(client: httpx.Client, model: Recommender) -> None:
    right = loads.post("/api/recommendations", {"ratings": {model.items.id(0): 3.0}})
    wrong = loads.post("/api/recommendations", {"k": 0})
    taken = asyncio.run(loads.one_after_another(port_of(client), [right, right, wrong], 30, at_once=3))
    assert (len(taken.seconds), taken.failures) == (20, {"422": 10})
    assert all(0 < seconds < taken.ended - taken.began for seconds in taken.seconds)
    taken = asyncio.run(loads.at_a_rate(port_of(client), [right, wrong], 40, 1, connections=2))
    assert (len(taken.seconds), taken.failures) == (20, {"422": 20})
    assert taken.ended - taken.began >= 0.95
    assert taken.summary()["requests"] == 40


@contextmanager
def stalling(seconds: float) -> Iterator[int]:
    """A server that answers the first request of each connection late, and no others."""
    stop = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while not stop.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connection.recv(65536)
            stop.wait(seconds)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            connection.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    stop.set()
    listening.close()


def test_stalls_of_the_server_are_measured() -> None:
    with stalling(0.2) as port:
        taken = asyncio.run(loads.at_a_rate(port, [loads.post("/", {})], 20, 0.5, connections=1))
    # Ten requests are due within half a second, one connection gets an answer every 0.2 s, and each second request
    # finds its connection closed: the last ones answered have waited for those before them.
    assert len(taken.seconds) + sum(taken.failures.values()) == 10
    assert max(taken.seconds) > 0.35


def test_refused_connections_are_failures() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    taken = asyncio.run(loads.one_after_another(port, [loads.post("/", {})], 3))
    assert taken.failures == {"ConnectionRefusedError": 3}
    assert taken.summary()["p99, ms"] is None

"""The service as a process: start, imports, and stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from reelgraph.recommend.recommender import Recommender
from tests.support.serving import PATIENCE

Command = Callable[..., subprocess.CompletedProcess[str]]


@contextmanager
def running(
    model: Path, folder: Path, *options: str, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service in its own process, and its address; it is stopped at the end."""
    command = [sys.executable, "-m", "reelgraph", "serve", str(model), "--port", "0"]
    command += ["--database", str(folder / "ratings.sqlite"), *options]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | environment, cwd=folder
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(f"reelgraph serves {model} at http://127.0.0.1:"), (folder / "log").read_text()
            yield process, line.rpartition(" ")[2].strip()
        finally:
            process.terminate()
            process.wait(PATIENCE)


def test_a_service_starts_answers_and_stops(model_dir: Path, tmp_path: Path, model: Recommender) -> None:
    with running(model_dir, tmp_path) as (process, address):
        answer = httpx.post(f"{address}/api/recommendations", json={"k": 3}, timeout=PATIENCE)
        expected = [line.movie.movie_id for line in model.recommend(ratings={}, k=3)]
        assert [movie["movie_id"] for movie in answer.json()["movies"]] == expected
        reasons = {"movie": model.items.id(0), "ratings": {}}
        assert httpx.post(f"{address}/api/explanations", json=reasons, timeout=PATIENCE).status_code == 200
        mapped = Path(f"/proc/{process.pid}/maps").read_text()
        assert "arrow" in mapped
        assert "torch" not in mapped
        assert "pandas" not in mapped
        process.terminate()
        assert process.wait(PATIENCE) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {"model in service", "request", "Application shutdown complete."} <= {line["message"] for line in lines}


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGINT])
def test_running_requests_finish_before_the_stop(
    model_dir: Path, tmp_path: Path, model: Recommender, way: signal.Signals
) -> None:
    movie = model.items.id(0).encode()
    body = b'{"ratings": {"' + movie + b'": 4.0}, "k": 3}'
    with running(model_dir, tmp_path) as (process, address):
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as slow:
            head = b"POST /api/recommendations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            slow.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body[:5])
            httpx.get(f"{address}/health/live", timeout=PATIENCE)  # By now the slow request has begun, too.
            process.send_signal(way)
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:  # Nobody new is let in,
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    time.sleep(0.05)
                except OSError:
                    break
            else:
                pytest.fail("the service still lets others in")
            assert process.poll() is None
            slow.sendall(body[5:])  # and who was in is answered.
            answer = b""
            while part := slow.recv(65536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.count(b'"rank"') == 3
        assert process.wait(PATIENCE) == (0 if way == signal.SIGTERM else 130)


def test_unfinished_requests_are_cut_off_after_the_grace(model_dir: Path, tmp_path: Path) -> None:
    with running(model_dir, tmp_path, "--grace", "1") as (process, address):
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as slow:
            slow.sendall(b"POST /api/recommendations HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
            httpx.get(f"{address}/health/live", timeout=PATIENCE)
            process.terminate()
            assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /api/recommendations HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 40_000 + b"\r\n",
    ],
    ids=["garbage", "version", "length", "two lengths", "a long header", "many headers"],
)
def test_malformed_http_is_refused(client: httpx.Client, raw: bytes) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=PATIENCE) as connection:
        sender = threading.Thread(target=lambda: connection.sendall(raw), daemon=True)
        sender.start()
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:  # It did not read all that came after what it refused.
            pass
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["error"]["code"] == "invalid"
    assert client.get("/health/live").status_code == 200


def test_failures_at_the_start(command: Command, model_dir: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("serve", model_dir, "--port", port)
    assert done.returncode == 2
    assert f"127.0.0.1 port {port}: expected a free address" in done.stderr
    done = command("serve", tmp_path)
    assert done.returncode == 2
    assert "expected a model directory with manifest.json, found none" in done.stderr
    done = command("serve", model_dir, "--port", 0, "--database", "postgresql+psycopg://me:secret@localhost/x")
    assert done.returncode == 2
    assert "expected an address without a password" in done.stderr
    assert "secret" not in done.stderr
    done = command("serve", model_dir, "--port", 0, "--database", tmp_path / "nowhere" / "x.sqlite")
    assert done.returncode == 2
    assert "database" in done.stderr
    assert "Traceback" not in done.stderr


def test_short_keys_are_refused(command: Command, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELGRAPH_WRITE_KEY", "hunter2")
    done = command("serve", model_dir, "--port", 0)
    assert done.returncode == 2
    assert "REELGRAPH_WRITE_KEY: expected 16 characters or more" in done.stderr
    assert "hunter2" not in done.stderr


def test_keys_of_the_environment_are_required(model_dir: Path, tmp_path: Path) -> None:
    with running(model_dir, tmp_path, REELGRAPH_ADMIN_KEY="a" * 20) as (_, address):
        assert httpx.post(f"{address}/api/admin/reload", timeout=PATIENCE).status_code == 401
        key = {"X-API-Key": "a" * 20}
        assert httpx.post(f"{address}/api/admin/reload", headers=key, timeout=PATIENCE).status_code == 200
    assert "a" * 20 not in (tmp_path / "log").read_text()

"""The service behind its real web server, in a thread, and clients of it; its fixtures are for all test files."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from reelgraph.artifact import read_artifact, write_artifact
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.service.app import create_app
from reelgraph.service.server import server_of
from reelgraph.service.settings import Keys, Settings

PATIENCE = 30.0  # seconds


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.01)


@contextmanager
def serving(app: FastAPI, settings: Settings | None = None) -> Iterator[httpx.Client]:
    """Serve an application on a free port while the block runs."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = server_of(app, settings or Settings(grace=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="server", daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=30) as client:
            for _ in range(500):
                if server.started or not thread.is_alive():
                    break
                time.sleep(0.01)
            assert server.started, "the server did not start"
            yield client
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture(scope="session")
def model(model_dir: Path) -> Recommender:
    return open_model(model_dir)


@pytest.fixture(scope="session")
def other_dir(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same movies with other tastes; not to be changed."""
    artifact = read_artifact(model_dir)
    weights = artifact.weights | {"rank.item.bias": artifact.weights["rank.item.bias"][::-1].copy()}
    path = tmp_path_factory.mktemp("other") / "model"
    write_artifact(replace(artifact, weights=weights), path)
    return path


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., httpx.Client]]:
    """Starts services that stop with the test; by default with `open` and a new database."""
    with ExitStack() as stack:

        def start(directory: Path, keys: Keys | None = None, **settings: object) -> httpx.Client:
            given = {"database": str(tmp_path / "ratings.sqlite"), "watch": 0.0, "grace": 5.0} | settings
            chosen = Settings.model_validate({"open": keys is None and "host" not in settings} | given)
            return stack.enter_context(serving(create_app(directory, chosen, keys), chosen))

        yield start


@pytest.fixture(scope="module")
def client(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One service for the tests of a file that change nothing."""
    settings = Settings(database=str(tmp_path_factory.mktemp("ratings") / "ratings.sqlite"), watch=0, open=True)
    with serving(create_app(model_dir, settings), settings) as client:
        yield client

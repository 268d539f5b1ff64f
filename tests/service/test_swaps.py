"""Models are replaced under load, bad ones are refused, and the previous one can return."""

import gc
import json
import os
import shutil
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from reelgraph.artifact import read_artifact, write_artifact
from reelgraph.errors import ArtifactError
from reelgraph.files import previous_of
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.service.errors import ServiceError
from reelgraph.service.model import Current, newest, read
from tests.support.mutations import agree, change_arrays
from tests.support.serving import PATIENCE, until

Serve = Callable[..., httpx.Client]


def listed(model: Recommender) -> list[str]:
    return [line.movie.movie_id for line in model.recommend(ratings={"10": 5.0, "20": 1.0})]


def asked(client: httpx.Client) -> list[str]:
    answer = client.post("/api/recommendations", json={"ratings": {"10": 5.0, "20": 1.0}})
    assert answer.status_code == 200, answer.text
    return [movie["movie_id"] for movie in answer.json()["movies"]]


def serving_id(client: httpx.Client) -> str:
    artifact: dict[str, str] = client.get("/health/ready").json()["artifact"]
    return artifact["id"]


@pytest.fixture
def place(model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the model, to be replaced."""
    return shutil.copytree(model_dir, tmp_path / "served")


@pytest.fixture
def wait_for_looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Waits until the service has looked at the watched directory several more times."""
    look, looks = Current.look, list[Any]()

    def counted(current: Current) -> Any:
        looks.append(look(current))
        return looks[-1]

    monkeypatch.setattr(Current, "look", counted)

    def wait() -> None:
        enough = len(looks) + 4
        until(lambda: len(looks) >= enough)

    return wait


def put(source: Path, place: Path) -> None:
    """Replace a model as training does."""
    write_artifact(read_artifact(source), place)


def test_reload_and_rollback(serve: Serve, model_dir: Path, other_dir: Path, place: Path, model: Recommender) -> None:
    other = open_model(other_dir)
    assert listed(model) != listed(other)
    client = serve(place)
    first, since = serving_id(client), client.get("/health/ready").json()["artifact"]["since"]
    assert asked(client) == listed(model)
    put(other_dir, place)
    assert asked(client) == listed(model)  # Nobody has said so yet.
    answer = client.post("/api/admin/reload")
    assert answer.status_code == 200
    assert asked(client) == listed(other)
    second = serving_id(client)
    assert answer.json()["artifact"].items() >= client.get("/health/ready").json()["artifact"].items()
    assert second != first
    # The first model stays beside the second; once more undoes it.
    for expected, number in ((model, first), (other, second), (model, first)):
        answer = client.post("/api/admin/rollback")
        assert answer.json()["artifact"]["id"] == number
        assert asked(client) == listed(expected)
    assert client.get("/health/ready").json()["artifact"]["since"] >= since
    text = client.get("/metrics").text
    assert 'reelgraph_swaps_total{outcome="rollback"} 3.0' in text
    assert 'reelgraph_swaps_total{outcome="reload"} 1.0' in text


def test_a_newer_model_in_the_watched_directory_is_served(
    serve: Serve, other_dir: Path, place: Path, model: Recommender, wait_for_looks: Callable[[], None]
) -> None:
    client = serve(place, watch=0.02)
    assert asked(client) == listed(model)
    put(other_dir, place)
    until(lambda: asked(client) == listed(open_model(other_dir)))
    assert 'reelgraph_swaps_total{outcome="watch"} 1.0' in client.get("/metrics").text
    client.post("/api/admin/rollback")
    wait_for_looks()  # What is in the place was there before the rollback, so it is no news.
    assert asked(client) == listed(model)


def test_the_newest_of_several_is_served(
    serve: Serve,
    model_dir: Path,
    other_dir: Path,
    tmp_path: Path,
    model: Recommender,
    wait_for_looks: Callable[[], None],
) -> None:
    models = tmp_path / "models"
    shutil.copytree(model_dir, models / "monday")
    (models / "notes").mkdir()
    client = serve(models, watch=0.02)
    assert asked(client) == listed(model)
    half = models / ".tuesday.part"
    shutil.copytree(other_dir, half)
    os.utime(half / "manifest.json")
    wait_for_looks()
    assert asked(client) == listed(model)  # Hidden: still being made.
    half.rename(models / "tuesday")
    until(lambda: asked(client) == listed(open_model(other_dir)))
    assert newest(models) == models / "tuesday"


def test_the_watched_directory_may_be_a_changing_link(
    serve: Serve, model_dir: Path, other_dir: Path, tmp_path: Path, model: Recommender
) -> None:
    link, next_link = tmp_path / "current", tmp_path / "next"
    link.symlink_to(model_dir)
    client = serve(link, watch=0.02)
    assert asked(client) == listed(model)
    next_link.symlink_to(other_dir)
    next_link.replace(link)
    until(lambda: asked(client) == listed(open_model(other_dir)))


def test_a_service_can_wait_for_its_first_model(serve: Serve, model_dir: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    client = serve(models, watch=0.02, wait=True)
    assert client.get("/health/ready").status_code == 503
    shutil.copytree(model_dir, models / "monday")
    until(lambda: client.get("/health/ready").status_code == 200)


def truncated(path: Path) -> None:
    weights = path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def altered(path: Path) -> None:
    content = bytearray((path / "weights.safetensors").read_bytes())
    content[-3] ^= 64
    (path / "weights.safetensors").write_bytes(bytes(content))


def newer(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"version": 99}))


def infinite(path: Path) -> None:
    """Weights too large for finite predictions."""
    _enlarge(path, "item.state", "item.implicit")


def endless_score(path: Path) -> None:
    """Weights too large for finite ranking scores."""
    _enlarge(path, "rank.item.state", "rank.item.implicit")


def _enlarge(path: Path, *names: str) -> None:
    change_arrays(lambda arrays: [arrays[name].fill(1e30) for name in names])(path)
    agree(path)


def missing(path: Path) -> None:
    (path / "seen.parquet").unlink()


def no_json(path: Path) -> None:
    (path / "manifest.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (truncated, "bytes"),
        (altered, "SHA-256"),
        (missing, "seen.parquet"),
        (newer, "version"),
        (no_json, "damaged"),
        (infinite, "item.implicit"),
        (endless_score, "rank.item.implicit"),
    ],
)
def test_a_bad_model_is_refused_and_the_present_one_stays(
    serve: Serve,
    place: Path,
    other_dir: Path,
    tmp_path: Path,
    model: Recommender,
    wait_for_looks: Callable[[], None],
    spoil: Any,
    why: str,
) -> None:
    client, bad = serve(place, watch=0.02), shutil.copytree(other_dir, tmp_path / "bad")
    spoil(bad)
    answer = client.post("/api/admin/reload", json={"path": str(bad)})
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert error["code"] == "refused"
    assert why in error["message"]
    assert str(bad) in error["message"]
    assert asked(client) == listed(model)
    shutil.rmtree(place)
    bad.rename(place)
    until(lambda: 'reelgraph_swaps_total{outcome="refused"} 2.0' in client.get("/metrics").text)
    wait_for_looks()
    assert 'reelgraph_swaps_total{outcome="refused"} 2.0' in client.get("/metrics").text  # Not tried again and again.
    assert asked(client) == listed(model)
    assert client.post("/api/admin/rollback").status_code == 409
    put(other_dir, tmp_path / "good")
    shutil.rmtree(place)
    (tmp_path / "good").rename(place)
    until(lambda: asked(client) == listed(open_model(other_dir)))


def test_a_service_does_not_start_with_a_bad_model(place: Path) -> None:
    truncated(place)
    with pytest.raises(ArtifactError, match="weights"):
        Current(place).load()
    with pytest.raises(ArtifactError, match="found none"):
        Current(place.parent / "nothing").load()
    with pytest.raises(ArtifactError, match="expected a model directory"):
        Current(place.parent).load(place.parent)


def test_model_changes_under_load_fail_no_request(
    serve: Serve, place: Path, model_dir: Path, other_dir: Path, model: Recommender
) -> None:
    client = serve(place, rate=0)
    expected = [listed(model), listed(open_model(other_dir))]
    stop, faults, answers = threading.Event(), list[str](), list[int]()

    def visit() -> None:
        with httpx.Client(base_url=client.base_url, timeout=30) as own:
            while not stop.is_set():
                movies = asked(own)
                answers.append(expected.index(movies) if movies in expected else -1)

    def watched_visit() -> None:
        try:
            visit()
        except Exception as error:
            faults.append(repr(error))

    visitors = [threading.Thread(target=watched_visit) for _ in range(3)]
    for visitor in visitors:
        visitor.start()
    for number in range(12):
        source = (other_dir, model_dir)[number % 2]
        if number % 3 == 2:
            assert client.post("/api/admin/rollback").status_code == 200
        else:
            put(source, place)
            assert client.post("/api/admin/reload").status_code == 200
    stop.set()
    for visitor in visitors:
        visitor.join(PATIENCE)
    assert faults == []
    assert set(answers) == {0, 1}
    assert len(answers) > 30


def test_replaced_models_are_released(place: Path, model_dir: Path, other_dir: Path) -> None:
    current = Current(place)
    handles = Path("/dev/fd")
    current.load()
    gone = weakref.ref(current.get().recommender)
    gc.collect()  # closes what earlier tests left open
    before = len(list(handles.iterdir()))
    for number in range(6):
        put((other_dir, model_dir)[number % 2], place)
        current.load()
    gc.collect()
    assert gone() is None
    assert len(list(handles.iterdir())) == before


def test_rollback_needs_a_previous_model(place: Path) -> None:
    current = Current(place)
    with pytest.raises(ServiceError, match="found none yet"):
        current.get()
    current.load()
    with pytest.raises(ServiceError, match="expected a previous model"):
        current.rollback()


def test_a_deleted_model_stays_in_service_but_cannot_return(place: Path, model_dir: Path, other_dir: Path) -> None:
    current = Current(place)
    expected = listed(current.load().recommender)
    for directory in (place, place):
        put(other_dir, directory)  # The first model is gone with the second replacement.
    second = current.load()
    with pytest.raises(ServiceError, match="expected the previous model"):
        current.rollback()
    assert current.get() is second
    put(model_dir, place)
    assert listed(current.load().recommender) == expected
    shutil.rmtree(place)
    shutil.rmtree(previous_of(place))
    assert listed(current.get().recommender) == expected
    with pytest.raises(ServiceError, match="expected the previous model"):
        current.rollback()


def test_a_rollback_follows_a_link_that_changed(model_dir: Path, other_dir: Path, tmp_path: Path) -> None:
    link, next_link = tmp_path / "current", tmp_path / "next"
    link.symlink_to(model_dir)
    current = Current(link)
    first = current.load().checksum
    next_link.symlink_to(other_dir)
    next_link.replace(link)
    assert current.load().checksum != first
    assert current.rollback().checksum == first


def test_models_being_copied_are_not_loaded(place: Path, other_dir: Path) -> None:
    current = Current(place)
    current.load()
    assert current.look() is None
    shutil.copy(other_dir / "manifest.json", place / "manifest.json")
    assert current.look() is None  # Seen for the first time: perhaps the copying goes on.
    for file in other_dir.iterdir():
        shutil.copy(file, place / file.name)
    assert current.look() is None
    changed = current.look()
    assert changed is not None
    assert changed.checksum == read(other_dir).checksum
    assert current.look() is None

"""Finding, downloading and preparing data sets by name."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from reelgraph.bench import datasets
from reelgraph.bench.datasets import FOLDS, NAMES, find_folder, list_parts, prepare_part
from reelgraph.data.dataset import load_prepared
from reelgraph.errors import ConfigError, DataError


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path.lstrip("/"))
            self.send_response(200 if content is not None else 404)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def packed(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/").replace("_csv", ".csv"), text)
    return buffer.getvalue()


SMALL = packed(**{
    "ml-latest-small__ratings_csv": "userId,movieId,rating,timestamp\n1,10,4.0,5\n1,20,2.5,6\n2,10,3.0,7\n",
    "ml-latest-small__README.txt": "for research",
})  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("REELGRAPH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "reelgraph"


def published(content: bytes, checked: bytes | None = None) -> dict[str, bytes]:
    md5 = hashlib.md5(content if checked is None else checked, usedforsecurity=False).hexdigest()
    return {"ml-latest-small.zip": content, "ml-latest-small.zip.md5": f"{md5}  ml-latest-small.zip\n".encode()}


def test_a_download_is_checked_cached_and_reported_with_its_licence(cache: Path) -> None:
    lines: list[str] = []
    with serving(published(SMALL)) as url:
        found = find_folder("ml-latest-small", lines.append, url)
        assert found == cache / "ml-latest-small"
        assert (found / "ratings.csv").is_file()
        assert "do not redistribute" in lines[-1]
        assert str(found / "README.txt") in lines[-1]
    assert find_folder("ml-latest-small", lines.append, "http://127.0.0.1:9") == found, (
        "the second time without a network"
    )
    assert [path.name for path in cache.iterdir()] == ["ml-latest-small"]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (published(SMALL, b"other"), "expected the MD5 sum"),
        (published(b"no zip file"), "expected a zip file with a folder"),
        (published(packed(other__ratings_csv="x")), "expected a zip file with a folder"),
        ({"ml-latest-small.zip": SMALL, "ml-latest-small.zip.md5": b"<html>"}, "expected an MD5 sum"),
        ({}, "expected a file to download, found HTTP Error 404"),
    ],
)
def test_a_file_with_another_checksum_is_refused(files: dict[str, bytes], problem: str, cache: Path) -> None:
    with serving(files) as url, pytest.raises(DataError, match=problem) as error:
        find_folder("ml-latest-small", lambda _: None, url)
    assert "REELGRAPH_DATA" in str(error.value)
    assert not cache.exists() or list(cache.iterdir()) == [], "no partial files"


def test_known_checksums_are_pinned(cache: Path) -> None:
    with serving({"ml-1m.zip": SMALL}) as url, pytest.raises(DataError, match=datasets.MD5["ml-1m"] or "none"):
        find_folder("ml-1m", lambda _: None, url)


def test_other_data_sets_are_not_downloaded(cache: Path) -> None:
    with pytest.raises(DataError, match=r"filmtrust: expected .* under REELGRAPH_DATA, found none"):
        find_folder("filmtrust", lambda _: None, "http://127.0.0.1:9")


def test_without_a_network_the_remedy_is_given(cache: Path) -> None:
    with pytest.raises(DataError, match="set REELGRAPH_DATA to a folder that holds ml-1m"):
        find_folder("ml-1m", lambda _: None, "http://127.0.0.1:9")


def test_the_first_fold_is_the_canonical_split(
    movielens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of u1 equal the lines of u.data, and the five test sets are all of the data."""
    monkeypatch.setenv("REELGRAPH_DATA", str(movielens))
    own = load_prepared(prepare_part("ml-100k-u1", 0, tmp_path / "own", lambda _: None))
    beside = tmp_path / "data" / "ml-100k"
    beside.mkdir(parents=True)
    for name in ("u.data", "u.item", "u.user"):
        (beside / name).symlink_to(movielens / "ml-100k" / name)
    monkeypatch.setenv("REELGRAPH_DATA", str(beside.parent))
    cut = load_prepared(prepare_part("ml-100k-u1", 0, tmp_path / "cut", lambda _: None))
    assert cut.manifest["split"]["fingerprints"] == own.manifest["split"]["fingerprints"]
    assert len(cut.test) == 20_000
    last = load_prepared(prepare_part("ml-100k-u5", 0, tmp_path / "last", lambda _: None))
    assert len(last.test) == 20_000
    assert last.manifest["split"]["fingerprints"]["test"] != cut.manifest["split"]["fingerprints"]["test"]


def test_the_seed_determines_the_random_split(movielens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELGRAPH_DATA", str(movielens))
    prints = [
        load_prepared(prepare_part("sample", seed, tmp_path / f"p{run}", lambda _: None)).manifest["split"][
            "fingerprints"
        ]
        for run, seed in enumerate((0, 1, 0))
    ]
    assert prints[0] == prints[2]
    assert prints[0]["test"] != prints[1]["test"]


def test_names_and_files(tmp_path: Path) -> None:
    assert list_parts("ml-100k-5fold") == FOLDS
    assert all(list_parts(name) for name in NAMES)
    (tmp_path / "mine.csv").write_text("x")
    assert list_parts(str(tmp_path / "mine.csv")) == (str(tmp_path / "mine.csv"),)
    with pytest.raises(ConfigError, match=r"one of ml-100k-u1, .*found none"):
        list_parts("ml-2m")

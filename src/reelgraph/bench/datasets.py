"""Find, download and prepare data sets by name."""

import hashlib
import io
import os
import re
import shutil
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

from reelgraph.config import DataConfig
from reelgraph.data.prepare.prepare import prepare
from reelgraph.data.sources import RATINGS, Source, find
from reelgraph.errors import ConfigError, DataError
from reelgraph.files import output_errors

URL = "https://files.grouplens.org/datasets/movielens"

# ml-latest-small changes now and then, so its checksum is downloaded as well.
MD5 = {
    "ml-100k": "0e33842e24a9c977be4e0107933c0723",
    "ml-1m": "c4d9eecfca2ab87c1945afe126590906",
    "ml-latest-small": None,
}

FOLDS = tuple(f"ml-100k-u{fold}" for fold in range(1, 6))
LOCAL = ("movietweetings-100k", "filmtrust")  # not downloaded: they must be under REELGRAPH_DATA
NAMES = (*FOLDS, "ml-100k-5fold", "ml-100k-90-10", "ml-1m-90-10", "ml-latest-small", *LOCAL, "sample")
FOLD_LINES = 20_000  # consecutive lines of u.data that are the test ratings of a fold
TIMEOUT = 60.0  # seconds to wait for the server
Report = Callable[[str], None]


def list_parts(name: str) -> tuple[str, ...]:
    """The data sets whose results are averaged under a name: five for `ml-100k-5fold`, else one."""
    if name == "ml-100k-5fold":
        return FOLDS
    if name not in NAMES and not Path(name).exists():
        problem = f"data set {name!r}: expected a file, a folder or one of {', '.join(NAMES)}, found none"
        raise ConfigError(problem, "correct the name")
    return (name,)


def prepare_part(name: str, seed: int, out: Path, report: Report, url: str = URL) -> Path:
    """Prepare one of `NAMES` except `ml-100k-5fold`, or a path, in the directory `out`."""
    if name in FOLDS:
        source, split = _fold(find_folder("ml-100k", report, url), name.removeprefix("ml-100k-"), out), "given"
    else:
        path = None if name == "sample" else Path(name)
        if name in NAMES and name != "sample":
            path = find_folder(name.removesuffix("-90-10"), report, url)
        source, split = find(path), "random"
    config = DataConfig.model_validate({"split": split, "split_seed": seed})
    return prepare(source, config, out, lambda _: None)


def find_folder(name: str, report: Report, url: str = URL) -> Path:
    """The folder of a data set: under REELGRAPH_DATA, in the cache, or, if MovieLens, downloaded to the cache."""
    places = [Path(os.environ["REELGRAPH_DATA"])] if os.environ.get("REELGRAPH_DATA") else []
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reelgraph"
    for place in (*places, cache):
        if any((place / name / file).is_file() for file in RATINGS):
            return place / name
    if name in LOCAL:
        problem = f"{name}: expected a folder of this name with ratings.csv under REELGRAPH_DATA, found none"
        raise DataError(problem, "put the data set there; only MovieLens is downloaded")
    _download(name, cache, report, url)
    return cache / name


def _download(name: str, cache: Path, report: Report, url: str) -> None:
    remedy = f"set REELGRAPH_DATA to a folder that holds {name}, or try again"
    report(f"{name}: downloading {url}/{name}.zip")
    packed = _fetch(f"{url}/{name}.zip", remedy)
    expected = MD5[name] or _published_md5(f"{url}/{name}.zip.md5", remedy)
    actual = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    if actual != expected:
        raise DataError(f"{url}/{name}.zip: expected the MD5 sum {expected}, found {actual}", remedy)
    with output_errors(cache):
        temporary = cache / f".{name}.{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                archive.extractall(temporary)
            (temporary / name).rename(cache / name)
        except (zipfile.BadZipFile, FileNotFoundError) as error:
            problem = f"{url}/{name}.zip: expected a zip file with a folder {name}, found {error}"
            raise DataError(problem, remedy) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    licence = next((file.name for file in sorted((cache / name).glob("README*"))), "its README")
    report(f"{name}: by GroupLens, for research use, do not redistribute; licence: {cache / name / licence}")


def _fetch(address: str, remedy: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:  # noqa: S310 (the address is ours)
            content: bytes = answer.read()
    except (urllib.error.URLError, OSError) as error:
        raise DataError(f"{address}: expected a file to download, found {error}", remedy) from None
    return content


def _published_md5(address: str, remedy: str) -> str:
    text = _fetch(address, remedy).decode("ascii", "replace")
    sums = re.findall(r"\b[0-9a-f]{32}\b", text)
    if not sums:
        raise DataError(f"{address}: expected an MD5 sum, found {text[:60]!r}", remedy)
    return str(sums[0])


def _fold(place: Path, fold: str, out: Path) -> Source:
    """The files of a fold; if they are missing, the same lines of u.data."""
    base, test = place / f"{fold}.base", place / f"{fold}.test"
    if not (base.is_file() and test.is_file()):
        lines = (place / "u.data").read_text(encoding="utf-8").splitlines(keepends=True)
        first = FOLD_LINES * (int(fold[1:]) - 1)
        out.parent.mkdir(parents=True, exist_ok=True)
        base, test = out.with_name(f"{out.name}-{fold}.base"), out.with_name(f"{out.name}-{fold}.test")
        base.write_text("".join(lines[:first] + lines[first + FOLD_LINES :]), encoding="utf-8")
        test.write_text("".join(lines[first : first + FOLD_LINES]), encoding="utf-8")
    return find(base, place / "u.item", place / "u.user", test)

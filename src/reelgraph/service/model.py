"""The model in service, and its replacement while requests go on."""

import hashlib
import json
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from reelgraph.arrays import Float64s
from reelgraph.errors import ArtifactError, SetupError
from reelgraph.files import MANIFEST
from reelgraph.recommend.lists import Choice
from reelgraph.recommend.matching import FilmIndex
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.recommend.title_search import TitleIndex
from reelgraph.service.errors import ServiceError

_INCOMPLETE = "copy the whole model under another name, then rename it"
_UNUSABLE = "train the model again; the previous one stays in service"
_SAMPLE = 20  # movies that the sample visitor has rated
Signature = tuple[Any, ...]


@dataclass(frozen=True)
class Served:
    """A model with all that responses need.

    Attributes:
        recommender: the model.
        titles: its movies by title.
        means: mean training rating of each movie, float64 `(num_items,)`, NaN without ratings.
        held: its files.
        since: when it went into service.
    """

    recommender: Recommender
    titles: TitleIndex
    means: Float64s
    held: "HeldFiles"
    since: datetime

    @cached_property
    def films(self) -> FilmIndex:
        """Its movies by id, title and year, for exports; made for the first one."""
        return FilmIndex(self.recommender)

    @property
    def checksum(self) -> str:
        """SHA-256 of the manifest, which contains the checksums of all other files."""
        return self.held.checksum

    @property
    def created(self) -> str | None:
        """When the model was trained, according to its manifest."""
        created: str | None = self.recommender.artifact.manifest.get("created")
        return created

    @property
    def facts(self) -> dict[str, Any]:
        """Checksum and times as JSON values."""
        return {"id": self.checksum, "created": self.created, "since": f"{self.since:%Y-%m-%dT%H:%M:%SZ}"}


class Current:
    """The model in service.

    Args:
        directory: a model, or a directory of models of which the newest serves. It is watched, and may be a symbolic
            link that changes its target.
        changed: called after a change, while the previous model may still answer its last requests.
    """

    def __init__(self, directory: Path, changed: Callable[[], None] = lambda: None) -> None:
        self.directory, self.changed = directory, changed
        self._served: Served | None = None
        self._previous: HeldFiles | None = None
        self._lock = threading.Lock()
        self._last_seen: Signature | None = None
        self._last_tried: Signature | None = None

    def get(self) -> Served:
        """The model for one request, which uses it to the end; ServiceError `not_ready` while there is none."""
        if self._served is None:
            raise ServiceError("not_ready", "expected a model, found none yet", headers={"Retry-After": "5"})
        return self._served

    @property
    def served(self) -> Served | None:
        """The model, if there is one."""
        return self._served

    def load(self, path: Path | None = None) -> Served:
        """Read a model, check it and put it in service; the present one stays if that fails with an ArtifactError.

        Args:
            path: its directory; by default the newest model of the watched directory.
        """
        with self._lock:
            if path is None:
                self._last_tried, path = signature(self.directory), newest(self.directory)
            return self._switch(read(path or self.directory))

    def look(self) -> Served | None:
        """Put the newest model of the watched directory in service if it has changed since the last look.

        A directory counts only once two looks have found the same files: until then somebody may be copying. A model
        that is refused with an ArtifactError is not tried again until its files change.
        """
        seen = signature(self.directory)
        settled, self._last_seen = seen == self._last_seen, seen
        if seen is None or seen == self._last_tried or not settled:
            return None
        return self.load()

    def rollback(self) -> Served:
        """Put the previous model in service again, even if it has been deleted; a second rollback undoes the first."""
        with self._lock:
            previous = self._previous
            if previous is None:
                raise ServiceError("refused", "expected a previous model, found none")
            self._previous = None  # `_switch` must not close the files that it is to serve.
            try:
                return self._switch(_open(previous))
            except BaseException:
                self._previous = previous
                raise

    def _switch(self, served: Served) -> Served:
        present, self._served = self._served, replace(served, since=datetime.now(UTC))
        if self._previous is not None:
            self._previous.close()
        self._previous = None if present is None else present.held
        self.changed()
        return self._served

    def close(self) -> None:
        """Close all files."""
        for held in (self._previous, None if self._served is None else self._served.held):
            if held is not None:
                held.close()


def newest(directory: Path) -> Path | None:
    """The directory itself if it is a model, else its newest subdirectory that is one, if any."""
    if (directory / MANIFEST).is_file():
        return directory
    try:
        models = [(file.stat().st_mtime_ns, file.parent) for file in directory.glob(f"[!.]*/{MANIFEST}")]
    except OSError:  # A model is being replaced; the next look will find it.
        return None
    return max(models, default=(0, None))[1]


def signature(directory: Path) -> Signature | None:
    """Names, sizes and times of the newest model's files, or None without a model."""
    path = newest(directory)
    if path is None:
        return None
    try:
        stats = ((file.name, file.stat()) for file in sorted(path.iterdir()))
        return str(path), *((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
    except OSError:
        return None


def read(path: Path) -> Served:
    """Read a model from its directory and check it.

    Raises:
        ArtifactError: if it cannot be used.
    """
    held = HeldFiles(path)
    try:
        return _open(held)
    except BaseException:
        held.close()
        raise


def _open(held: "HeldFiles") -> Served:
    with held.folder() as folder:
        try:
            recommender = open_model(folder)
            recommender.predictor.raters(0)  # Sorts by movie on first use, which no request should wait for.
        except ArtifactError as error:
            problem, remedy = (text.replace(str(folder), str(held.path)) for text in (error.problem, error.remedy))
            raise ArtifactError(problem, remedy) from None
    check(recommender, held.path)
    predictor = recommender.predictor
    total = np.bincount(predictor.seen_item, predictor.seen_rating, minlength=len(predictor.items))
    means = np.divide(total, predictor.item_counts, out=np.full(len(total), np.nan), where=predictor.item_counts > 0)
    return Served(recommender, recommender.titles, means, held, datetime.now(UTC))


def check(model: Recommender, path: Path) -> None:
    """Raise an ArtifactError unless predictions and lists of a new visitor, a sample visitor and some users are sound.

    Predictions and scores must be finite, and the visitors' lists not empty.
    """
    predictor, lists = model.predictor, model.lists
    popular = np.argsort(-predictor.item_counts, kind="stable")[: min(_SAMPLE, len(model.items) // 2)].tolist()
    stars = (predictor.low, predictor.high)
    sample = {model.items.id(item): stars[place % 2] for place, item in enumerate(popular)}
    visitors = [model.person(ratings={}), model.person(ratings=sample)]
    users = [model.person(model.users.id(user)) for user in range(min(3, len(model.users)))]
    with np.errstate(all="ignore"):
        numbers = [
            array
            for person in visitors + users
            for array in (predictor.scorer.score(person.state), lists.score_of(person))
        ]
    if not all(np.isfinite(array).all() for array in numbers):
        raise ArtifactError(f"{path}: expected finite sample predictions, found others", _UNUSABLE)
    choice = Choice(k=min(_SAMPLE, len(model.items)))
    if not all(lists.page(person, choice).suggestions for person in visitors):
        raise ArtifactError(f"{path}: expected sample lists with movies, found empty ones", _UNUSABLE)


class HeldFiles:
    """The files of a model directory, kept open.

    Training replaces a directory by renaming a new one into its place. Open files stay readable after that, take no
    memory, and disappear with the process.

    Args:
        path: the directory.

    Raises:
        ArtifactError: if it cannot be read, or its files do not match its manifest.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handles: dict[str, int] = {}
        try:
            # Relative to an open directory, since another one of the same name may take its place meanwhile.
            folder = os.open(path, os.O_RDONLY)
            try:
                for entry in os.scandir(folder):
                    self._hold(entry.name, folder)
            finally:
                os.close(folder)
            self.checksum = self._verified_checksum()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.close()
            raise ArtifactError(f"{path}: expected a whole model, found none ({error})", _INCOMPLETE) from None
        except ArtifactError:
            self.close()
            raise

    def _hold(self, name: str, folder: int) -> None:
        handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=folder)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            self._handles[name] = handle
        else:
            os.close(handle)

    def _verified_checksum(self) -> str:
        """The manifest's SHA-256, once all files have the checksums that it names."""
        if MANIFEST not in self._handles:
            raise ArtifactError(f"{self.path}: expected a model directory with {MANIFEST}, found none", _INCOMPLETE)
        with open(self._handles[MANIFEST], "rb", closefd=False) as file:
            text = file.read()
        for name, facts in json.loads(text)["files"].items():
            digest = self._digest(name) if name in self._handles else "no file"
            if digest != facts["sha256"]:
                expected = f"{name} of SHA-256 {facts['sha256'][:12]}"
                raise ArtifactError(f"{self.path}: expected {expected}, found {digest[:12]}", _INCOMPLETE)
        return hashlib.sha256(text).hexdigest()

    def _digest(self, name: str) -> str:
        os.lseek(self._handles[name], 0, os.SEEK_SET)
        with open(self._handles[name], "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A temporary directory with links to the open files."""
        try:
            directory = tempfile.TemporaryDirectory(prefix="reelgraph-")
        except OSError as error:
            problem = f"expected a directory for temporary files, found {error}"
            raise SetupError(problem, "set TMPDIR to a directory that can be written") from None
        with directory as name:
            for file, handle in self._handles.items():
                os.lseek(handle, 0, os.SEEK_SET)
                (Path(name) / file).symlink_to(f"/dev/fd/{handle}")
            yield Path(name)

    def close(self) -> None:
        """Close the files."""
        while self._handles:
            os.close(self._handles.popitem()[1])

"""The model in service, and its change for another while requests go on."""

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
from pathlib import Path
from typing import Any

import numpy as np

from reelgraph.arrays import Float64s
from reelgraph.errors import ArtifactError, SetupError
from reelgraph.files import MANIFEST
from reelgraph.recommend.lists import Choice
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.service.errors import ServiceError
from reelgraph.service.title_search import TitleIndex

_REMEDY = "put a whole model there, under another name first and then renamed"


class HeldFiles:
    """The files of a model's directory as they are now.

    Training replaces a directory by renaming a new one into its place. What is open stays readable all the same, takes
    no memory, and is gone with the process, whatever ends it.

    Args:
        path: the directory.

    Raises:
        ArtifactError: if it cannot be read, or its files are not those that its manifest tells of.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: dict[str, int] = {}
        try:
            # Through the directory itself: another one of the same name may come meanwhile.
            folder = os.open(path, os.O_RDONLY)
            try:
                for entry in os.scandir(folder):
                    self._hold(entry.name, folder)
            finally:
                os.close(folder)
            self.checksum = self._checked()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.close()
            raise ArtifactError(f"{path}: expected a whole model, found none ({error})", _REMEDY) from None
        except ArtifactError:
            self.close()
            raise

    def _hold(self, name: str, folder: int) -> None:
        handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=folder)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            self._open[name] = handle
        else:
            os.close(handle)

    def _checked(self) -> str:
        """The manifest's SHA-256, after those of the files that it names were found right."""
        if MANIFEST not in self._open:
            raise ArtifactError(f"{self.path}: expected a model directory with {MANIFEST}, found none", _REMEDY)
        with open(self._open[MANIFEST], "rb", closefd=False) as file:
            text = file.read()
        for name, facts in json.loads(text)["files"].items():
            found = self._digest(name) if name in self._open else "no file"
            if found != facts["sha256"]:
                wanted = f"{name} of SHA-256 {facts['sha256'][:12]}"
                raise ArtifactError(f"{self.path}: expected {wanted}, found {found[:12]}", _REMEDY)
        return hashlib.sha256(text).hexdigest()

    def _digest(self, name: str) -> str:
        os.lseek(self._open[name], 0, os.SEEK_SET)
        with open(self._open[name], "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A temporary directory with the files in it, as links to what is held open.

        Raises:
            SetupError: if there is no place for one.
        """
        try:
            place = tempfile.TemporaryDirectory(prefix="reelgraph-")
        except OSError as error:
            problem = f"expected a place for temporary files, found {error}"
            raise SetupError(problem, "name a directory that can be written in TMPDIR") from None
        with place as temporary:
            for name, handle in self._open.items():
                os.lseek(handle, 0, os.SEEK_SET)
                (Path(temporary) / name).symlink_to(f"/dev/fd/{handle}")
            yield Path(temporary)

    def close(self) -> None:
        """Let go of the files."""
        while self._open:
            os.close(self._open.popitem()[1])


_SAMPLE = 20  # movies that a sample visitor has rated

_REMEDY = "train again; the model before serves on"


@dataclass(frozen=True)
class Served:
    """A model with what answers are made of.

    Attributes:
        recommender: the model.
        titles: its movies by title.
        means: mean training rating of each movie, float64 `(num_items,)`, NaN without ratings.
        held: its files.
        since: when it came into service.
    """

    recommender: Recommender
    titles: TitleIndex
    means: Float64s
    held: HeldFiles
    since: datetime

    @property
    def checksum(self) -> str:
        """SHA-256 of the manifest, which holds those of all other files."""
        return self.held.checksum

    @property
    def created(self) -> str | None:
        """When the model was made, as its manifest says."""
        created: str | None = self.recommender.artifact.manifest.get("created")
        return created

    @property
    def facts(self) -> dict[str, Any]:
        """Which model this is, as JSON values."""
        return {"id": self.checksum, "created": self.created, "since": f"{self.since:%Y-%m-%dT%H:%M:%SZ}"}


def read(path: Path) -> Served:
    """A model from its directory, checked.

    Raises:
        ArtifactError: if it cannot be used.
    """
    held = HeldFiles(path)
    try:
        return _opened(held)
    except BaseException:
        held.close()
        raise


def _opened(held: HeldFiles) -> Served:
    """A model from its files.

    Raises:
        ArtifactError: if it cannot be used.
    """
    with held.folder() as folder:
        try:
            recommender = open_model(folder)
            recommender.predictor.raters(0)  # Sorted by movie when first asked for: now, not by a visitor's request.
        except ArtifactError as error:
            named = (text.replace(str(folder), str(held.path)) for text in (error.problem, error.remedy))
            raise ArtifactError(*named) from None
    check(recommender, held.path)
    predictor = recommender.predictor
    total = np.bincount(predictor.seen_item, predictor.seen_rating, minlength=len(predictor.items))
    means = np.divide(total, predictor.item_counts, out=np.full(len(total), np.nan), where=predictor.item_counts > 0)
    titles = TitleIndex(predictor.catalogue, predictor.item_counts)
    return Served(recommender, titles, means, held, datetime.now(UTC))


def check(model: Recommender, path: Path) -> None:
    """Predict for nobody in particular, for a sample visitor and for some users, and make them lists.

    Raises:
        ArtifactError: if a number is not finite, or a list that must hold movies is empty.
    """
    predictor, lists = model.predictor, model.lists
    popular = np.argsort(-predictor.item_counts, kind="stable")[: min(_SAMPLE, len(model.items) // 2)].tolist()
    stars = (predictor.low, predictor.high)
    visitor = {model.items.id(item): stars[place % 2] for place, item in enumerate(popular)}
    persons = [model.person(ratings={}), model.person(ratings=visitor)]
    persons += [model.person(model.users.id(user)) for user in range(min(3, len(model.users)))]
    with np.errstate(all="ignore"):
        numbers = [
            array for person in persons for array in (predictor.scorer.score(person.state), lists.score_of(person))
        ]
    if not all(np.isfinite(array).all() for array in numbers):
        raise ArtifactError(f"{path}: expected finite sample predictions, found others", _REMEDY)
    choice = Choice(k=min(_SAMPLE, len(model.items)))
    if not all(lists.page(person, choice).suggestions for person in persons[:2]):
        raise ArtifactError(f"{path}: expected sample lists with movies, found empty ones", _REMEDY)


def newest(directory: Path) -> Path | None:
    """The model of a directory: itself, or that one of its subdirectories which was made last; None for none."""
    if (directory / MANIFEST).is_file():
        return directory
    try:
        found = [(file.stat().st_mtime_ns, file.parent) for file in directory.glob(f"[!.]*/{MANIFEST}")]
    except OSError:  # One that is being replaced; the next look will find it.
        return None
    return max(found, default=(0, None))[1]


def signature(directory: Path) -> tuple[Any, ...] | None:
    """What changes when the newest model of a directory does, and while it is being copied; None without one."""
    path = newest(directory)
    if path is None:
        return None
    try:
        facts = ((file.name, file.stat()) for file in sorted(path.iterdir()))
        return str(path), *((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in facts)
    except OSError:
        return None


class Current:
    """The model in service.

    Args:
        directory: a model, or a directory of models of which the newest serves; it is watched, and may be a link that
            is pointed elsewhere.
        changed: called after a change, when the model before may still answer its last requests.
    """

    def __init__(self, directory: Path, changed: Callable[[], None] = lambda: None) -> None:
        self.directory, self.changed = directory, changed
        self._served: Served | None = None
        self._before: HeldFiles | None = None
        self._turn = threading.Lock()
        self._seen: tuple[Any, ...] | None = None  # what the last look found, and what was last tried
        self._tried: tuple[Any, ...] | None = None

    def get(self) -> Served:
        """The model for one request, which keeps it to its end whatever happens meanwhile.

        Raises:
            ServiceError: `not_ready` while there is none.
        """
        if self._served is None:
            raise ServiceError("not_ready", "expected a model, found none yet", headers={"Retry-After": "5"})
        return self._served

    @property
    def served(self) -> Served | None:
        """The model, if there is one."""
        return self._served

    def load(self, path: Path | None = None) -> Served:
        """Put a model in service, read beside the present one.

        Args:
            path: its directory; the newest of the watched directory when not given.

        Raises:
            ArtifactError: if it cannot be used; the present one then stays.
        """
        with self._turn:
            if path is None:
                self._tried, path = signature(self.directory), newest(self.directory)
            return self._switch(read(path or self.directory))

    def look(self) -> Served | None:
        """Put the newest model of the watched directory in service if it is another one than last time.

        Files still being copied are left alone until they have been the same twice.

        Raises:
            ArtifactError: if it cannot be used; it is not tried again before it changes.
        """
        found = signature(self.directory)
        settled, self._seen = found == self._seen, found
        if found is None or found == self._tried or not settled:
            return None
        return self.load()

    def rollback(self) -> Served:
        """Put the model before in service again, even if it is no longer on disk; once more undoes it.

        Raises:
            ServiceError: `refused` if there is none.
        """
        with self._turn:
            before = self._before
            if before is None:
                raise ServiceError("refused", "expected a model before the present one, found none")
            self._before = None  # `_switch` must not close what it is to serve.
            try:
                return self._switch(_opened(before))
            except BaseException:
                self._before = before
                raise

    def _switch(self, served: Served) -> Served:
        present, self._served = self._served, replace(served, since=datetime.now(UTC))
        if self._before is not None:
            self._before.close()
        self._before = None if present is None else present.held
        self.changed()
        return self._served

    def close(self) -> None:
        """Let go of all files."""
        for held in (self._before, None if self._served is None else self._served.held):
            if held is not None:
                held.close()

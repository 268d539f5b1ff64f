"""The model in service, and its replacement while requests go on."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from reelgraph.arrays import Float64s
from reelgraph.files import MANIFEST, previous_of
from reelgraph.recommend.matching import FilmIndex
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.service.errors import ServiceError

Signature = tuple[Any, ...]


@dataclass(frozen=True)
class Served:
    """A model with all that responses need.

    Attributes:
        recommender: the model.
        means: mean training rating of each movie, float64 `(num_items,)`, NaN without ratings.
        path: its directory.
        since: when it went into service.
    """

    recommender: Recommender
    means: Float64s
    path: Path
    since: datetime

    @cached_property
    def films(self) -> FilmIndex:
        """Its movies by id, title and year, for exports; made for the first one."""
        return FilmIndex(self.recommender)

    def knows(self, user_id: str) -> bool:
        """Whether a user is one of the training data, whose lists are public.

        Users from whose ratings given here the model has learned are not: they are folded in from these, as before.
        """
        users = self.recommender.users
        return user_id in users and not self.recommender.collected[users.index(user_id)]

    @property
    def checksum(self) -> str:
        """SHA-256 of the manifest, which contains the checksums of all other files."""
        return self.recommender.artifact.checksum

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
        self._previous: tuple[Path, str] | None = None  # directory and checksum
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

    def refresh(self) -> Served | None:
        """Put the newest model of the watched directory in service, unless `look` has done so."""
        return None if signature(self.directory) == self._last_tried else self.load()

    def rollback(self) -> Served:
        """Put the previous model in service again, from its directory or from beside the one that replaced it there.

        A second rollback undoes the first.

        Raises:
            ServiceError: if there was no other model in service, or it has been deleted.
        """
        with self._lock:
            if self._previous is None:
                raise ServiceError("refused", "expected a previous model, found none")
            path, checksum = self._previous
            for place in (path, previous_of(path)):
                if _checksum(place) == checksum and (served := read(place)).checksum == checksum:
                    return self._switch(replace(served, path=path))
            raise ServiceError("refused", f"expected the previous model in {path} or beside it, found others or none")

    def _switch(self, served: Served) -> Served:
        present, self._served = self._served, replace(served, since=datetime.now(UTC))
        self._previous = None if present is None else (present.path, present.checksum)
        self.changed()
        return self._served


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
    path = path.resolve()  # A link may name another model by the time of a rollback.
    recommender = open_model(path)
    # Each computes something on first use, which no request should wait for.
    recommender.predictor.raters(0)
    recommender.titles.find("")
    recommender.ask(k=1)
    predictor = recommender.predictor
    total = np.bincount(predictor.seen_item, predictor.seen_rating, minlength=len(predictor.items))
    rated = (predictor.item_counts > 0) & predictor.has_stars
    means = np.divide(total, predictor.item_counts, out=np.full(len(total), np.nan), where=rated)
    return Served(recommender, means, path, datetime.now(UTC))


def _checksum(path: Path) -> str | None:
    try:
        return hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        return None

"""The model in service, and its change for another while requests go on."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelgraph.atomic import MANIFEST
from reelgraph.recommender import Recommender, open_model
from reelgraph.service.problems import ServiceError
from reelgraph.service.search import TitleIndex


@dataclass(frozen=True)
class Served:
    """A model with what answers are made of.

    Attributes:
        recommender: the model.
        titles: its movies by title.
        means: mean training rating of each movie, float64 `(num_items,)`, NaN without ratings.
        checksum: of its manifest, which holds the checksums of all other files.
        since: when it came into service.
        path: where it was read from.
    """

    recommender: Recommender
    titles: TitleIndex
    means: npt.NDArray[np.float64]
    checksum: str
    since: datetime
    path: Path

    @property
    def facts(self) -> dict[str, Any]:
        """Which model this is, as JSON values."""
        created = self.recommender.artifact.manifest.get("created")
        return {"id": self.checksum, "created": created, "since": f"{self.since:%Y-%m-%dT%H:%M:%SZ}"}


def read(path: Path) -> Served:
    """A model from its directory.

    Raises:
        ArtifactError: if it cannot be used.
    """
    recommender = open_model(path)
    predictor = recommender.predictor
    total = np.bincount(predictor.seen_item, predictor.seen_rating, minlength=len(predictor.items))
    with np.errstate(invalid="ignore"):
        means = total / predictor.item_counts
    titles = TitleIndex(predictor.catalogue, predictor.item_counts)
    checksum = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    return Served(recommender, titles, means, checksum, datetime.now(UTC), path)


class Current:
    """The model in service."""

    def __init__(self, served: Served | None = None) -> None:
        self._served = served

    def get(self) -> Served:
        """The model for one request, which keeps it to its end whatever happens meanwhile.

        Raises:
            ServiceError: `not_ready` while there is none.
        """
        if self._served is None:
            raise ServiceError("not_ready", "expected a model, found none yet", headers={"Retry-After": "5"})
        return self._served

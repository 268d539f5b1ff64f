"""Statistics of the model in service for the insights page."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reelgraph.bench.results import COLUMNS, RESULTS, read_results, summary
from reelgraph.recommend.insights import describe, summarize
from reelgraph.service.model import Served, read


@dataclass
class Insights:
    """What analysts see beside the model in service.

    Attributes:
        leaderboard: bench results, if any.
        other: a second model for comparison, if any.
    """

    leaderboard: dict[str, Any] | None = None
    other: Served | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _computed: tuple[str, dict[str, Any]] = ("", {})

    @classmethod
    def of(cls, bench: Path | None, compare: Path | None) -> "Insights":
        """Read bench results and a second model at the start, so that no request waits for the disk."""
        leaderboard = None
        if bench is not None:
            leaderboard = _leaderboard(read_results(bench / RESULTS, "name the --out directory of a bench"))
        return cls(leaderboard, None if compare is None else read(compare))

    @property
    def tag(self) -> str:
        """Identifies leaderboard and second model in ETags."""
        return tag_of([self.leaderboard, None if self.other is None else self.other.facts])

    def describe(self, model: Served, learning: dict[str, Any] | None = None) -> dict[str, Any]:
        """The statistics of a model, computed for the first request and kept, and how it learns."""
        with self._lock:
            if self._computed[0] != model.checksum:
                self._computed = (model.checksum, describe(model.recommender))
            statistics = self._computed[1]
        other = None if self.other is None else _model_facts(self.other)
        own = {"model": _model_facts(model), "other": other, "leaderboard": self.leaderboard, "learning": learning}
        return own | statistics


def tag_of(content: Any) -> str:
    """Identifies JSON values in ETags."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _leaderboard(results: dict[str, Any]) -> dict[str, Any]:
    columns = [{"name": name, "title": title, "digits": digits} for name, title, digits in COLUMNS]
    facts = {name: results.get(name) for name in ("date", "machine", "reelgraph")}
    return facts | {"columns": columns, "rows": summary(results["runs"])}


def _model_facts(model: Served) -> dict[str, Any]:
    return {"artifact": model.facts, **summarize(model.recommender)}

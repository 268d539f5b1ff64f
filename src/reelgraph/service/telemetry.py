"""JSON logs on stderr and Prometheus metrics."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from reelgraph.service.model import Current, Served

LOGGER = logging.getLogger("reelgraph.service")
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; `extra={"facts": {...}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        created = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": created, "level": record.levelname.lower(), "message": record.getMessage()}
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def start_logging() -> None:
    """Send the logs of the service and the web server to stderr as JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)


class Metrics:
    """Counters and timings since the start.

    Args:
        current: the model in service, whose age is a metric.
    """

    def __init__(self, current: Current) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "reelgraph_requests", "responses by route and status", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "reelgraph_request_seconds", "time to the response", ["route"], buckets=_BUCKETS, registry=registry
        )
        self.running = Gauge("reelgraph_requests_running", "requests in progress", registry=registry)
        self.errors = Counter("reelgraph_errors", "error responses by code", ["code"], registry=registry)
        self.fold_ins = Counter("reelgraph_fold_ins", "visitors folded in from their ratings", registry=registry)
        self.swaps = Counter("reelgraph_swaps", "model changes by outcome", ["outcome"], registry=registry)
        self.database = Histogram(
            "reelgraph_database_seconds", "time of database calls", ["what"], buckets=_BUCKETS, registry=registry
        )
        self.rounds = Counter("reelgraph_learning_rounds", "rounds of learning", ["kind", "outcome"], registry=registry)
        self.learning = Gauge("reelgraph_learning_running", "whether the service learns at present", registry=registry)
        self.next_round = Gauge("reelgraph_learning_next_seconds", "time to the next round", registry=registry)
        self.next_round.set(float("inf"))
        self.round_seconds = Gauge("reelgraph_learning_seconds", "time of the last round", registry=registry)
        self.round_memory = Gauge("reelgraph_learning_memory_bytes", "peak memory of the last round", registry=registry)
        self.round_measures = Gauge(
            "reelgraph_learning_measure", "of the newest ratings in the last round", ["measure", "model"],
            registry=registry,
        )  # fmt: skip
        self.database_errors = Counter("reelgraph_database_errors", "failed database calls", registry=registry)
        age = Gauge("reelgraph_artifact_age_seconds", "time since the model was trained", registry=registry)
        age.set_function(lambda: _age(current.served))
        serving = Gauge("reelgraph_artifact_serving_seconds", "time since the model is in service", registry=registry)
        serving.set_function(lambda: _serving(current.served))

    def count_response(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a response and its time."""
        self.requests.labels(method, route, status).inc()
        self.seconds.labels(route).observe(seconds)

    def count_round(self, facts: dict[str, Any]) -> None:
        """Count a round of learning."""
        self.rounds.labels(facts["kind"], facts["outcome"]).inc()
        self.round_seconds.set(facts["ended"] - facts["began"])
        self.round_memory.set(facts.get("memory", float("nan")))
        for measure, values in facts.get("measures", {}).items():
            for model in ("service", "candidate"):
                self.round_measures.labels(measure, model).set(values[model])

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Time a database call and count its failure."""
        start = time.perf_counter()
        try:
            yield
        except Exception:
            self.database_errors.inc()
            raise
        finally:
            self.database.labels(what).observe(time.perf_counter() - start)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def _age(served: Served | None) -> float:
    if served is None or served.created is None:
        return float("nan")
    return time.time() - datetime.fromisoformat(served.created).timestamp()


def _serving(served: Served | None) -> float:
    return float("nan") if served is None else time.time() - served.since.timestamp()

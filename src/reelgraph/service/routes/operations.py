"""Routes for operators: health, metrics, and changes of the model."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from reelgraph.errors import ReelgraphError
from reelgraph.service.auth import may_administer
from reelgraph.service.database.ledger import SHORT_TIMEOUT
from reelgraph.service.database.store import LostDatabaseError, Store
from reelgraph.service.errors import ServiceError
from reelgraph.service.model import Served
from reelgraph.service.responses import answer
from reelgraph.service.schemas import (
    FAILURES,
    KEYED,
    ErrorResponse,
    LearningResponse,
    Liveness,
    ModelChange,
    Readiness,
    ReloadRequest,
)
from reelgraph.service.state import State, served, state_of
from reelgraph.service.telemetry import LOGGER

health = APIRouter(prefix="/health", tags=["operations"], responses=FAILURES)
telemetry = APIRouter(tags=["operations"], responses=FAILURES)
admin = APIRouter(
    prefix="/api/admin", tags=["operations"], dependencies=[Depends(may_administer)],
    responses=FAILURES | KEYED | {409: {"model": ErrorResponse, "description": "a model that cannot be used"}},
)  # fmt: skip

Outcome = TypeVar("Outcome", Served, Served | None)


@health.get("/live", response_model=Liveness)
async def live() -> Response:
    """Say that the process answers."""
    return answer({"status": "ok"})


@health.get("/ready", response_model=Readiness)
async def ready(request: Request) -> Response:
    """Say which model serves since when, and how the database is; an error without a model or with lost ratings."""
    state, model = state_of(request), served(request)
    return answer({"status": "ok", "artifact": model.facts, "database": await _database_status(state)})


async def _database_status(state: State) -> str:
    if state.writes == "off":
        return "off"
    try:
        await state.ledger.call("ping", Store.ping, timeout=SHORT_TIMEOUT)
    except ServiceError as error:
        if isinstance(error.__cause__, LostDatabaseError):
            message = "expected the database that the service opened, found its files deleted or replaced"
            raise ServiceError("not_ready", message) from error
        return "unavailable"
    return "ok"


@telemetry.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """List metrics in Prometheus' text format."""
    return Response(state_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)


@admin.post("/reload", response_model=ModelChange)
async def reload(request: Request, body: ReloadRequest | None = None) -> Response:
    """Read a model, check it and put it in service."""
    path = None if body is None or body.path is None else Path(body.path)
    current = state_of(request).current
    return await _change(request, "reload", lambda: current.load(path))


@admin.post("/rollback", response_model=ModelChange)
async def rollback(request: Request) -> Response:
    """Put the previous model in service again; a second rollback undoes the first."""
    return await _change(request, "rollback", state_of(request).current.rollback)


@admin.get("/learning", response_model=LearningResponse)
async def learning(request: Request) -> Response:
    """Say what the service does to learn, when it will learn next, and how its latest rounds went."""
    return answer(await state_of(request).learner.facts())


async def _change(request: Request, reason: str, change: Callable[[], Served]) -> Response:
    try:
        model = await run_in_threadpool(change_model, state_of(request), reason, change)
    except ReelgraphError as error:
        raise ServiceError("refused", error.problem, error.remedy or None) from error
    return answer({"artifact": _facts(model)})


def change_model(state: State, reason: str, change: Callable[[], Outcome]) -> Outcome:
    """Change the model in service, and count and log the outcome.

    Args:
        state: the service's state.
        reason: one word for log and metrics.
        change: makes the change and returns the new model, or None if there is nothing to change.
    """
    try:
        model = change()
    except (ReelgraphError, ServiceError) as error:
        state.metrics.swaps.labels("refused").inc()
        LOGGER.warning("model refused", extra={"facts": {"what": reason, "why": str(error)}})
        raise
    if model is not None:
        state.metrics.swaps.labels(reason).inc()
        LOGGER.info("model in service", extra={"facts": {"what": reason} | _facts(model)})
    return model


async def watch(state: State) -> None:
    """Look for newer models while the service runs."""
    while state.settings.watch:
        await asyncio.sleep(state.settings.watch)
        try:
            await run_in_threadpool(change_model, state, "watch", state.current.look)
        except ReelgraphError:
            continue  # Already counted and logged.
        except Exception:  # Nothing may end the watch while the service runs.
            LOGGER.exception("the look for a newer model failed")


async def learn(state: State) -> None:
    """Learn while the service runs, if it is to."""
    current = state.current

    async def take_in() -> None:
        await run_in_threadpool(change_model, state, "learn", current.refresh)

    await state.learner.run(take_in)


def _facts(model: Served) -> dict[str, str | None]:
    return model.facts | {"path": str(model.path)}

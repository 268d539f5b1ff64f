"""What operators ask: health, measures, and changes of the model."""

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
from reelgraph.service.database.ledger import BRIEFLY
from reelgraph.service.database.store import Store
from reelgraph.service.errors import ServiceError
from reelgraph.service.model import Served
from reelgraph.service.responses import answer
from reelgraph.service.schemas import FAILURES, KEYED, Alive, Changed, Failure, Ready, ReloadWanted
from reelgraph.service.state import State, served, state_of
from reelgraph.service.telemetry import LOGGER

health = APIRouter(prefix="/health", tags=["operations"], responses=FAILURES)

measures = APIRouter(tags=["operations"], responses=FAILURES)

admin = APIRouter(
    prefix="/api/admin", tags=["operations"], dependencies=[Depends(may_administer)],
    responses=FAILURES | KEYED | {409: {"model": Failure, "description": "a model that cannot serve"}},
)  # fmt: skip


@health.get("/live", response_model=Alive)
async def live() -> Response:
    """Whether the process answers."""
    return answer({"status": "ok"})


@health.get("/ready", response_model=Ready)
async def ready(request: Request) -> Response:
    """Whether there is a model, which, and since when."""
    state, model = state_of(request), served(request)
    return answer({"status": "ok", "artifact": _facts(model), "database": await _database(state)})


async def _database(state: State) -> str:
    """Whether ratings can be kept; lists can be made in any case."""
    if state.writes == "off":
        return "off"
    try:
        await state.ledger.do("ping", Store.ping, patience=BRIEFLY)
    except ServiceError:
        return "unavailable"
    return "ok"


@measures.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Counts and times, for Prometheus."""
    return Response(state_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)


@admin.post("/reload", response_model=Changed)
async def reload(request: Request, wanted: ReloadWanted | None = None) -> Response:
    """Put a model in service: read beside the present one, checked, and only then switched to."""
    path = None if wanted is None or wanted.path is None else Path(wanted.path)
    current = state_of(request).current
    return await _change(request, "reload", lambda: current.load(path))


@admin.post("/rollback", response_model=Changed)
async def rollback(request: Request) -> Response:
    """Put the model before in service again; once more undoes it."""
    return await _change(request, "rollback", state_of(request).current.rollback)


async def _change(request: Request, what: str, act: Callable[[], Served]) -> Response:
    try:
        model = await run_in_threadpool(change, state_of(request), what, act)
    except ReelgraphError as error:
        raise ServiceError("refused", error.problem, error.remedy or None) from error
    return answer({"artifact": _facts(model)})


Outcome = TypeVar("Outcome", Served, Served | None)


def change(state: State, what: str, act: Callable[[], Outcome]) -> Outcome:
    """Change the model, count it and log it.

    Args:
        state: the service's.
        what: why, a word for the log and the measures.
        act: makes the change and returns the model now in service; None if there was nothing to do.

    Raises:
        ArtifactError: if the model cannot be used; the one before serves on.
        ServiceError: if there is none.
    """
    try:
        model = act()
    except (ReelgraphError, ServiceError) as error:
        state.metrics.swaps.labels("refused").inc()
        LOGGER.warning("model refused", extra={"facts": {"what": what, "why": str(error)}})
        raise
    if model is not None:
        state.metrics.swaps.labels(what).inc()
        LOGGER.info("model in service", extra={"facts": {"what": what} | _facts(model)})
    return model


async def watch(state: State) -> None:
    """Look for newer models for as long as the service runs."""
    while state.settings.watch:
        await asyncio.sleep(state.settings.watch)
        try:
            await run_in_threadpool(change, state, "watch", state.current.look)
        except ReelgraphError:
            continue  # Refused, counted and logged; what is next may be better.
        except Exception:  # The watch must not end while the service goes on.
            LOGGER.exception("the look for a newer model failed")


def _facts(model: Served) -> dict[str, str | None]:
    return model.facts | {"path": str(model.held.path)}

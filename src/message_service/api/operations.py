"""Routes for whoever runs the service: health and metrics."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import orjson
from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from message_service.api.context import services_of
from message_service.api.schemas.operations import ReadyShape
from message_service.errors import MessageServiceError, StoreUnavailable
from message_service.store.backlog import Backlog

router = APIRouter(tags=["operations"])

_LOOK_SECONDS = 2.0


@router.get("/health/live", summary="The process answers")
async def live() -> dict[str, str]:
    return {"status": "live"}


_MEANING = {
    "ready": "Everything works.",
    "degraded": "Redis is away: posts work, replies start up to a second later, watchers see whole replies instead of "
    "tokens, and limits are counted in MongoDB.",
    "overloaded": "Too many replies wait: asking for another is refused; storing, reading and watching work.",
    "unavailable": "MongoDB is away: nothing can be stored or read until it is back. Nothing is lost.",
}


@router.get(
    "/health/ready",
    summary="Whether requests can be served, and what users notice",
    description="\n".join(f"- `{mode}`: {meaning}" for mode, meaning in _MEANING.items()),
    response_model=None,
    responses={200: {"model": ReadyShape}, 503: {"model": ReadyShape, "description": "MongoDB is away."}},
)
async def ready(request: Request) -> Response:
    services = services_of(request)
    mongodb, redis, queue = await asyncio.gather(
        _look(services.stores.database.ping), _look(services.stores.relay.ping), _queue(services.backlog)
    )
    is_up = mongodb["status"] == "ok"
    if not is_up:
        mode = "unavailable"
    elif queue["status"] == "full":
        mode = "overloaded"
    else:
        mode = "ready" if redis["status"] == "ok" else "degraded"
    content = {
        "status": mode,
        "detail": _MEANING[mode],
        "dependencies": {"mongodb": mongodb, "redis": redis},
        "queue": queue,
    }
    return Response(orjson.dumps(content), 200 if is_up else 503, media_type="application/json")


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    response_model=None,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Metrics."}},
)
async def metrics(request: Request) -> Response:
    services = services_of(request)
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            await asyncio.gather(
                services.metrics.sample_queue(services.queue), services.metrics.sample_backlog(services.backlog)
            )
    except TimeoutError:
        pass  # the gauges keep their last values
    return Response(services.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


async def _look(ping: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    began_at = perf_counter()
    try:
        await ping()
    except MessageServiceError as fault:
        return {"status": "down", "detail": fault.detail}
    return {"status": "ok", "latency_ms": round((perf_counter() - began_at) * 1000, 2)}


async def _queue(backlog: Backlog) -> dict[str, Any]:
    status = "unknown"
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            await backlog.look()
        status = "full" if backlog.is_overloaded else "ok"
    except (StoreUnavailable, TimeoutError):
        pass  # MongoDB's own line says it
    return {"status": status, "waiting": backlog.waiting, "most_waiting": backlog.most_waiting}

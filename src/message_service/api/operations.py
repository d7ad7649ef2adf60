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
from message_service.api.schemas import ReadyShape
from message_service.errors import MessageServiceError

router = APIRouter(tags=["operations"])


@router.get("/health/live", summary="The process answers")
async def live() -> dict[str, str]:
    return {"status": "live"}


@router.get(
    "/health/ready",
    summary="Whether requests can be served",
    description="`degraded`: Redis is away; posts work, limits are counted in MongoDB, and watchers see whole replies.",
    response_model=None,
    responses={200: {"model": ReadyShape}, 503: {"model": ReadyShape, "description": "MongoDB is away."}},
)
async def ready(request: Request) -> Response:
    stores = services_of(request).stores
    mongodb, redis = await asyncio.gather(_look(stores.database.ping), _look(stores.relay.ping))
    is_up, is_fast = mongodb["status"] == "ok", redis["status"] == "ok"
    status = "unavailable" if not is_up else "ready" if is_fast else "degraded"
    content = {"status": status, "dependencies": {"mongodb": mongodb, "redis": redis}}
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
    await services.metrics.sample_queue(services.queue)
    return Response(services.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


async def _look(ping: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    began_at = perf_counter()
    try:
        await ping()
    except MessageServiceError as fault:
        return {"status": "down", "detail": fault.detail}
    return {"status": "ok", "latency_ms": round((perf_counter() - began_at) * 1000, 2)}

"""The route that tells how the providers do, as workers see them: this process reaches none."""

from dataclasses import asdict

from fastapi import APIRouter, Request
from starlette.responses import Response

from message_service.api.answers import json_response
from message_service.api.context import caller_of, services_of
from message_service.api.openapi import EVERYWHERE, problems
from message_service.api.schemas.operations import ProvidersShape
from message_service.errors import RelayUnavailable
from message_service.providers.routing.board import read_board, together

router = APIRouter(prefix="/v1/providers", tags=["operations"])

_NO_WORKER = "No worker is running, so nobody knows how the providers do."
_NO_REDIS = "Redis is away, through which workers tell how the providers do."


@router.get(
    "",
    summary="How the providers do",
    response_model=None,
    responses={200: {"model": ProvidersShape}, **problems(*EVERYWHERE)},
)
async def get_providers(request: Request) -> Response:
    services = services_of(request)
    caller_of(request)
    detail = None
    try:
        told = await read_board(services.stores.relay)
    except RelayUnavailable:
        told, detail = [], _NO_REDIS
    if not told and detail is None:
        detail = _NO_WORKER
    rows = [{name: value for name, value in asdict(one).items() if value is not None} for one in together(told)]
    content = {"object": "list", "data": rows, "workers": len(told)}
    return json_response(content | ({"detail": detail} if detail else {}))

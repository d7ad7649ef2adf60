"""Routes of replies: looking, watching, cancelling."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from message_service.api.answers import json_response
from message_service.api.context import caller_of, services_of
from message_service.api.openapi import EVERYWHERE, event_stream, problems
from message_service.api.schemas.replies import ReplyShape
from message_service.api.sse import EventStream
from message_service.api.wire import found_reply_json, reply_json
from message_service.errors import InvalidCursor, RelayUnavailable, ReplyNotCancellable, ReplyNotFound
from message_service.ids import ReplyId, is_own_id
from message_service.journey.cancel import cancel
from message_service.journey.watch import has_seen_the_end
from message_service.live.event import START, Position
from message_service.messages.reply import ReplyStatus
from message_service.wiring.api import ApiServices

router = APIRouter(prefix="/v1/replies", tags=["replies"])

_POSITION = {"schema": {"type": "string", "pattern": "^[0-9]+-[0-9]+$"}}
_STREAM_PARAMETERS: dict[str, Any] = {
    "parameters": [
        {"name": "Last-Event-ID", "in": "header", "description": "Resume after this event.", **_POSITION},
        {"name": "after", "in": "query", "description": "The same, for those who cannot set headers.", **_POSITION},
    ]
}


@router.get(
    "/{reply_id}",
    summary="How a reply stands",
    response_model=None,
    responses={200: {"model": ReplyShape}, **problems(*EVERYWHERE, ReplyNotFound)},
)
async def get_reply(request: Request, reply_id: str) -> Response:
    services, caller = services_of(request), caller_of(request)
    found = await services.replies.find_visible(_reply_id(reply_id), caller.user_id)
    partial_text = await _partial_text(services, found.reply.id) if found.reply.status is ReplyStatus.RUNNING else None
    return json_response(found_reply_json(found, partial_text=partial_text))


@router.get(
    "/{reply_id}/stream",
    summary="Watch a reply",
    description="Events, each with the position reached as its `id`: `reply.queued`, `reply.started`, `reply.delta`, "
    "`reply.reset` (forget the text so far), `provider.switched`, `usage`, then exactly one of `reply.completed`, "
    "`reply.incomplete`, `reply.cancelled`, `reply.blocked`, `reply.failed`. Deltas since the last reset, joined, are "
    "the stored text. Resumes after any position, on any process, at any later time.",
    response_class=Response,
    response_model=None,
    responses={
        200: {"content": event_stream(), "description": "Events; `x-events` has the schema of each one's data."},
        204: {"description": "Nothing follows that position."},
        **problems(*EVERYWHERE, InvalidCursor, ReplyNotFound),
    },
    openapi_extra=_STREAM_PARAMETERS,
)
async def stream_reply(request: Request, reply_id: str) -> Response:
    services, caller = services_of(request), caller_of(request)
    last_seen = request.headers.get("last-event-id") or request.query_params.get("after")
    after = Position.parse(last_seen) if last_seen else START
    found = await services.replies.find_visible(_reply_id(reply_id), caller.user_id)
    if has_seen_the_end(found, after):
        # A browser's EventSource stops reconnecting on this.
        return Response(status_code=204)
    return EventStream(found, after, desk=services.watching, open_streams=services.metrics.streams_open)


@router.post(
    "/{reply_id}/cancel",
    status_code=202,
    summary="Stop a reply; what there is of its text is kept",
    response_model=None,
    responses={202: {"model": ReplyShape}, **problems(*EVERYWHERE, ReplyNotFound, ReplyNotCancellable)},
)
async def cancel_reply(request: Request, reply_id: str) -> Response:
    services, caller = services_of(request), caller_of(request)
    reply = await cancel(_reply_id(reply_id), caller.user_id, desk=services.cancelling)
    return json_response(reply_json(reply), status=202)


async def _partial_text(services: ApiServices, reply_id: ReplyId) -> str | None:
    try:
        return await services.channel.text_so_far(reply_id)
    except RelayUnavailable:
        return None


def _reply_id(text: str) -> ReplyId:
    if not is_own_id(text):
        raise ReplyNotFound
    return ReplyId(text)

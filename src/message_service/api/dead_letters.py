"""Routes for admins: replies that failed, asking for them again, and letting them be."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from message_service.api.answers import json_response
from message_service.api.body import check_query, once_each
from message_service.api.caller import Caller, CallerRole
from message_service.api.context import caller_of, services_of
from message_service.api.openapi import EVERYWHERE, problems, query_parameters
from message_service.api.schemas.dead_letters import DeadLetterQuery, DeadLetterShape, DeadLettersShape
from message_service.api.schemas.replies import ReplyShape
from message_service.api.wire import dead_letter_json, reply_json
from message_service.errors import (
    ConversationFull,
    DeadLetterNotFound,
    Forbidden,
    InvalidCursor,
    MessageNotFound,
    ValidationFailed,
)
from message_service.ids import ReplyId, UserId, is_own_id
from message_service.journey.revive import revive
from message_service.messages.dead_letter import DeadLetterState

router = APIRouter(prefix="/v1/admin/dead-letters", tags=["operations"])


@router.get(
    "",
    summary="Replies that failed, newest first",
    response_model=None,
    responses={200: {"model": DeadLettersShape}, **problems(*EVERYWHERE, Forbidden, InvalidCursor, ValidationFailed)},
    openapi_extra=query_parameters(DeadLetterQuery),
)
async def list_dead_letters(request: Request) -> Response:
    _admin_of(request)
    query = check_query(DeadLetterQuery, once_each(request))
    if query.cursor is not None and not is_own_id(query.cursor):
        raise InvalidCursor
    found = await services_of(request).revival.letters.newest(
        limit=query.limit + 1,
        before=ReplyId(query.cursor) if query.cursor is not None else None,
        state=DeadLetterState(query.state),
        user_id=UserId(query.user_id) if query.user_id is not None else None,
        code=query.code,
    )
    shown, has_more = found[: query.limit], len(found) > query.limit
    json: dict[str, Any] = {
        "object": "list",
        "data": [dead_letter_json(letter) for letter in shown],
        "has_more": has_more,
    }
    if has_more:
        json["next_cursor"] = shown[-1].reply_id
    return json_response(json)


@router.get(
    "/{reply_id}",
    summary="One reply that failed",
    response_model=None,
    responses={200: {"model": DeadLetterShape}, **problems(*EVERYWHERE, Forbidden, DeadLetterNotFound)},
)
async def get_dead_letter(request: Request, reply_id: str) -> Response:
    _admin_of(request)
    return json_response(dead_letter_json(await services_of(request).revival.letters.get(_reply_id(reply_id))))


@router.post(
    "/{reply_id}/retry",
    status_code=202,
    summary="Ask for a failed reply again; repeated, it answers the first retry",
    response_model=None,
    responses={
        202: {"model": ReplyShape},
        **problems(*EVERYWHERE, Forbidden, DeadLetterNotFound, MessageNotFound, ConversationFull),
    },
)
async def retry_dead_letter(request: Request, reply_id: str) -> Response:
    admin = _admin_of(request)
    reply = await revive(_reply_id(reply_id), by=admin.user_id, desk=services_of(request).revival)
    return json_response(reply_json(reply), status=202)


@router.delete(
    "/{reply_id}",
    status_code=204,
    summary="Let a failed reply be",
    response_class=Response,
    response_model=None,
    responses={
        204: {"description": "Nothing is to be done about it."},
        **problems(*EVERYWHERE, Forbidden, DeadLetterNotFound),
    },
)
async def drop_dead_letter(request: Request, reply_id: str) -> Response:
    admin = _admin_of(request)
    letters = services_of(request).revival.letters
    await letters.drop(await letters.get(_reply_id(reply_id)), admin.user_id)
    return Response(status_code=204)


def _admin_of(request: Request) -> Caller:
    caller = caller_of(request)
    caller.require(CallerRole.ADMIN, "see and change what failed")
    return caller


def _reply_id(text: str) -> ReplyId:
    if not is_own_id(text):
        raise DeadLetterNotFound
    return ReplyId(text)

"""Routes of single messages: post, read, hide, show again."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from message_service.api.answers import json_response, receipt_response
from message_service.api.asking import asked_of, claim_of
from message_service.api.body import read_json
from message_service.api.caller import Caller, CallerRole
from message_service.api.context import caller_of, message_id_of, services_of
from message_service.api.openapi import ASKING_FOR_A_REPLY, EVERYWHERE, READING_A_BODY, problems, request_body
from message_service.api.schemas.asking import CreateMessage
from message_service.api.schemas.messages import MessageShape
from message_service.api.schemas.replies import AcceptedShape
from message_service.api.wire import message_json
from message_service.errors import (
    ContentTooLong,
    FieldFault,
    Forbidden,
    MessageImmutable,
    MessageNotFound,
    ValidationFailed,
)
from message_service.ids import CharacterId, ConversationId, MessageId
from message_service.journey.submit import PostedMessage, submit
from message_service.messages.message import Role

router = APIRouter(prefix="/v1/messages", tags=["messages"])

_REPRESENTATION_VERSION = 1


@router.post(
    "",
    status_code=201,
    summary="Post a message, and ask for a reply",
    response_model=None,
    responses={
        201: {"model": AcceptedShape, "description": "Stored."},
        202: {"model": AcceptedShape, "description": "Stored, and a reply is on its way."},
        **problems(*EVERYWHERE, *READING_A_BODY, *ASKING_FOR_A_REPLY, Forbidden, ContentTooLong),
    },
    openapi_extra=request_body(CreateMessage, takes_idempotency_key=True),
)
async def create_message(request: Request) -> Response:
    services, caller = services_of(request), caller_of(request)
    body = await read_json(request, CreateMessage)
    _require_role(body, caller)
    asked = asked_of(body.reply, services.settings, "/reply") if body.reply is not None else None
    if asked is not None and body.role is not Role.USER:
        raise ValidationFailed([FieldFault("/reply", "Only a user's message can be answered.")])
    posted = PostedMessage(
        user_id=caller.user_id,
        conversation_id=ConversationId(body.conversation_id),
        content=body.content,
        role=body.role,
        character_id=CharacterId(body.character_id) if body.character_id is not None else None,
        parent_id=MessageId(body.parent_id) if body.parent_id is not None else None,
        metadata=body.metadata,
        asked=asked,
    )
    receipt = await submit(posted, claim=claim_of(request, caller, "POST /v1/messages", body), desk=services.desk)
    return receipt_response(receipt)


@router.get(
    "/{message_id}",
    summary="One message",
    response_model=None,
    responses={
        200: {"model": MessageShape},
        304: {"description": "What the caller has is what there is."},
        **problems(*EVERYWHERE, MessageNotFound),
    },
)
async def get_message(request: Request, message_id: str) -> Response:
    services, caller = services_of(request), caller_of(request)
    message = await services.messages.find_visible(message_id_of(message_id), caller.user_id)
    # Strong and computable without the text: a message never changes, only how we show it can.
    etag = f'"{message.id}.{_REPRESENTATION_VERSION}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    known = request.headers.get("if-none-match", "")
    if known.strip() == "*" or etag in [one.strip().removeprefix("W/") for one in known.split(",")]:
        return Response(status_code=304, headers=headers)
    return json_response(message_json(message), headers=headers)


@router.delete(
    "/{message_id}",
    status_code=204,
    summary="Hide a message",
    response_model=None,
    responses={204: {"description": "Hidden, now or before."}, **problems(*EVERYWHERE, MessageNotFound)},
)
async def delete_message(request: Request, message_id: str) -> Response:
    services, caller = services_of(request), caller_of(request)
    await services.messages.delete(message_id_of(message_id), caller.user_id)
    return Response(status_code=204)


@router.post(
    "/{message_id}/restore",
    summary="Show a hidden message again",
    response_model=None,
    responses={200: {"model": MessageShape}, **problems(*EVERYWHERE, MessageNotFound)},
)
async def restore_message(request: Request, message_id: str) -> Response:
    services, caller = services_of(request), caller_of(request)
    return json_response(message_json(await services.messages.restore(message_id_of(message_id), caller.user_id)))


@router.put(
    "/{message_id}",
    name="replace_message",
    summary="Never",
    status_code=405,
    response_class=Response,
    response_model=None,
    responses=problems(MessageImmutable),
)
@router.patch(
    "/{message_id}",
    summary="Never",
    status_code=405,
    response_class=Response,
    response_model=None,
    responses=problems(MessageImmutable),
)
async def edit_message(message_id: str) -> Response:  # noqa: ARG001  # the path has it
    raise MessageImmutable


def _require_role(body: CreateMessage, caller: Caller) -> None:
    if body.role is Role.ASSISTANT:
        caller.require(CallerRole.SERVICE, "post as the assistant")

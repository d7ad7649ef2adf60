"""Routes for the replies to a message: asking for another, and all there are."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from message_service.api.answers import json_response, receipt_response
from message_service.api.asking import asked_of, claim_of
from message_service.api.body import read_json
from message_service.api.context import caller_of, message_id_of, services_of
from message_service.api.openapi import ASKING_FOR_A_REPLY, EVERYWHERE, READING_A_BODY, problems, request_body
from message_service.api.schemas.asking import ReplyRequest
from message_service.api.schemas.replies import AcceptedShape, RepliesShape
from message_service.api.wire import found_reply_json
from message_service.errors import MessageNotFound
from message_service.journey.submit import ask_again

router = APIRouter(prefix="/v1/messages", tags=["messages"])


@router.post(
    "/{message_id}/replies",
    status_code=202,
    summary="Ask for another reply",
    response_model=None,
    responses={
        202: {"model": AcceptedShape},
        **problems(*EVERYWHERE, *READING_A_BODY, *ASKING_FOR_A_REPLY, MessageNotFound),
    },
    openapi_extra=request_body(ReplyRequest, takes_idempotency_key=True),
)
async def ask_for_reply(request: Request, message_id: str) -> Response:
    services, caller = services_of(request), caller_of(request)
    body = await read_json(request, ReplyRequest)
    receipt = await ask_again(
        message_id_of(message_id),
        caller.user_id,
        asked_of(body, services.settings, ""),
        claim=claim_of(request, caller, f"POST /v1/messages/{message_id}/replies", body),
        desk=services.desk,
    )
    return receipt_response(receipt)


@router.get(
    "/{message_id}/replies",
    summary="All replies to a user message",
    response_model=None,
    responses={200: {"model": RepliesShape}, **problems(*EVERYWHERE, MessageNotFound)},
)
async def list_replies(request: Request, message_id: str) -> Response:
    services, caller = services_of(request), caller_of(request)
    message = await services.messages.find_visible(message_id_of(message_id), caller.user_id)
    found = await services.replies.variants(message.id, caller.user_id)
    return json_response({"object": "list", "data": [found_reply_json(one) for one in found]})

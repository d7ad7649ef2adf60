"""Routes of messages."""

import re
from hashlib import blake2b
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from message_service.api.body import check_query, read_json
from message_service.api.caller import Caller, CallerRole
from message_service.api.context import caller_of, services_of
from message_service.api.cursor import decode_cursor, encode_cursor, is_cursor
from message_service.api.errors import rate_limit_headers
from message_service.api.openapi import problems, query_parameters, request_body
from message_service.api.schemas import (
    AcceptedShape,
    CreateMessage,
    MessageShape,
    PageQuery,
    PageShape,
    RepliesShape,
    ReplyRequest,
)
from message_service.api.wire import found_reply_json, message_json, reply_json
from message_service.errors import FieldFault, InvalidCursor, MessageImmutable, MessageNotFound, ValidationFailed
from message_service.ids import CharacterId, ConversationId, MessageId, conversation_key, is_own_id
from message_service.journey.page import Page, PageRequest, read_page
from message_service.journey.submit import Draft, Receipt, ask_again, submit
from message_service.messages.message import Role
from message_service.messages.reply import Asked
from message_service.settings import Settings
from message_service.store.idempotency import IdempotencyClaim
from message_service.store.messages import PageFilter

router = APIRouter(prefix="/v1/messages", tags=["messages"])

_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_METADATA_PARAMETER = "metadata."
_REPRESENTATION_VERSION = 1


@router.post(
    "",
    status_code=201,
    summary="Post a message, and ask for a reply",
    response_model=None,
    responses={
        201: {"model": AcceptedShape, "description": "Stored."},
        202: {"model": AcceptedShape, "description": "Stored, and a reply is on its way."},
        **problems(400, 401, 403, 409, 413, 422, 429, 503),
    },
    openapi_extra=request_body(CreateMessage, takes_idempotency_key=True),
)
async def create_message(request: Request) -> Response:
    services, caller = services_of(request), caller_of(request)
    body = await read_json(request, CreateMessage)
    _require_role(body, caller)
    asked = _asked(body.reply, services.settings, "/reply") if body.reply is not None else None
    if asked is not None and body.role is not Role.USER:
        raise ValidationFailed([FieldFault("/reply", "Only a user's message can be answered.")])
    draft = Draft(
        user_id=caller.user_id,
        conversation_id=ConversationId(body.conversation_id),
        content=body.content,
        role=body.role,
        character_id=CharacterId(body.character_id) if body.character_id is not None else None,
        parent_id=MessageId(body.parent_id) if body.parent_id is not None else None,
        metadata=body.metadata,
        asked=asked,
    )
    receipt = await submit(draft, claim=_claim(request, caller, "POST /v1/messages", body), desk=services.desk)
    return _receipt_response(receipt)


@router.get(
    "",
    summary="A page of a conversation",
    response_model=None,
    responses={200: {"model": PageShape}, **problems(400, 401, 404, 422, 503)},
    openapi_extra=query_parameters(PageQuery),
)
async def list_messages(request: Request) -> Response:
    services, caller = services_of(request), caller_of(request)
    query, filter_ = _page_query(request)
    key = conversation_key(caller.user_id, ConversationId(query.conversation_id))
    listing = _listing(key, filter_)

    async def seq_at(bound: str | None) -> int | None:
        if bound is None:
            return None
        if is_cursor(bound):
            return decode_cursor(bound, listing)
        if is_own_id(bound):
            return await services.messages.seq_of(MessageId(bound), key)
        raise InvalidCursor("Neither a message id nor a cursor of this listing.")

    page = await read_page(
        PageRequest(
            key=key,
            filter=filter_,
            limit=query.limit,
            is_newest_first=query.order == "desc",
            before_seq=await seq_at(query.before),
            after_seq=await seq_at(query.after),
            around_seq=await seq_at(query.around),
        ),
        messages=services.messages,
    )
    return _json(_page_json(page, listing))


@router.get(
    "/{message_id}",
    summary="One message",
    response_model=None,
    responses={
        200: {"model": MessageShape},
        304: {"description": "What the caller has is what there is."},
        **problems(401, 404, 503),
    },
)
async def get_message(request: Request, message_id: str) -> Response:
    services, caller = services_of(request), caller_of(request)
    message = await services.messages.find_visible(_message_id(message_id), caller.user_id)
    # Strong and computable without the text: a message never changes, only how we show it can.
    etag = f'"{message.id}.{_REPRESENTATION_VERSION}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    known = request.headers.get("if-none-match", "")
    if known.strip() == "*" or etag in [one.strip().removeprefix("W/") for one in known.split(",")]:
        return Response(status_code=304, headers=headers)
    return _json(message_json(message), headers=headers)


@router.delete(
    "/{message_id}",
    status_code=204,
    summary="Hide a message",
    response_model=None,
    responses={204: {"description": "Hidden, now or before."}, **problems(401, 404, 503)},
)
async def delete_message(request: Request, message_id: str) -> Response:
    services, caller = services_of(request), caller_of(request)
    await services.messages.delete(_message_id(message_id), caller.user_id)
    return Response(status_code=204)


@router.post(
    "/{message_id}/restore",
    summary="Show a hidden message again",
    response_model=None,
    responses={200: {"model": MessageShape}, **problems(401, 404, 503)},
)
async def restore_message(request: Request, message_id: str) -> Response:
    services, caller = services_of(request), caller_of(request)
    return _json(message_json(await services.messages.restore(_message_id(message_id), caller.user_id)))


@router.put("/{message_id}", summary="Never", response_model=None, responses=problems(405))
@router.patch("/{message_id}", summary="Never", response_model=None, responses=problems(405))
async def edit_message(message_id: str) -> Response:  # noqa: ARG001  # the path has it
    raise MessageImmutable


@router.post(
    "/{message_id}/replies",
    status_code=202,
    summary="Ask for another reply",
    response_model=None,
    responses={202: {"model": AcceptedShape}, **problems(400, 401, 404, 409, 413, 422, 429, 503)},
    openapi_extra=request_body(ReplyRequest, takes_idempotency_key=True),
)
async def ask_for_reply(request: Request, message_id: str) -> Response:
    services, caller = services_of(request), caller_of(request)
    body = await read_json(request, ReplyRequest)
    receipt = await ask_again(
        _message_id(message_id),
        caller.user_id,
        _asked(body, services.settings, ""),
        claim=_claim(request, caller, f"POST /v1/messages/{message_id}/replies", body),
        desk=services.desk,
    )
    return _receipt_response(receipt)


@router.get(
    "/{message_id}/replies",
    summary="All replies to a user message",
    response_model=None,
    responses={200: {"model": RepliesShape}, **problems(401, 404, 503)},
)
async def list_replies(request: Request, message_id: str) -> Response:
    services, caller = services_of(request), caller_of(request)
    message = await services.messages.find_visible(_message_id(message_id), caller.user_id)
    found = await services.replies.variants(message.id, caller.user_id)
    return _json({"object": "list", "data": [found_reply_json(one) for one in found]})


def _message_id(text: str) -> MessageId:
    if not is_own_id(text):
        raise MessageNotFound
    return MessageId(text)


def _require_role(body: CreateMessage, caller: Caller) -> None:
    if body.role is Role.ASSISTANT:
        caller.require(CallerRole.SERVICE, "post as the assistant")


def _asked(body: ReplyRequest, settings: Settings, pointer: str) -> Asked:
    """Raises `ValidationFailed` for what this deployment cannot do."""
    if body.provider is not None and body.provider not in settings.enabled_providers:
        known = ", ".join(settings.enabled_providers)
        raise ValidationFailed([FieldFault(f"{pointer}/provider", f"Not enabled here; there are: {known}.")])
    most_tokens = settings.context_tokens // 2
    if body.max_output_tokens is not None and body.max_output_tokens > most_tokens:
        raise ValidationFailed([FieldFault(f"{pointer}/max_output_tokens", f"At most {most_tokens} here.")])
    return Asked(
        instructions=body.instructions,
        model=body.model,
        provider=body.provider,
        strategy=body.strategy,
        temperature=body.temperature,
        max_output_tokens=body.max_output_tokens,
        stop=tuple(body.stop or ()),
    )


def _claim(
    request: Request, caller: Caller, operation: str, body: CreateMessage | ReplyRequest
) -> IdempotencyClaim | None:
    """The caller's Idempotency-Key with a digest of what was asked. Raises `ValidationFailed` for an unusable key."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    # The draft writes the key as a quoted string; many clients send it bare. Both mean the same.
    key = keys[0][1:-1] if len(keys[0]) > 2 and keys[0][0] == keys[0][-1] == '"' else keys[0]
    if len(keys) > 1 or _IDEMPOTENCY_KEY.fullmatch(key) is None:
        raise ValidationFailed([FieldFault("", "Idempotency-Key must be 1 to 255 printable ASCII characters.")])
    asked = orjson.dumps([operation, body.model_dump(mode="json")], option=orjson.OPT_SORT_KEYS)
    return IdempotencyClaim(caller.user_id, key, blake2b(asked, digest_size=16).digest())


def _page_query(request: Request) -> tuple[PageQuery, PageFilter]:
    plain: dict[str, str] = {}
    metadata: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        into = metadata if name.startswith(_METADATA_PARAMETER) else plain
        key = name.removeprefix(_METADATA_PARAMETER)
        if key in into:
            raise ValidationFailed([FieldFault(f"/{name}", "Given more than once.")])
        into[key] = value
    query = check_query(PageQuery, plain)
    if sum(bound is not None for bound in (query.before, query.after, query.around)) > 1:
        raise ValidationFailed([FieldFault("", "Give at most one of before, after and around.")])
    return query, PageFilter(
        role=query.role,
        character_id=CharacterId(query.character_id) if query.character_id is not None else None,
        since=query.since,
        until=query.until,
        metadata=metadata,
        includes_deleted=query.include == "deleted",
    )


def _listing(key: str, filter_: PageFilter) -> str:
    """Names a listing, so that cursors of another one are refused."""
    return f"{key} {filter_!r}"


def _page_json(page: Page, listing: str) -> dict[str, Any]:
    json: dict[str, Any] = {
        "object": "list",
        "data": [message_json(message) for message in page.messages],
        "has_more": page.has_more,
        "active_replies": [reply_json(reply) for reply in page.active_replies],
    }
    if page.next_seq is not None:
        json["next_cursor"] = encode_cursor(page.next_seq, listing)
    if page.previous_seq is not None:
        json["prev_cursor"] = encode_cursor(page.previous_seq, listing)
    return json


def _receipt_response(receipt: Receipt) -> Response:
    accepted = receipt.accepted
    reply = reply_json(accepted.reply, position=accepted.position) if accepted.reply is not None else None
    headers = {"Location": f"/v1/messages/{accepted.message.id}"}
    if receipt.allowance is not None:
        allowance = receipt.allowance
        headers |= rate_limit_headers(allowance.limit, allowance.remaining, allowance.reset_seconds)
    if accepted.is_replay:
        headers["Idempotent-Replayed"] = "true"
    return _json(
        {"message": message_json(accepted.message), "reply": reply},
        status=201 if reply is None else 202,
        headers=headers,
    )


def _json(content: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers=headers, media_type="application/json")

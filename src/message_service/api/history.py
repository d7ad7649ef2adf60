"""The route that pages through a conversation."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from message_service.api.answers import json_response
from message_service.api.body import check_query
from message_service.api.context import caller_of, services_of
from message_service.api.cursor import decode_cursor, encode_cursor, is_cursor
from message_service.api.openapi import EVERYWHERE, problems, query_parameters
from message_service.api.schemas.pages import PageQuery, PageShape
from message_service.api.wire import reply_json, stored_message_json
from message_service.errors import FieldFault, InvalidCursor, MessageNotFound, ValidationFailed
from message_service.ids import CharacterId, ConversationId, MessageId, conversation_key, is_own_id
from message_service.journey.page import Page, PageRequest, read_page
from message_service.store.pages import PageFilter

router = APIRouter(prefix="/v1/messages", tags=["messages"])

_METADATA_PARAMETER = "metadata."


@router.get(
    "",
    summary="A page of a conversation",
    response_model=None,
    responses={200: {"model": PageShape}, **problems(*EVERYWHERE, InvalidCursor, MessageNotFound, ValidationFailed)},
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
        pages=services.pages,
    )
    return json_response(_page_json(page, listing))


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
        "data": [stored_message_json(row) for row in page.rows],
        "has_more": page.has_more,
        "active_replies": [reply_json(reply) for reply in page.active_replies],
    }
    if page.next_seq is not None:
        json["next_cursor"] = encode_cursor(page.next_seq, listing)
    if page.previous_seq is not None:
        json["prev_cursor"] = encode_cursor(page.previous_seq, listing)
    return json

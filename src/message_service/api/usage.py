"""The route that tells tokens and cost."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from message_service.api.answers import json_response
from message_service.api.body import check_query, once_each
from message_service.api.caller import Caller, CallerRole
from message_service.api.context import caller_of, services_of
from message_service.api.openapi import EVERYWHERE, problems, query_parameters
from message_service.api.schemas.usage import UsagePageQuery, UsagePageShape
from message_service.clock import now, rfc3339
from message_service.errors import FieldFault, Forbidden, InvalidCursor, ValidationFailed
from message_service.ids import UserId
from message_service.store.usage_report import Dimension, Group, UsageQuery, UsageRow

router = APIRouter(prefix="/v1", tags=["usage"])

_DEFAULT_SPAN = timedelta(days=30)
_LONGEST_SPAN = timedelta(days=366)
_LONGEST_SPAN_BY_HOUR = timedelta(days=31)
_TIMES = {Dimension.HOUR, Dimension.DAY}
_CHECKSUM_BYTES = 6


@router.get(
    "/usage",
    summary="Tokens and cost",
    description="What the caller's replies used and cost, every attempt included, added up for each group. Cost is in "
    "nanodollars (10^-9 USD); attempts whose price is not known are in `unpriced_attempts` and add nothing to it. "
    "Without `group_by` it is one sum. Admins may ask for another user, or for all.",
    response_model=None,
    responses={200: {"model": UsagePageShape}, **problems(*EVERYWHERE, Forbidden, InvalidCursor, ValidationFailed)},
    openapi_extra=query_parameters(UsagePageQuery),
)
async def get_usage(request: Request) -> Response:
    services, caller = services_of(request), caller_of(request)
    asked = check_query(UsagePageQuery, once_each(request))
    query = _query(asked, caller)
    after = None
    if asked.after is not None:
        after, since, until = _decode(asked.after, query)
        query = replace(query, since=since, until=until)
    rows = await services.usage.read(query, after=after, limit=asked.limit + 1)
    page = rows[: asked.limit]
    content: dict[str, Any] = {
        "object": "list",
        "since": rfc3339(query.since),
        "until": rfc3339(query.until),
        "data": [_row_json(query, row) for row in page],
        "has_more": len(rows) > len(page),
    }
    if content["has_more"]:
        content["next_cursor"] = _encode(page[-1].group, query)
    return json_response(content)


def _query(asked: UsagePageQuery, caller: Caller) -> UsageQuery:
    """Raises `Forbidden`, `ValidationFailed`."""
    dimensions = _dimensions(asked.group_by)
    is_others = asked.all_users or (asked.user_id is not None and asked.user_id != caller.user_id)
    if is_others:
        caller.require(CallerRole.ADMIN, "see what others use")
    if asked.all_users and asked.user_id is not None:
        raise ValidationFailed([FieldFault("/all_users", "Give either this or user_id.")])
    since, until = _span(asked)
    longest = _LONGEST_SPAN_BY_HOUR if Dimension.HOUR in dimensions else _LONGEST_SPAN
    if since >= until:
        raise ValidationFailed([FieldFault("/since", "Must be before until.")])
    if until - since > longest:
        raise ValidationFailed([FieldFault("/since", f"At most {longest.days} days before until, by these groups.")])
    user_id = None if asked.all_users else UserId(asked.user_id or caller.user_id)
    return UsageQuery(user_id=user_id, since=since, until=until, group_by=dimensions)


def _span(asked: UsagePageQuery) -> tuple[datetime, datetime]:
    try:
        until = (asked.until or now()).astimezone(UTC)
        return (asked.since or until - _DEFAULT_SPAN).astimezone(UTC), until
    except OverflowError:
        raise ValidationFailed([FieldFault("/until", "That is outside the years that can be reckoned with.")]) from None


def _dimensions(text: str | None) -> tuple[Dimension, ...]:
    """In one order however they were named, so that the same question is the same listing."""
    if text is None:
        return ()
    known = {dimension.value for dimension in Dimension}
    named = text.split(",")
    if not known.issuperset(named) or len(set(named)) < len(named):
        raise ValidationFailed([FieldFault("/group_by", f"Some of {', '.join(Dimension)}, each once, with commas.")])
    found = tuple(dimension for dimension in Dimension if dimension.value in named)
    if len(_TIMES.intersection(found)) > 1:
        raise ValidationFailed([FieldFault("/group_by", "Either hour or day.")])
    return found


def _row_json(query: UsageQuery, row: UsageRow) -> dict[str, Any]:
    names = {
        dimension: dimension.value if dimension in _TIMES | {Dimension.MODEL, Dimension.PROVIDER} else f"{dimension}_id"
        for dimension in query.group_by
    }
    json: dict[str, Any] = {
        names[dimension]: rfc3339(value) if dimension in _TIMES else value
        for dimension, value in zip(query.group_by, row.group, strict=True)
        if value is not None
    }
    return {**json, **row.sums, "total_tokens": row.sums["input_tokens"] + row.sums["output_tokens"]}


def _encode(group: Group, query: UsageQuery) -> str:
    """Where a page ended, and the span it was of: `until` may have been the moment of asking."""
    span = [query.since.isoformat(), query.until.isoformat()]
    content = orjson.dumps([[_plain(value) for value in group], *span])
    return urlsafe_b64encode(_checksum(content, query) + content).decode().rstrip("=")


def _decode(cursor: str, query: UsageQuery) -> tuple[Group, datetime, datetime]:
    """Raises `InvalidCursor` for one that was not issued for this question."""
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (Base64Error, ValueError):
        raise InvalidCursor from None
    checksum, content = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
    if checksum != _checksum(content, query):
        raise InvalidCursor
    group, since, until = orjson.loads(content)
    values = tuple(
        datetime.fromisoformat(value) if dimension in _TIMES else value
        for dimension, value in zip(query.group_by, group, strict=True)
    )
    return values, datetime.fromisoformat(since), datetime.fromisoformat(until)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _checksum(content: bytes, query: UsageQuery) -> bytes:
    """Against mistakes, not attacks: whatever a cursor says, the answer is scoped to its caller."""
    question = f"{query.user_id} {','.join(query.group_by)}".encode()
    return blake2b(content + question, digest_size=_CHECKSUM_BYTES).digest()

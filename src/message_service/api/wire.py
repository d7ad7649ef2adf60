"""How messages and replies look in JSON: nulls omitted, times in RFC 3339. Plain mappings, because pages are hot."""

from typing import Any

from message_service.clock import rfc3339
from message_service.messages.dead_letter import DeadLetter
from message_service.messages.message import Message
from message_service.messages.reply import Attempt, Reply, Usage
from message_service.store.database import Row
from message_service.store.mapping import usage_from_row
from message_service.store.replies import ReplyWithMessage

Json = dict[str, Any]


def message_json(message: Message) -> Json:
    json: Json = {
        "id": message.id,
        "object": "message",
        "conversation_id": message.conversation_id,
        "seq": message.seq,
        "user_id": message.user_id,
        "role": message.role.value,
        "content": message.content,
        "metadata": message.metadata,
        "created_at": rfc3339(message.created_at),
    }
    if message.parent_id is not None:
        json["parent_id"] = message.parent_id
    if message.character_id is not None:
        json["character_id"] = message.character_id
    if message.reply_to is not None:
        json["reply_to"] = message.reply_to
    if message.provider is not None:
        json["provider"] = message.provider
    if message.model is not None:
        json["model"] = message.model
    if message.finish_reason is not None:
        json["finish_reason"] = message.finish_reason.value
    if message.usage is not None:
        json["usage"] = usage_json(message.usage)
    if message.deleted_at is not None:
        json["deleted_at"] = rfc3339(message.deleted_at)
    return json


_OPTIONAL_FIELDS = ("parent_id", "character_id", "reply_to", "provider", "model", "finish_reason")


def stored_message_json(row: Row) -> Json:
    """As `message_json`, of a row of a page: its enumerations are text and its times UTC without saying so."""
    get = row.get
    json: Json = {
        "id": row["_id"],
        "object": "message",
        "conversation_id": row["conversation_id"],
        "seq": row["seq"],
        "user_id": row["user_id"],
        "role": row["role"],
        "content": row["content"],
        "metadata": get("metadata") or {},
        "created_at": row["created_at"].isoformat("T", "milliseconds") + "Z",
    }
    for field in _OPTIONAL_FIELDS:
        if field in row:
            json[field] = row[field]
    if (usage := usage_from_row(get("usage"))) is not None:
        json["usage"] = usage_json(usage)
    if (deleted_at := get("deleted_at")) is not None:
        json["deleted_at"] = deleted_at.isoformat("T", "milliseconds") + "Z"
    return json


def usage_json(usage: Usage) -> Json:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "is_estimated": usage.is_estimated,
        "cached_input_tokens": usage.cached_input_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }


def reply_json(reply: Reply, *, position: int | None = None) -> Json:
    json: Json = {
        "id": reply.id,
        "object": "reply",
        "status": reply.status.value,
        "message_id": reply.message_id,
        "conversation_id": reply.conversation_id,
        "stream_url": f"/v1/replies/{reply.id}/stream",
        "attempts": reply.attempts,
        "created_at": rfc3339(reply.created_at),
    }
    optional = {
        "position": position,
        "started_at": rfc3339(reply.started_at) if reply.started_at else None,
        "finished_at": rfc3339(reply.finished_at) if reply.finished_at else None,
        "provider": reply.provider,
        "model": reply.model,
        "finish_reason": reply.finish_reason.value if reply.finish_reason else None,
        "usage": usage_json(reply.usage) if reply.usage else None,
        "error": {"code": reply.error.code, "detail": reply.error.detail} if reply.error else None,
    }
    json.update({field: value for field, value in optional.items() if value is not None})
    return json


def found_reply_json(found: ReplyWithMessage, *, partial_text: str | None = None) -> Json:
    json = reply_json(found.reply, position=found.position)
    if found.message is not None:
        json["message"] = message_json(found.message)
    if partial_text:
        json["partial_text"] = partial_text
    if found.reply.attempt_log:
        json["attempt_log"] = [attempt_json(attempt) for attempt in found.reply.attempt_log]
    return json


def dead_letter_json(letter: DeadLetter) -> Json:
    json: Json = {
        "id": letter.reply_id,
        "object": "dead_letter",
        "state": letter.state.value,
        "message_id": letter.message_id,
        "user_id": letter.user_id,
        "conversation_id": letter.conversation_id,
        "kind": letter.kind.value,
        "error": {"code": letter.error.code, "detail": letter.error.detail},
        "attempts": letter.attempts,
        "asked_at": rfc3339(letter.asked_at),
        "failed_at": rfc3339(letter.failed_at),
    }
    if letter.retried_as is not None:
        json["retried_as"] = letter.retried_as
    return json


def attempt_json(attempt: Attempt) -> Json:
    fields = {
        "provider": attempt.provider,
        "host": attempt.host,
        "model": attempt.model,
        "started_at": rfc3339(attempt.started_at),
        "first_token_at": rfc3339(attempt.first_token_at) if attempt.first_token_at else None,
        "ended_at": rfc3339(attempt.ended_at),
        "usage": usage_json(attempt.usage) if attempt.usage else None,
        "cost_nano_usd": attempt.cost_nano_usd,
        "error": attempt.error,
        "warnings": list(attempt.warnings) or None,
    }
    return {field: value for field, value in fields.items() if value is not None}

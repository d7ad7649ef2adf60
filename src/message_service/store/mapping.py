"""Between what MongoDB returns and what the rest of the service speaks of. Absent and None are the same.

Fields that only a newer version knows are passed over: both run side by side while a new one is rolled out.
"""

from dataclasses import asdict, fields

from message_service.ids import conversation_key
from message_service.messages.budget import Amount, Reservation
from message_service.messages.conversation import Conversation
from message_service.messages.message import Message, Role
from message_service.messages.reply import (
    AbandonedClaim,
    Asked,
    Attempt,
    FinishReason,
    Reply,
    ReplyError,
    ReplyStatus,
    Usage,
    WorkKind,
)
from message_service.store.database import Row

_ROLES = {role.value: role for role in Role}
_ASKED_FIELDS = tuple(field.name for field in fields(Asked))
_ATTEMPT_FIELDS = tuple(field.name for field in fields(Attempt))
MOST_ATTEMPTS_KEPT = 20
"""Of one reply, the last ones."""


def message_to_row(message: Message) -> Row:
    row: Row = {
        "_id": message.id,
        "conversation_key": conversation_key(message.user_id, message.conversation_id),
        "conversation_id": message.conversation_id,
        "user_id": message.user_id,
        "seq": message.seq,
        "parent_id": message.parent_id,
        "role": message.role.value,
        "content": message.content,
        "tokens": message.tokens,
        "created_at": message.created_at,
        "character_id": message.character_id,
        "metadata": message.metadata or None,
        "reply_to": message.reply_to,
        "provider": message.provider,
        "model": message.model,
        "finish_reason": message.finish_reason.value if message.finish_reason else None,
        "usage": usage_to_row(message.usage),
    }
    return {field: value for field, value in row.items() if value is not None}


def message_from_row(row: Row) -> Message:
    get = row.get
    reason = get("finish_reason")
    return Message(
        id=row["_id"],
        conversation_id=row["conversation_id"],
        user_id=row["user_id"],
        seq=row["seq"],
        parent_id=get("parent_id"),
        role=_ROLES[row["role"]],
        content=row["content"],
        tokens=row["tokens"],
        created_at=row["created_at"],
        character_id=get("character_id"),
        metadata=get("metadata") or {},
        reply_to=get("reply_to"),
        provider=get("provider"),
        model=get("model"),
        finish_reason=FinishReason(reason) if reason else None,
        usage=usage_from_row(get("usage")),
        deleted_at=get("deleted_at"),
    )


def reply_to_row(reply: Reply, *, turn: int, is_next: bool, fallback_head: str) -> Row:
    """The row of a reply that was just asked for."""
    row: Row = {
        "_id": reply.id,
        "message_id": reply.message_id,
        "conversation_key": reply.conversation_key,
        "conversation_id": reply.conversation_id,
        "user_id": reply.user_id,
        "turn": turn,
        "is_next": is_next,
        "status": reply.status.value,
        "kind": reply.kind.value,
        "asked": _asked_to_row(reply.asked),
        "fallback_head": fallback_head,
        "created_at": reply.created_at,
        "deadline": reply.deadline,
        "character_id": reply.character_id,
        "attempts": 0,
        "epoch": 0,
        "take": 0,
    }
    if reply.reservation is not None:
        row["reservation"] = asdict(reply.reservation)
    return row


def _asked_to_row(asked: Asked) -> Row:
    row = {field: getattr(asked, field) for field in _ASKED_FIELDS}
    return {field: value for field, value in row.items() if value is not None and value != ()}


def asked_from_row(row: Row) -> Asked:
    asked = {field: row[field] for field in _ASKED_FIELDS if field in row}
    if "stop" in asked:
        asked["stop"] = tuple(asked["stop"])
    return Asked(**asked)


def reply_from_row(row: Row) -> Reply:
    get = row.get
    reason = get("finish_reason")
    return Reply(
        id=row["_id"],
        message_id=row["message_id"],
        conversation_key=row["conversation_key"],
        conversation_id=row["conversation_id"],
        user_id=row["user_id"],
        status=ReplyStatus(row["status"]),
        kind=WorkKind(row["kind"]),
        asked=asked_from_row(row["asked"]),
        created_at=row["created_at"],
        deadline=row["deadline"],
        character_id=get("character_id"),
        attempts=row["attempts"],
        epoch=row["epoch"],
        owner=get("owner"),
        is_cancel_requested=get("is_cancel_requested", False),
        take=get("take", 0),
        started_at=get("started_at"),
        finished_at=get("finished_at"),
        provider=get("provider"),
        model=get("model"),
        finish_reason=FinishReason(reason) if reason else None,
        usage=usage_from_row(get("usage")),
        error=_error_from_row(get("error")),
        setback=_error_from_row(get("setback")),
        attempt_log=tuple(attempt_from_row(attempt) for attempt in get("attempt_log") or ()),
        reservation=_reservation_from(get("reservation")),
        abandoned=tuple(map(_abandoned_from, get("abandoned") or ())),
    )


def _abandoned_from(row: Row) -> AbandonedClaim:
    attempts = tuple(map(attempt_from_row, row["attempts"]))
    return AbandonedClaim(epoch=row["epoch"], claimed_at=row["claimed_at"], attempts=attempts)


def _error_from_row(row: Row | None) -> ReplyError | None:
    return ReplyError(row["code"], row["detail"]) if row else None


def attempt_to_row(attempt: Attempt) -> Row:
    row = {field: getattr(attempt, field) for field in _ATTEMPT_FIELDS} | {"usage": usage_to_row(attempt.usage)}
    return {field: value for field, value in row.items() if value is not None and value != ()}


def attempt_from_row(row: Row) -> Attempt:
    known = {field: row[field] for field in _ATTEMPT_FIELDS if field in row}
    read = {"usage": usage_from_row(row.get("usage")), "warnings": tuple(row.get("warnings") or ())}
    return Attempt(**known | read)


def _reservation_from(row: Row | None) -> Reservation | None:
    return Reservation(amount_from_row(row["amount"]), row["day"], row["month"]) if row else None


def amount_from_row(row: Row) -> Amount:
    return Amount(row["tokens"], row["cost_nano_usd"])


def conversation_to_row(conversation: Conversation) -> Row:
    """Everything but `_id`, for an update that also inserts."""
    return {
        "user_id": conversation.user_id,
        "conversation_id": conversation.conversation_id,
        "last_seq": conversation.last_seq,
        "reserved": conversation.reserved,
        "asked_replies": conversation.asked_replies,
        "head": conversation.head,
        "active_reply": conversation.active_reply,
        "waiting_replies": conversation.waiting_replies,
    }


def conversation_from_row(row: Row) -> Conversation:
    return Conversation(
        key=row["_id"],
        user_id=row["user_id"],
        conversation_id=row["conversation_id"],
        last_seq=row["last_seq"],
        reserved=row["reserved"],
        asked_replies=row["asked_replies"],
        head=row["head"],
        active_reply=row["active_reply"],
        waiting_replies=row["waiting_replies"],
    )


def usage_to_row(usage: Usage | None) -> Row | None:
    return asdict(usage) if usage else None


def usage_from_row(row: Row | None) -> Usage | None:
    """Rows from before the parts were told apart have only the first three fields."""
    if not row:
        return None
    get = row.get
    return Usage(
        row["input_tokens"],
        row["output_tokens"],
        row["is_estimated"],
        get("cached_input_tokens", 0),
        get("cache_write_tokens", 0),
        get("reasoning_tokens", 0),
    )

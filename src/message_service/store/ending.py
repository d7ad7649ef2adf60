"""What every end of a reply writes, inside the transaction of whoever ends it."""

from dataclasses import dataclass
from typing import Any

from pymongo import ASCENDING, ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from message_service.clock import now
from message_service.ids import MessageId, ReplyId
from message_service.messages.message import Message, Role
from message_service.messages.reply import Outcome, Reply, ReplyStatus, WorkKind
from message_service.store.accounts import charge
from message_service.store.audit import AuditAction, audit_row
from message_service.store.database import Database
from message_service.store.dead_letters import dead_letter_row
from message_service.store.ledger import book
from message_service.store.mapping import (
    MOST_ATTEMPTS_KEPT,
    attempt_to_row,
    conversation_from_row,
    conversation_to_row,
    message_to_row,
    reply_from_row,
    usage_to_row,
)


@dataclass(frozen=True, slots=True)
class Promoted:
    """The reply whose turn it is now."""

    reply_id: ReplyId
    kind: WorkKind


@dataclass(frozen=True, slots=True)
class Ended:
    reply: Reply
    message: Message | None
    """The stored text, if there was any."""
    promoted: Promoted | None


async def end_reply(
    database: Database, filter_: dict[str, Any], outcome: Outcome, session: AsyncClientSession
) -> Ended | None:
    """End the one reply that `filter_` names: state, message, usage, dead letter, the next one's turn.

    None, and nothing written, when no reply matches: the filter is the fence.
    """
    ended_at = now()
    changes: dict[str, Any] = {
        "status": outcome.status.value,
        "is_next": False,
        "take": outcome.take,
        "finished_at": ended_at,
        "provider": outcome.provider,
        "model": outcome.model,
        "finish_reason": outcome.finish_reason.value if outcome.finish_reason else None,
        "usage": usage_to_row(outcome.usage),
        "error": {"code": outcome.error.code, "detail": outcome.error.detail} if outcome.error else None,
    }
    row = await database.replies.find_one_and_update(
        filter_,
        {
            "$set": {field: value for field, value in changes.items() if value is not None},
            "$unset": {"owner": "", "lease_until": "", "not_before": ""},
            **_logged(outcome),
        },
        return_document=ReturnDocument.AFTER,
        session=session,
    )
    if row is None:
        return None
    reply = reply_from_row(row)
    seq, promoted = await _leave_the_line(database, reply, row, outcome, session)
    message = _message_of(reply, outcome, seq) if outcome.text else None
    if message is not None:
        await database.messages.insert_one(message_to_row(message), session=session)
    await book(database, reply, outcome.spent, session)
    await charge(database, reply.user_id, reply.reservation, outcome.spent, session, is_released=True)
    if outcome.status is ReplyStatus.FAILED:
        await database.dead_letters.insert_one(dead_letter_row(reply, row), session=session)
    await database.audit.insert_one(
        audit_row(
            AuditAction.REPLY_ENDED,
            user_id=reply.user_id,
            conversation_id=reply.conversation_id,
            subject=reply.id,
            at=ended_at,
            outcome=outcome.status.value,
        ),
        session=session,
    )
    return Ended(reply, message, promoted)


def _logged(outcome: Outcome) -> dict[str, Any]:
    if not outcome.attempt_log:
        return {}
    rows = [attempt_to_row(attempt) for attempt in outcome.attempt_log]
    return {"$push": {"attempt_log": {"$each": rows, "$slice": -MOST_ATTEMPTS_KEPT}}}


async def _leave_the_line(
    database: Database, reply: Reply, row: dict[str, Any], outcome: Outcome, session: AsyncClientSession
) -> tuple[int, Promoted | None]:
    """Write the conversation without this reply; the seq of its message, and whose turn it is now."""
    stored = await database.conversations.find_one({"_id": reply.conversation_key}, session=session)
    assert stored is not None, "a reply is stored with its conversation"
    before = conversation_from_row(stored)
    promoted = None
    if before.active_reply == reply.id and before.waiting_replies:
        promoted = await _promote_oldest(database, reply, session)
    after = before.without_reply(
        reply.id,
        has_text=bool(outcome.text),
        fallback_head=MessageId(row["fallback_head"]),
        next_reply=promoted.reply_id if promoted else None,
    )
    await database.conversations.update_one(
        {"_id": reply.conversation_key}, {"$set": conversation_to_row(after)}, session=session
    )
    if after.reserved and not outcome.text:
        # Nothing will ever stand where this reply would have stood, so no later reply may fall back to it.
        await database.replies.update_many(
            {
                "conversation_key": reply.conversation_key,
                "status": {"$in": ["queued", "running"]},
                "fallback_head": reply.id,
            },
            {"$set": {"fallback_head": row["fallback_head"]}},
            session=session,
        )
    return after.last_seq, promoted


async def _promote_oldest(database: Database, reply: Reply, session: AsyncClientSession) -> Promoted | None:
    row = await database.replies.find_one_and_update(
        {"conversation_key": reply.conversation_key, "status": "queued"},
        {"$set": {"is_next": True}},
        projection={"kind": 1},
        sort=[("turn", ASCENDING)],
        session=session,
    )
    return Promoted(ReplyId(row["_id"]), WorkKind(row["kind"])) if row else None


def _message_of(reply: Reply, outcome: Outcome, seq: int) -> Message:
    return Message(
        id=MessageId(reply.id),
        conversation_id=reply.conversation_id,
        user_id=reply.user_id,
        seq=seq,
        parent_id=reply.message_id,
        role=Role.ASSISTANT,
        content=outcome.text,
        tokens=outcome.text_tokens,
        created_at=now(),
        character_id=reply.character_id,
        reply_to=reply.message_id,
        provider=outcome.provider,
        model=outcome.model,
        finish_reason=outcome.finish_reason,
        usage=outcome.usage,
    )

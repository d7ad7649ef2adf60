"""What every end of a reply writes, inside the transaction of whoever ends it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from message_service.clock import now
from message_service.ids import ConversationKey, MessageId, ReplyId
from message_service.messages.conversation import Conversation
from message_service.messages.message import Message
from message_service.messages.reply import Outcome, Reply, ReplyStatus, WorkKind
from message_service.store.batch import insert_all, update_all
from message_service.store.database import Database, Row
from message_service.store.ending_rows import EndingRows, message_of
from message_service.store.mapping import (
    MOST_ATTEMPTS_KEPT,
    attempt_to_row,
    conversation_from_row,
    conversation_to_row,
    reply_from_row,
    usage_to_row,
)

_LEFT_BEHIND = ("owner", "claim", "lease_until", "not_before", "under_way", "reprieves")
"""What only a reply that has not ended has."""


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
    at = now()
    row = await database.replies.find_one_and_update(
        filter_, _change(outcome, at), return_document=ReturnDocument.AFTER, session=session
    )
    if row is None:
        return None
    conversations = await _conversations(database, [row["conversation_key"]], session)
    return (await _end_all(database, [(row, outcome)], conversations, at, session))[0]


async def end_replies(
    database: Database, claimed: Sequence[tuple[Reply, Outcome]], session: AsyncClientSession
) -> list[Ended | None]:
    """As `end_reply` for several claimed replies of different conversations, with as many commands as for one.

    None for each that is no longer at its claim's epoch.
    """
    at = now()
    found = await database.replies.find({"_id": {"$in": [reply.id for reply, _ in claimed]}}, session=session).to_list()
    rows = {row["_id"]: row for row in found}
    ours = [
        (rows[reply.id], outcome)
        for reply, outcome in claimed
        if reply.id in rows and _is_at(rows[reply.id], reply.epoch)
    ]
    if not ours:
        return [None] * len(claimed)
    # Whoever changed one of them since it was read makes this a conflict, and everything is done again.
    await update_all(
        database.replies, [{"q": {"_id": row["_id"]}, "u": _change(outcome, at)} for row, outcome in ours], session
    )
    for row, outcome in ours:
        row.update(_fields(outcome, at))
        row["attempt_log"] = [*row.get("attempt_log", ()), *_attempts(outcome)][-MOST_ATTEMPTS_KEPT:]
        for field in _LEFT_BEHIND:
            row.pop(field, None)
    conversations = await _conversations(database, [row["conversation_key"] for row, _ in ours], session)
    ended = await _end_all(database, ours, conversations, at, session)
    by_id = {one.reply.id: one for one in ended}
    return [by_id.get(reply.id) for reply, _ in claimed]


def _is_at(row: Row, epoch: int) -> bool:
    return bool(row["epoch"] == epoch and row["status"] == ReplyStatus.RUNNING.value)


def _fields(outcome: Outcome, at: datetime) -> Row:
    fields: Row = {
        "status": outcome.status.value,
        "is_next": False,
        "take": outcome.take,
        "finished_at": at,
        "provider": outcome.provider,
        "model": outcome.model,
        "finish_reason": outcome.finish_reason.value if outcome.finish_reason else None,
        "usage": usage_to_row(outcome.usage),
        "error": {"code": outcome.error.code, "detail": outcome.error.detail} if outcome.error else None,
    }
    return {field: value for field, value in fields.items() if value is not None}


def _change(outcome: Outcome, at: datetime) -> Row:
    logged = {"attempt_log": {"$each": _attempts(outcome), "$slice": -MOST_ATTEMPTS_KEPT}}
    return {"$set": _fields(outcome, at), "$unset": dict.fromkeys(_LEFT_BEHIND, ""), "$push": logged}


def _attempts(outcome: Outcome) -> list[Row]:
    return [attempt_to_row(attempt) for attempt in outcome.attempt_log]


async def _conversations(
    database: Database, keys: Sequence[ConversationKey], session: AsyncClientSession
) -> dict[ConversationKey, Conversation]:
    rows = await database.conversations.find({"_id": {"$in": list(keys)}}, session=session).to_list()
    return {conversation.key: conversation for conversation in map(conversation_from_row, rows)}


async def _end_all(
    database: Database,
    ends: Sequence[tuple[Row, Outcome]],
    conversations: dict[ConversationKey, Conversation],
    at: datetime,
    session: AsyncClientSession,
) -> list[Ended]:
    """All that follows once the replies are in their terminal states."""
    rows = EndingRows()
    lines: list[Row] = []
    ended: list[Ended] = []
    for row, outcome in ends:
        reply = reply_from_row(row)
        before = conversations[reply.conversation_key]
        promoted = None
        if before.active_reply == reply.id and before.waiting_replies:
            promoted = await _promote_oldest(database, reply, session)
        after = before.without_reply(
            reply.id,
            has_text=bool(outcome.text),
            fallback_head=MessageId(row["fallback_head"]),
            next_reply=promoted.reply_id if promoted else None,
        )
        lines.append({"q": {"_id": after.key}, "u": {"$set": conversation_to_row(after)}})
        if after.reserved and not outcome.text:
            await _forget_as_fallback(database, reply, row["fallback_head"], session)
        message = message_of(reply, outcome, after.last_seq) if outcome.text else None
        rows.add(reply, outcome, message, row, at)
        ended.append(Ended(reply, message, promoted))
    await update_all(database.conversations, lines, session)
    await _write(database, rows, session)
    return ended


async def _promote_oldest(database: Database, reply: Reply, session: AsyncClientSession) -> Promoted | None:
    row = await database.replies.find_one_and_update(
        {"conversation_key": reply.conversation_key, "status": "queued"},
        {"$set": {"is_next": True}},
        projection={"kind": 1},
        sort=[("turn", ASCENDING)],
        session=session,
    )
    return Promoted(ReplyId(row["_id"]), WorkKind(row["kind"])) if row else None


async def _forget_as_fallback(
    database: Database, reply: Reply, fallback_head: str, session: AsyncClientSession
) -> None:
    """Nothing will ever stand where this reply would have stood, so no later reply may fall back to it."""
    await database.replies.update_many(
        {
            "conversation_key": reply.conversation_key,
            "status": {"$in": ["queued", "running"]},
            "fallback_head": reply.id,
        },
        {"$set": {"fallback_head": fallback_head}},
        session=session,
    )


async def _write(database: Database, rows: EndingRows, session: AsyncClientSession) -> None:
    for collection, documents in (
        (database.messages, rows.messages),
        (database.usage, rows.usage),
        (database.dead_letters, rows.dead_letters),
        (database.audit, rows.audit),
    ):
        if documents:
            await insert_all(collection, documents, session)
    if rows.charges:
        await update_all(database.accounts, rows.charges, session)

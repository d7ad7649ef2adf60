"""Audit rows, written in the same transaction as what they tell of."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from bson import ObjectId

from message_service.ids import ConversationId, MessageId, ReplyId, UserId


class AuditAction(StrEnum):
    MESSAGE_ACCEPTED = "message.accepted"
    MESSAGE_DELETED = "message.deleted"
    MESSAGE_RESTORED = "message.restored"
    REPLY_ASKED = "reply.asked"
    REPLY_CANCEL_REQUESTED = "reply.cancel_requested"
    REPLY_ENDED = "reply.ended"
    DEAD_LETTER_RETRIED = "dead_letter.retried"
    DEAD_LETTER_DROPPED = "dead_letter.dropped"


def audit_row(
    action: AuditAction,
    *,
    user_id: UserId,
    conversation_id: ConversationId,
    subject: MessageId | ReplyId,
    at: datetime,
    outcome: str | None = None,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "_id": ObjectId(),
        "action": action.value,
        "user_id": user_id,
        "conversation_id": conversation_id,
        "subject": subject,
        "at": at,
    }
    if outcome is not None:
        row["outcome"] = outcome
    return row

"""Audit rows, written in the same transaction as what they tell of."""

from collections.abc import Mapping
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
    LIMITS_SET = "limits.set"
    LIMITS_CLEARED = "limits.cleared"


def audit_row(
    action: AuditAction,
    *,
    user_id: UserId,
    subject: MessageId | ReplyId | UserId,
    at: datetime,
    conversation_id: ConversationId | None = None,
    outcome: str | None = None,
    limits: Mapping[str, int | None] | None = None,
) -> dict[str, Any]:
    """`user_id` did it to `subject`; `limits` are what the subject may use from then on."""
    row: dict[str, Any] = {
        "_id": ObjectId(),
        "action": action.value,
        "user_id": user_id,
        "conversation_id": conversation_id,
        "subject": subject,
        "at": at,
        "outcome": outcome,
        "limits": limits,
    }
    return {field: value for field, value in row.items() if value is not None}

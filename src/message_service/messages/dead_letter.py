"""What is known of a reply that failed, and what became of it. Never any text. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from message_service.ids import ConversationId, MessageId, ReplyId, UserId
from message_service.messages.reply import Asked, ReplyError, WorkKind


class DeadLetterState(StrEnum):
    OPEN = "open"
    RETRIED = "retried"
    """Another reply was asked for: `retried_as`."""
    DROPPED = "dropped"
    """Somebody decided that nothing is to be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """`asked_at` and `failed_at` are the reply's times."""

    reply_id: ReplyId
    message_id: MessageId
    user_id: UserId
    conversation_id: ConversationId
    kind: WorkKind
    asked: Asked
    error: ReplyError
    attempts: int
    asked_at: datetime
    failed_at: datetime
    state: DeadLetterState
    retried_as: ReplyId | None

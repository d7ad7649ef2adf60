"""A message: a fact. Inserted once, never edited; only soft deletion changes, and can be undone."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from message_service.ids import CharacterId, ConversationId, MessageId, UserId
from message_service.messages.reply import FinishReason, Usage

MAX_CONTENT_CHARACTERS = 50_000
"""Counted in Unicode code points, after sanitising."""
MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY_CHARACTERS = 64
MAX_METADATA_VALUE_CHARACTERS = 512


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


# Not frozen, though nobody may assign to one: a frozen one takes three times as long to build, and a page has 50.
@dataclass(slots=True, kw_only=True)
class Message:
    """`seq` is dense and strictly rising in its conversation: order is by `seq`, never by time.

    `parent_id` names the message this one follows. It may be the id of a reply that is still being
    written, or of one that ended without text.
    """

    id: MessageId
    conversation_id: ConversationId
    user_id: UserId
    seq: int
    parent_id: MessageId | None
    role: Role
    content: str
    tokens: int
    """Length of `content` in o200k tokens, counted once."""
    created_at: datetime
    character_id: CharacterId | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    reply_to: MessageId | None = None
    """On an assistant message: the user message it answers."""
    provider: str | None = None
    model: str | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A checked message that has no place in its conversation yet."""

    id: MessageId
    user_id: UserId
    conversation_id: ConversationId
    role: Role
    content: str
    tokens: int
    created_at: datetime
    parent_id: MessageId | None = None
    """None: it follows the newest message on the conversation's current path."""
    character_id: CharacterId | None = None
    metadata: dict[str, str] = field(default_factory=dict)

"""The collections: their fields and indexes. Hot paths read and write them as plain documents through `mapping`."""

from datetime import datetime
from typing import Any, ClassVar

from beanie import Document, PydanticObjectId
from pymongo import ASCENDING, IndexModel

from message_service.store.document_parts import AbandonedFields, AttemptFields, SpanFields, UsageFields

IDEMPOTENCY_KEPT_SECONDS = 24 * 3600


class ConversationDocument(Document):
    """`_id` is the conversation key."""

    id: str  # type: ignore[assignment]  # ours are strings, Beanie's default is an ObjectId
    user_id: str
    conversation_id: str
    last_seq: int
    reserved: int
    asked_replies: int
    head: str | None
    active_reply: str | None
    waiting_replies: int
    repaired_at: datetime | None = None

    class Settings:
        name = "conversations"


class MessageDocument(Document):
    id: str  # type: ignore[assignment]  # ours are strings
    conversation_key: str
    conversation_id: str
    user_id: str
    seq: int
    parent_id: str | None = None
    role: str
    content: str
    tokens: int
    created_at: datetime
    character_id: str | None = None
    metadata: dict[str, str] | None = None
    reply_to: str | None = None
    provider: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    usage: UsageFields | None = None
    deleted_at: datetime | None = None

    class Settings:
        name = "messages"
        indexes: ClassVar = [
            IndexModel([("conversation_key", ASCENDING), ("seq", ASCENDING)], name="path", unique=True),
            # Counts a user's last minute when Redis cannot; assistant messages are nobody's to limit.
            IndexModel(
                [("user_id", ASCENDING), ("created_at", ASCENDING)],
                name="posted",
                partialFilterExpression={"role": {"$in": ["user", "system"]}},
            ),
        ]


class ReplyDocument(Document):
    id: str  # type: ignore[assignment]  # ours are strings
    message_id: str
    conversation_key: str
    conversation_id: str
    user_id: str
    turn: int
    is_next: bool
    """Whether it is this reply's turn in its conversation."""
    status: str
    kind: str
    asked: dict[str, Any]
    fallback_head: str
    """What the conversation's head returns to if this reply ends without text."""
    created_at: datetime
    deadline: datetime
    character_id: str | None = None
    not_before: datetime | None = None
    attempts: int = 0
    reprieves: int = 0
    """Attempts given back because its worker survived it for a while, though earlier ones had died."""
    epoch: int = 0
    owner: str | None = None
    claim: PydanticObjectId | None = None
    """Which command claimed it: one that claims several finds by it those it got."""
    lease_until: datetime | None = None
    is_cancel_requested: bool = False
    take: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    provider: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    usage: UsageFields | None = None
    error: dict[str, str] | None = None
    reservation: dict[str, Any] | None = None
    """What it set aside of its user's budget. Its end settles it, and it has one end."""
    setback: dict[str, str] | None = None
    """Why the last attempt was handed back."""
    attempt_log: list[AttemptFields] | None = None
    under_way: list[AttemptFields] | None = None
    """Since the claim, as far as its worker has noted them: for whoever books them should it die."""
    abandoned: list[AbandonedFields] | None = None

    class Settings:
        name = "replies"
        indexes: ClassVar = [
            IndexModel([("message_id", ASCENDING), ("turn", ASCENDING)], name="variants"),
            # Counts a user's last minute when Redis cannot, as `posted` does of messages.
            IndexModel(
                [("user_id", ASCENDING), ("created_at", ASCENDING)],
                name="asked_again",
                partialFilterExpression={"kind": "variant"},
            ),
            IndexModel(
                [("conversation_key", ASCENDING), ("turn", ASCENDING)],
                name="turns",
                partialFilterExpression={"status": {"$in": ["queued", "running"]}},
            ),
            IndexModel(
                [("conversation_key", ASCENDING)],
                name="one_running",
                unique=True,
                partialFilterExpression={"status": "running"},
            ),
            IndexModel(
                [("kind", ASCENDING), ("_id", ASCENDING)],
                name="ready",
                partialFilterExpression={"status": "queued", "is_next": True},
            ),
            # Counted to know when there is too much: see `backlog`.
            IndexModel([("status", ASCENDING)], name="waiting", partialFilterExpression={"status": "queued"}),
            IndexModel([("lease_until", ASCENDING)], name="leases", partialFilterExpression={"status": "running"}),
            IndexModel([("owner", ASCENDING)], name="owned", partialFilterExpression={"status": "running"}),
        ]


class IdempotencyDocument(Document):
    """`_id` is the user id and the key; the first result is rebuilt from what it names."""

    id: str  # type: ignore[assignment]  # ours are strings
    body_hash: bytes
    message_id: str
    reply_id: str | None
    position: int | None
    created_at: datetime

    class Settings:
        name = "idempotency"
        indexes: ClassVar = [
            IndexModel([("created_at", ASCENDING)], name="kept_for_a_day", expireAfterSeconds=IDEMPOTENCY_KEPT_SECONDS)
        ]


class UsageDocument(Document):
    """Append-only: one row for each attempt that used tokens, and for each correction of one.

    `_id` is the reply id, the epoch of its claim and the attempt's number; a correction appends its own number.
    """

    id: str  # type: ignore[assignment]  # ours are strings
    reply_id: str
    user_id: str
    conversation_id: str
    character_id: str | None = None
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    is_estimated: bool
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    at: datetime
    is_kept: bool
    """Whether the reply's stored text ended with this attempt."""
    attempts: int
    """1; 0 in a correction. Added up as they are."""
    unpriced_attempts: int
    """1 where the price was not known; -1 in the correction that brings it."""
    cost_nano_usd: int | None = None
    price_table: str
    is_recovered: bool = False
    """Whether somebody else booked it for a worker that was not heard of any more."""
    corrects: str | None = None
    """`_id` of the row whose cost this one changes."""

    class Settings:
        name = "usage"
        indexes: ClassVar = [
            IndexModel([("user_id", ASCENDING), ("at", ASCENDING)], name="by_user"),
            IndexModel([("at", ASCENDING)], name="by_time"),
            IndexModel(
                [("corrects", ASCENDING)], name="corrections", partialFilterExpression={"corrects": {"$exists": True}}
            ),
        ]


class AccountDocument(Document):
    """A user's budgets. `_id` is the user id; all that is ever asked for."""

    id: str  # type: ignore[assignment]  # ours are strings
    day: SpanFields | None = None
    month: SpanFields | None = None
    limits: dict[str, int | None] | None = None

    class Settings:
        name = "accounts"


class DeadLetterDocument(Document):
    """One for each reply that ended `failed`. `_id` is the reply id. Never any text."""

    id: str  # type: ignore[assignment]  # ours are strings
    message_id: str
    user_id: str
    conversation_id: str
    kind: str
    asked: dict[str, Any]
    error: dict[str, str]
    attempts: int
    asked_at: datetime
    failed_at: datetime
    state: str
    retried_as: str | None = None

    class Settings:
        name = "dead_letters"
        indexes: ClassVar = [
            IndexModel([("state", ASCENDING), ("_id", ASCENDING)], name="by_state"),
            IndexModel([("user_id", ASCENDING), ("state", ASCENDING), ("_id", ASCENDING)], name="by_user"),
            IndexModel([("error.code", ASCENDING), ("state", ASCENDING), ("_id", ASCENDING)], name="by_code"),
        ]


class AuditDocument(Document):
    """Append-only: who did what to which message, reply or user's limits, and when. Never any text."""

    action: str
    user_id: str
    conversation_id: str | None = None
    subject: str
    at: datetime
    outcome: str | None = None
    limits: dict[str, int | None] | None = None
    """What the subject may use from then on."""

    class Settings:
        name = "audit"
        indexes: ClassVar = [IndexModel([("user_id", ASCENDING), ("_id", ASCENDING)], name="by_user")]


ALL_DOCUMENTS: list[type[Document]] = [
    ConversationDocument,
    MessageDocument,
    ReplyDocument,
    IdempotencyDocument,
    UsageDocument,
    AccountDocument,
    DeadLetterDocument,
    AuditDocument,
]

"""The first step: a message comes in, and is either refused or stored for good.

idempotency -> room in the queue -> rate limit -> sanitise -> accept -> nudge the queue.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from message_service.clock import now
from message_service.context.tokens import TokenCounter
from message_service.errors import (
    ContentTooLong,
    FieldFault,
    RateLimited,
    RelayUnavailable,
    ValidationFailed,
)
from message_service.ids import (
    CharacterId,
    ConversationId,
    ConversationKey,
    MessageId,
    UserId,
    conversation_key,
    new_message_id,
    new_reply_id,
)
from message_service.journey.estimate import Estimator, estimate
from message_service.limits.rate import WINDOW_SECONDS, Allowance, RateLimiter
from message_service.logs import log
from message_service.messages.message import (
    MAX_CONTENT_CHARACTERS,
    MAX_METADATA_KEY_CHARACTERS,
    MAX_METADATA_VALUE_CHARACTERS,
    NewMessage,
    Role,
)
from message_service.messages.reply import Asked, NewReply, WorkKind
from message_service.safety.sanitise import is_blank, sanitise
from message_service.store.accept import Acceptance
from message_service.store.accept_plan import Submission
from message_service.store.backlog import Backlog
from message_service.store.idempotency import Accepted, IdempotencyClaim, IdempotencyRecords
from message_service.store.messages import Messages
from message_service.store.replies import Replies
from message_service.work.queue import WorkQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedMessage:
    """A message as its author sent it."""

    user_id: UserId
    conversation_id: ConversationId
    content: str
    role: Role = Role.USER
    character_id: CharacterId | None = None
    parent_id: MessageId | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    asked: Asked | None = None
    """How to answer it. None: store it only."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was stored, and what is left of the author's allowance (None where a replay cost nothing)."""

    accepted: Accepted
    allowance: Allowance | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontDesk:
    """What submitting needs."""

    idempotency: IdempotencyRecords
    rate: RateLimiter
    counter: TokenCounter
    acceptance: Acceptance
    messages: Messages
    replies: Replies
    queue: WorkQueue
    backlog: Backlog
    reply_deadline_seconds: float
    estimator: Estimator | None = None
    """None: budgets are off, and nothing is looked up."""


async def submit(posted: PostedMessage, *, claim: IdempotencyClaim | None, desk: FrontDesk) -> Receipt:
    """Check the message, keep it, and queue the reply it asks for.

    Returns only when a majority holds it. Raises `RateLimited`, `QuotaExceeded`, `ValidationFailed`, `ContentTooLong`,
    `ConversationFull`, `IdempotencyKeyReused`, `Overloaded` (nothing is stored then); and `StoreUnavailable`,
    after which the same key tells what happened.
    """
    if claim is not None and (first := await desk.idempotency.find(claim)) is not None:
        return Receipt(first, None)
    if posted.asked is not None:
        await desk.backlog.require_room()
    allowance = await spend_allowance(posted.user_id, desk)
    content = checked_content(posted.content)
    tokens = await desk.counter.count_beside(content)
    reply = None
    if posted.asked is not None:
        key = conversation_key(posted.user_id, posted.conversation_id)
        reply = await _new_reply(posted.asked, WorkKind.REPLY, key, tokens, desk)
    accepted = await desk.acceptance.accept(
        Submission(
            user_id=posted.user_id,
            conversation_id=posted.conversation_id,
            message=NewMessage(
                id=new_message_id(),
                user_id=posted.user_id,
                conversation_id=posted.conversation_id,
                role=posted.role,
                content=content,
                tokens=tokens,
                created_at=now(),
                parent_id=posted.parent_id,
                character_id=posted.character_id,
                metadata=checked_metadata(posted.metadata),
            ),
            reply=reply,
            ahead=desk.backlog.ahead,
            idempotency=claim,
        )
    )
    return await _receipt(accepted, allowance, desk)


async def ask_again(
    message_id: MessageId, user_id: UserId, asked: Asked, *, claim: IdempotencyClaim | None, desk: FrontDesk
) -> Receipt:
    """Queue another reply to a stored user message. Raises as `submit`, and `MessageNotFound`."""
    if claim is not None and (first := await desk.idempotency.find(claim)) is not None:
        return Receipt(first, None)
    answered = await desk.messages.find_visible(message_id, user_id)
    if answered.role is not Role.USER:
        raise ValidationFailed([FieldFault("", "Only a user's message can be answered.")])
    await desk.backlog.require_room()
    allowance = await spend_allowance(user_id, desk)
    key = conversation_key(user_id, answered.conversation_id)
    accepted = await desk.acceptance.accept(
        Submission(
            user_id=user_id,
            conversation_id=answered.conversation_id,
            answered=answered,
            reply=await _new_reply(asked, WorkKind.VARIANT, key, 0, desk),
            ahead=desk.backlog.ahead,
            idempotency=claim,
        )
    )
    return await _receipt(accepted, allowance, desk)


def checked_content(content: str) -> str:
    """`content` as it is stored. Raises `ValidationFailed` for nothing to read, `ContentTooLong`."""
    clean = sanitise(content)
    if len(clean) > MAX_CONTENT_CHARACTERS:
        raise ContentTooLong(
            f"The content has {len(clean):,} characters; at most {MAX_CONTENT_CHARACTERS:,} are accepted."
        )
    if is_blank(clean):
        raise ValidationFailed([FieldFault("/content", "There is nothing to read in it.")])
    return clean


def checked_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """`metadata` as it is stored. Raises `ValidationFailed` where sanitising emptied, merged or overstretched it."""
    clean = {sanitise(key): sanitise(text) for key, text in metadata.items()}
    is_sound = len(clean) == len(metadata) and all(
        0 < len(key) <= MAX_METADATA_KEY_CHARACTERS and len(text) <= MAX_METADATA_VALUE_CHARACTERS
        for key, text in clean.items()
    )
    if not is_sound:
        raise ValidationFailed(
            [
                FieldFault(
                    "/metadata",
                    "As plain text in Unicode NFC, a key is empty, double or too long, or a value too long.",
                )
            ]
        )
    return clean


async def spend_allowance(user_id: UserId, desk: FrontDesk) -> Allowance:
    """One message of the user's limit. Without Redis the stored messages and variants are counted instead."""
    try:
        return await desk.rate.spend(user_id)
    except RelayUnavailable:
        since, limit = now() - timedelta(seconds=WINDOW_SECONDS), desk.rate.limit
        spent = await desk.messages.count_posted(user_id, since=since, at_most=limit)
        spent += await desk.replies.count_variants(user_id, since=since, at_most=limit)
        if spent >= limit:
            raise RateLimited(limit=limit, window_seconds=WINDOW_SECONDS, retry_after_seconds=WINDOW_SECONDS) from None
        return Allowance(limit, limit - spent - 1, WINDOW_SECONDS)


async def _new_reply(asked: Asked, kind: WorkKind, key: ConversationKey, new_tokens: int, desk: FrontDesk) -> NewReply:
    demand = await estimate(key, new_tokens, asked, estimator=desk.estimator) if desk.estimator is not None else None
    return NewReply(
        id=new_reply_id(), asked=asked, kind=kind, deadline_seconds=desk.reply_deadline_seconds, demand=demand
    )


async def _receipt(accepted: Accepted, allowance: Allowance, desk: FrontDesk) -> Receipt:
    if accepted.is_replay:
        # The same key came twice at once, and the other one was first: a replay costs nothing.
        await desk.rate.refund(accepted.message.user_id)
        return Receipt(accepted, None)
    _nudge(accepted, desk)
    return Receipt(accepted, allowance)


def _nudge(accepted: Accepted, desk: FrontDesk) -> None:
    reply_id = accepted.reply.id if accepted.reply is not None else None
    log.debug("message.accepted", message=accepted.message.id, reply=reply_id)
    if accepted.reply is None:
        return
    desk.backlog.added(is_next=accepted.is_next)
    # Behind another reply of its conversation it is told of when its turn comes.
    if accepted.is_next:
        desk.queue.announce(accepted.reply.id, accepted.reply.kind)

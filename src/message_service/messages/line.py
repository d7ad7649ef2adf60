"""What a conversation must say of its unfinished replies, and they of their turn. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from message_service.ids import ReplyId
from message_service.messages.conversation import Conversation


class Disagreement(StrEnum):
    """What was found to be wrong."""

    LOST_TURN = "lost_turn"
    """The reply whose turn it is does not know, so nobody can take it."""
    EXTRA_TURN = "extra_turn"
    """A reply believes that it is its turn while it is another's."""
    ACTIVE_REPLY = "active_reply"
    WAITING_REPLIES = "waiting_replies"
    RESERVED = "reserved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An unfinished reply in its conversation's line."""

    reply_id: ReplyId
    turn: int
    is_running: bool
    is_next: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """The conversation as it must be; `next_reply` is the one reply that has the turn."""

    disagreements: tuple[Disagreement, ...]
    conversation: Conversation
    next_reply: ReplyId | None


def correction_of(conversation: Conversation, line: Sequence[Place]) -> Correction | None:
    """How to make the conversation and all its unfinished replies agree; None when they do.

    The turn is the running reply's, for somebody is at work on it; else that of the one asked for first.
    """
    holder = min(line, key=lambda place: (not place.is_running, place.turn), default=None)
    right = replace(
        conversation,
        active_reply=holder.reply_id if holder else None,
        waiting_replies=len(line) - 1 if holder else 0,
        reserved=len(line),
    )
    checks = {
        Disagreement.LOST_TURN: holder is None or holder.is_next,
        Disagreement.EXTRA_TURN: not any(place.is_next for place in line if place is not holder),
        Disagreement.ACTIVE_REPLY: conversation.active_reply == right.active_reply,
        Disagreement.WAITING_REPLIES: conversation.waiting_replies == right.waiting_replies,
        Disagreement.RESERVED: conversation.reserved == right.reserved,
    }
    wrong = tuple(what for what, agrees in checks.items() if not agrees)
    return Correction(disagreements=wrong, conversation=right, next_reply=right.active_reply) if wrong else None

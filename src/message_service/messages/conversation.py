"""A conversation as this service sees it: a counter, a current path, and replies that take turns. Pure."""

from dataclasses import dataclass, replace

from message_service.errors import ConversationFull
from message_service.ids import ConversationId, ConversationKey, MessageId, ReplyId, UserId

MAX_MESSAGES = 10_000
"""Messages in a conversation, those included for which room is reserved because a reply is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The one document that every change of a conversation writes: it serialises them."""

    key: ConversationKey
    user_id: UserId
    conversation_id: ConversationId
    last_seq: int = 0
    reserved: int = 0
    """Places kept for messages of replies that were asked for and have not ended."""
    asked_replies: int = 0
    """Replies ever asked for; numbers their turns."""
    head: MessageId | None = None
    """Newest message on the current path, or the id of the reply that will be. The next message follows it."""
    active_reply: ReplyId | None = None
    """The reply whose turn it is."""
    waiting_replies: int = 0
    """Replies queued behind it."""

    def with_message(self, message_id: MessageId) -> "Conversation":
        """One more message at the end of the current path. Raises `ConversationFull`."""
        self._require_room(1)
        return replace(self, last_seq=self.last_seq + 1, head=message_id)

    def with_reply(self, reply_id: ReplyId) -> "Conversation":
        """One more reply asked for: its place is reserved, it becomes the head, and it takes its turn.

        Raises `ConversationFull`.
        """
        self._require_room(1)
        is_first = self.active_reply is None
        return replace(
            self,
            reserved=self.reserved + 1,
            asked_replies=self.asked_replies + 1,
            head=MessageId(reply_id),
            active_reply=reply_id if is_first else self.active_reply,
            waiting_replies=self.waiting_replies + (0 if is_first else 1),
        )

    def without_reply(
        self, reply_id: ReplyId, *, has_text: bool, fallback_head: MessageId, next_reply: ReplyId | None
    ) -> "Conversation":
        """The reply has ended, with or without a message. `next_reply` is the oldest one still waiting, if any."""
        was_active = self.active_reply == reply_id
        has_left_the_line = not was_active or next_reply is not None
        return replace(
            self,
            last_seq=self.last_seq + (1 if has_text else 0),
            reserved=self.reserved - 1,
            head=fallback_head if self.head == MessageId(reply_id) and not has_text else self.head,
            active_reply=next_reply if was_active else self.active_reply,
            waiting_replies=self.waiting_replies - (1 if has_left_the_line else 0),
        )

    @property
    def replies_ahead(self) -> int:
        """How many replies would be answered before one asked for now."""
        return self.waiting_replies + (0 if self.active_reply is None else 1)

    def _require_room(self, wanted: int) -> None:
        if self.last_seq + self.reserved + wanted > MAX_MESSAGES:
            raise ConversationFull(f"A conversation holds at most {MAX_MESSAGES:,} messages; this one is full.")

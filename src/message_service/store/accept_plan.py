"""What accepting writes: the documents that submissions become, given the conversations as they are stored. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from message_service.clock import now
from message_service.errors import FieldFault, ValidationFailed
from message_service.ids import ConversationId, ConversationKey, MessageId, UserId, conversation_key
from message_service.messages.budget import Account, Reservation
from message_service.messages.conversation import Conversation
from message_service.messages.message import Message, NewMessage
from message_service.messages.reply import NewReply, Reply, ReplyStatus
from message_service.store.audit import AuditAction, audit_row
from message_service.store.idempotency import Accepted, IdempotencyClaim
from message_service.store.mapping import message_to_row, reply_to_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What to accept: a new message, a reply to it, or another reply to a message that is stored."""

    user_id: UserId
    conversation_id: ConversationId
    message: NewMessage | None = None
    answered: Message | None = None
    """The stored user message that gets another reply; then `message` is None."""
    reply: NewReply | None = None
    ahead: int = 0
    """Replies of others that come before it, should it be the next of its conversation."""
    idempotency: IdempotencyClaim | None = None

    @property
    def key(self) -> ConversationKey:
        return conversation_key(self.user_id, self.conversation_id)


class Plan:
    """The documents of a batch, gathered as each submission is given its place."""

    def __init__(
        self,
        conversations: dict[ConversationKey, Conversation],
        known_parents: set[MessageId],
        accounts: Mapping[UserId, Account] | None = None,
    ) -> None:
        self.conversations = conversations
        self.changed: set[ConversationKey] = set()
        self.messages: list[dict[str, Any]] = []
        self.replies: list[dict[str, Any]] = []
        self.audit: list[dict[str, Any]] = []
        self.idempotency: list[dict[str, Any]] = []
        self.charged: dict[UserId, Account] = {}
        """Accounts in which something was set aside."""
        self._known_parents = known_parents
        self._accounts = accounts or {}

    def place(self, submission: Submission) -> Accepted:
        """Give the submission its place.

        Raises `ConversationFull`, `ValidationFailed` or `QuotaExceeded`, and changes nothing.
        """
        before = self.conversations.get(submission.key) or Conversation(
            key=submission.key, user_id=submission.user_id, conversation_id=submission.conversation_id
        )
        after, message = self._place_message(before, submission)
        position, is_next = None, False
        reply = None
        if submission.reply is not None:
            is_next = after.replies_ahead == 0
            position = submission.ahead if is_next else after.replies_ahead
            after = after.with_reply(submission.reply.id)
            reply = _queued(submission.reply, message, self._reserve(submission, submission.reply))
            fallback_head = message.id if submission.message is not None else before.head or message.id
            self.replies.append(
                reply_to_row(
                    reply, turn=after.asked_replies, is_next=after.active_reply == reply.id, fallback_head=fallback_head
                )
            )
        if submission.message is not None:
            self.messages.append(message_to_row(message))
        self._tell_audit(submission, message, reply)
        accepted = Accepted(message=message, reply=reply, position=position, is_next=is_next)
        if submission.idempotency is not None:
            self.idempotency.append(submission.idempotency.to_row(accepted))
        self.conversations[submission.key] = after
        self.changed.add(submission.key)
        return accepted

    def _place_message(self, before: Conversation, submission: Submission) -> tuple[Conversation, Message]:
        new = submission.message
        if new is None:
            assert submission.answered is not None
            return before, submission.answered
        if new.parent_id is not None and new.parent_id not in self._known_parents:
            raise ValidationFailed([FieldFault("/parent_id", "There is no such message in this conversation.")])
        after = before.with_message(new.id)
        if submission.reply is not None:
            after.with_reply(submission.reply.id)  # refused as a whole, before anything is planned
        message = Message(
            id=new.id,
            user_id=new.user_id,
            conversation_id=new.conversation_id,
            seq=after.last_seq,
            parent_id=new.parent_id or before.head,
            role=new.role,
            content=new.content,
            tokens=new.tokens,
            created_at=new.created_at,
            character_id=new.character_id,
            metadata=new.metadata,
        )
        return after, message

    def _reserve(self, submission: Submission, new: NewReply) -> Reservation | None:
        """Raises `QuotaExceeded`. Nothing may refuse the reply after this: what was set aside is not given back."""
        if new.demand is None:
            return None
        moment, user = now(), submission.user_id
        account = self.charged.get(user) or self._accounts.get(user) or Account.empty(moment)
        self.charged[user], reservation = account.reserve(new.demand, moment)
        return reservation

    def _tell_audit(self, submission: Submission, message: Message, reply: Reply | None) -> None:
        who = {"user_id": submission.user_id, "conversation_id": submission.conversation_id}
        if submission.message is not None:
            self.audit.append(
                audit_row(AuditAction.MESSAGE_ACCEPTED, subject=message.id, at=message.created_at, **who)  # type: ignore[arg-type]  # a typed mapping
            )
        if reply is not None:
            self.audit.append(audit_row(AuditAction.REPLY_ASKED, subject=reply.id, at=reply.created_at, **who))  # type: ignore[arg-type]  # a typed mapping


def _queued(new: NewReply, message: Message, reservation: Reservation | None) -> Reply:
    created_at = now()
    return Reply(
        id=new.id,
        message_id=message.id,
        conversation_key=conversation_key(message.user_id, message.conversation_id),
        conversation_id=message.conversation_id,
        user_id=message.user_id,
        status=ReplyStatus.QUEUED,
        kind=new.kind,
        asked=new.asked,
        created_at=created_at,
        character_id=message.character_id,
        deadline=created_at + timedelta(seconds=new.deadline_seconds),
        reservation=reservation,
    )

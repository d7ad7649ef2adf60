"""ACCEPT: one transaction after which a message, and the reply asked for, are never lost.

Accepts that arrive together share one transaction. A conflict makes the batch try again and then in
halves, down to its members; no caller sees it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from message_service.clock import now
from message_service.coalesce import Coalescer
from message_service.errors import FieldFault, IdempotencyInProgress, MessageServiceError, ValidationFailed
from message_service.ids import ConversationId, ConversationKey, MessageId, UserId, conversation_key
from message_service.messages.conversation import Conversation
from message_service.messages.message import Message, NewMessage
from message_service.messages.reply import NewReply, Reply, ReplyStatus
from message_service.store.audit import AuditAction, audit_row
from message_service.store.batch import insert_all, upsert_all
from message_service.store.database import Database
from message_service.store.idempotency import Accepted, IdempotencyClaim, IdempotencyRecords
from message_service.store.mapping import conversation_from_row, conversation_to_row, message_to_row, reply_to_row
from message_service.store.transaction import TransactionConflict, run_transaction

# The longest messages there can be, 64 of them, just fit into the 16 MB of one command.
_MOST_IN_A_BATCH = 64
_BATCHES_IN_FLIGHT = 2
_GATHER_SECONDS = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What to accept: a new message, a reply to it, or another reply to a message that is stored."""

    user_id: UserId
    conversation_id: ConversationId
    message: NewMessage | None = None
    answered: Message | None = None
    """The stored user message that gets another reply; then `message` is None."""
    reply: NewReply | None = None
    idempotency: IdempotencyClaim | None = None

    @property
    def key(self) -> ConversationKey:
        return conversation_key(self.user_id, self.conversation_id)


class _Plan:
    """The documents that a batch becomes, given the conversations as they are stored. No I/O."""

    def __init__(self, conversations: dict[ConversationKey, Conversation], known_parents: set[MessageId]) -> None:
        self.conversations = conversations
        self.changed: set[ConversationKey] = set()
        self.messages: list[dict[str, Any]] = []
        self.replies: list[dict[str, Any]] = []
        self.audit: list[dict[str, Any]] = []
        self.idempotency: list[dict[str, Any]] = []
        self._known_parents = known_parents

    def place(self, submission: Submission) -> Accepted:
        """Give the submission its place. Raises `ConversationFull` or `ValidationFailed` and changes nothing."""
        before = self.conversations.get(submission.key) or Conversation(
            key=submission.key, user_id=submission.user_id, conversation_id=submission.conversation_id
        )
        after, message = self._place_message(before, submission)
        position = None
        reply = None
        if submission.reply is not None:
            position = after.replies_ahead
            after = after.with_reply(submission.reply.id)
            reply = _queued(submission.reply, message)
            fallback_head = message.id if submission.message is not None else before.head or message.id
            self.replies.append(
                reply_to_row(
                    reply, turn=after.asked_replies, is_next=after.active_reply == reply.id, fallback_head=fallback_head
                )
            )
        if submission.message is not None:
            self.messages.append(message_to_row(message))
        self._tell_audit(submission, message, reply)
        accepted = Accepted(message=message, reply=reply, position=position)
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

    def _tell_audit(self, submission: Submission, message: Message, reply: Reply | None) -> None:
        who = {"user_id": submission.user_id, "conversation_id": submission.conversation_id}
        if submission.message is not None:
            self.audit.append(
                audit_row(AuditAction.MESSAGE_ACCEPTED, subject=message.id, at=message.created_at, **who)  # type: ignore[arg-type]  # a typed mapping
            )
        if reply is not None:
            self.audit.append(audit_row(AuditAction.REPLY_ASKED, subject=reply.id, at=reply.created_at, **who))  # type: ignore[arg-type]  # a typed mapping


class Acceptance:
    """Accepts submissions, together where they come together."""

    def __init__(self, database: Database, idempotency: IdempotencyRecords) -> None:
        self._database = database
        self._idempotency = idempotency
        self._together: Coalescer[Submission, Accepted] = Coalescer(
            self._accept_batch,
            max_items=_MOST_IN_A_BATCH,
            max_in_flight=_BATCHES_IN_FLIGHT,
            gather_seconds=_GATHER_SECONDS,
            lane_of=lambda submission: submission.key,
            solo_of=lambda submission: submission.idempotency.id if submission.idempotency else None,
        )

    async def accept(self, submission: Submission) -> Accepted:
        """Store the submission for good. The caller going away does not stop it.

        Raises `ConversationFull`, `ValidationFailed` (no such parent), `IdempotencyKeyReused`, and
        `StoreUnavailable` when the outcome is unknown.
        """
        return await self._together.call(submission)

    async def drain(self) -> None:
        await self._together.drain()

    async def _accept_batch(self, batch: Sequence[Submission]) -> Sequence[Accepted | Exception]:
        if len(batch) == 1:
            return [await self._accept_alone(batch[0])]
        try:
            return await self._transact(batch, conflict_retries=1)
        except (DuplicateKeyError, TransactionConflict):
            # One of them met somebody else: halving finds it in few transactions, and the others hardly wait.
            middle = len(batch) // 2
            return [*await self._accept_batch(batch[:middle]), *await self._accept_batch(batch[middle:])]

    async def _accept_alone(self, submission: Submission) -> Accepted | Exception:
        try:
            for _ in range(3):
                try:
                    return (await self._transact([submission], conflict_retries=100))[0]
                except DuplicateKeyError:
                    # The same key from another process won, or the conversation's first message did.
                    if submission.idempotency is not None:
                        first = await self._idempotency.find(submission.idempotency)
                        if first is not None:
                            return first
            return IdempotencyInProgress(retry_after_seconds=1)
        except MessageServiceError as refusal:
            return refusal

    async def _transact(self, batch: Sequence[Submission], *, conflict_retries: int) -> list[Accepted | Exception]:
        async def body(session: AsyncClientSession) -> list[Accepted | Exception]:
            plan = _Plan(await self._read_conversations(batch, session), await self._read_parents(batch, session))
            answers: list[Accepted | Exception] = []
            for submission in batch:
                try:
                    answers.append(plan.place(submission))
                except MessageServiceError as refusal:
                    answers.append(refusal)
            await self._write(plan, session)
            return answers

        return await run_transaction(self._database, body, conflict_retries=conflict_retries)

    async def _read_conversations(
        self, batch: Sequence[Submission], session: AsyncClientSession
    ) -> dict[ConversationKey, Conversation]:
        keys = list({submission.key for submission in batch})
        rows = await self._database.conversations.find({"_id": {"$in": keys}}, session=session).to_list()
        return {conversation.key: conversation for conversation in map(conversation_from_row, rows)}

    async def _read_parents(self, batch: Sequence[Submission], session: AsyncClientSession) -> set[MessageId]:
        """Which of the parents named in the batch exist in the conversation that names them."""
        named = [
            (submission.message.parent_id, submission.key)
            for submission in batch
            if submission.message is not None and submission.message.parent_id is not None
        ]
        known: set[MessageId] = set()
        if named:
            wanted = {"_id": {"$in": [parent for parent, _ in named]}}
            for collection in (self._database.messages, self._database.replies):
                rows = await collection.find(wanted, {"conversation_key": 1}, session=session).to_list()
                found = {(row["_id"], row["conversation_key"]) for row in rows}
                known.update(parent for parent, key in named if (parent, key) in found)
        return known

    async def _write(self, plan: _Plan, session: AsyncClientSession) -> None:
        database = self._database
        if plan.idempotency:
            await insert_all(database.idempotency, plan.idempotency, session)
        if plan.changed:
            changes = [(key, conversation_to_row(plan.conversations[key])) for key in plan.changed]
            await upsert_all(database.conversations, changes, session)
        if plan.messages:
            await insert_all(database.messages, plan.messages, session)
        if plan.replies:
            await insert_all(database.replies, plan.replies, session)
        if plan.audit:
            await insert_all(database.audit, plan.audit, session)


def _queued(new: NewReply, message: Message) -> Reply:
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
    )

"""ACCEPT: one transaction after which a message, and the reply asked for, are never lost.

Accepts that arrive together share one transaction. A conflict makes the batch try again and then in
halves, down to its members; no caller sees it.
"""

from collections.abc import Sequence

from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from message_service.coalesce import Coalescer
from message_service.errors import IdempotencyInProgress, MessageServiceError
from message_service.ids import ConversationKey, MessageId, UserId
from message_service.messages.budget import Account
from message_service.messages.conversation import Conversation
from message_service.store.accept_plan import Plan, Submission
from message_service.store.accounts import read_accounts, write_accounts
from message_service.store.batch import insert_all, upsert_all
from message_service.store.conversation_step import step_pipeline
from message_service.store.database import LONGEST_WAIT_SECONDS, Database, store_is_late
from message_service.store.halves import in_halves
from message_service.store.idempotency import Accepted, IdempotencyRecords
from message_service.store.mapping import conversation_from_row, conversation_to_row
from message_service.store.transaction import TransactionConflict, run_transaction

# The longest messages there can be, 64 of them, just fit into the 16 MB of one command.
_MOST_IN_A_BATCH = 64
_BATCHES_IN_FLIGHT = 2
_GATHER_SECONDS = 0.002


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
            longest_wait_seconds=LONGEST_WAIT_SECONDS,
            too_late=store_is_late,
        )

    async def accept(self, submission: Submission) -> Accepted:
        """Store the submission for good. Once under way, the caller going away does not stop it.

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
            return await in_halves(batch, self._accept_batch)

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
            accounts = await self._read_accounts(batch, session)
            if len(batch) == 1 and _names_no_parent(batch[0]):
                return [await self._step(batch[0], accounts, session)]
            plan = Plan(
                await self._read_conversations(batch, session), await self._read_parents(batch, session), accounts
            )
            answers: list[Accepted | Exception] = []
            for submission in batch:
                try:
                    answers.append(plan.place(submission))
                except MessageServiceError as refusal:
                    answers.append(refusal)
            await self._write(plan, session)
            return answers

        return await run_transaction(self._database, body, conflict_retries=conflict_retries)

    async def _step(
        self, submission: Submission, accounts: dict[UserId, Account], session: AsyncClientSession
    ) -> Accepted:
        """One submission in one command less: its conversation is read and written at once."""
        message, reply = submission.message, submission.reply
        row = await self._database.conversations.find_one_and_update(
            {"_id": submission.key},
            step_pipeline(
                submission.user_id,
                submission.conversation_id,
                message.id if message is not None else None,
                reply.id if reply is not None else None,
            ),
            upsert=True,
            return_document=ReturnDocument.BEFORE,
            session=session,
        )
        before = conversation_from_row(row) if row is not None else None
        plan = Plan({before.key: before} if before is not None else {}, set(), accounts)
        accepted = plan.place(submission)  # a refusal ends the transaction, and with it the step
        plan.changed.clear()
        await self._write(plan, session)
        return accepted

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

    async def _read_accounts(self, batch: Sequence[Submission], session: AsyncClientSession) -> dict[UserId, Account]:
        users = {one.user_id for one in batch if one.reply is not None and one.reply.demand is not None}
        return await read_accounts(self._database, users, session) if users else {}

    async def _write(self, plan: Plan, session: AsyncClientSession) -> None:
        database = self._database
        if plan.idempotency:
            await insert_all(database.idempotency, plan.idempotency, session)
        if plan.changed:
            changes = [(key, conversation_to_row(plan.conversations[key])) for key in plan.changed]
            await upsert_all(database.conversations, changes, session)
        await write_accounts(database, plan.charged, session)
        if plan.messages:
            await insert_all(database.messages, plan.messages, session)
        if plan.replies:
            await insert_all(database.replies, plan.replies, session)
        if plan.audit:
            await insert_all(database.audit, plan.audit, session)


def _names_no_parent(submission: Submission) -> bool:
    return submission.message is None or submission.message.parent_id is None

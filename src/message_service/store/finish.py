"""FINISH and CANCEL: the two ways a reply reaches its one terminal state."""

from collections.abc import Sequence
from dataclasses import dataclass

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from message_service.clock import now
from message_service.coalesce import Coalescer
from message_service.errors import ClaimLost, MessageServiceError, ReplyNotCancellable, ReplyNotFound
from message_service.ids import ReplyId, UserId
from message_service.messages.reply import FinishReason, Outcome, Reply, ReplyStatus, first_take
from message_service.store.audit import AuditAction, audit_row
from message_service.store.database import Database
from message_service.store.ending import Ended, end_replies, end_reply
from message_service.store.halves import in_halves
from message_service.store.mapping import reply_from_row
from message_service.store.transaction import TransactionConflict, run_transaction

CANCEL_NOTICE_SECONDS = 0.4
"""How long a worker has to hear that its reply was cancelled."""


_Claimed = tuple[Reply, Outcome]
# The longest replies there can be, 64 of them, just fit into the 16 MB of one command.
_MOST_IN_A_BATCH = 64
_BATCHES_IN_FLIGHT = 2
_GATHER_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Cancelled:
    """`ended` is None when a worker is at it and has been asked to stop, or when it was cancelled before."""

    reply: Reply
    ended: Ended | None


class Finishing:
    """Ends replies, together where their ends come together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._together: Coalescer[_Claimed, Ended] = Coalescer(
            self._finish_batch,
            max_items=_MOST_IN_A_BATCH,
            max_in_flight=_BATCHES_IN_FLIGHT,
            gather_seconds=_GATHER_SECONDS,
            solo_of=lambda claimed: claimed[0].conversation_key,
        )

    async def finish(self, claimed: Reply, outcome: Outcome) -> Ended:
        """Store how the claimed reply ended, all of it or nothing.

        Raises `ClaimLost` when the reply is no longer at our epoch, and `StoreUnavailable` when the
        outcome is unknown: the lease then runs out and the next claim finds it done or ready.
        """

        return await self._together.call((claimed, outcome))

    async def _finish_batch(self, batch: Sequence[_Claimed]) -> Sequence[Ended | Exception]:
        if len(batch) == 1:
            return [await self._finish_alone(*batch[0])]

        async def body(session: AsyncClientSession) -> list[Ended | None]:
            return await end_replies(self._database, batch, session)

        try:
            found = await run_transaction(self._database, body, conflict_retries=1)
        except (DuplicateKeyError, TransactionConflict):
            # One of them met somebody else: halving finds it in few transactions, and the others hardly wait.
            return await in_halves(batch, self._finish_batch)
        return [ended if ended is not None else ClaimLost() for ended in found]

    async def _finish_alone(self, claimed: Reply, outcome: Outcome) -> Ended | Exception:
        ours = {"_id": claimed.id, "epoch": claimed.epoch, "status": ReplyStatus.RUNNING.value}

        async def body(session: AsyncClientSession) -> Ended | None:
            return await end_reply(self._database, ours, outcome, session)

        try:
            return await run_transaction(self._database, body) or ClaimLost()
        except (MessageServiceError, DuplicateKeyError) as fault:
            return fault

    async def cancel(self, reply_id: ReplyId, user_id: UserId) -> Cancelled:
        """End a queued reply at once; ask the worker of a running one to stop.

        Raises `ReplyNotFound`, and `ReplyNotCancellable` when it ended otherwise.
        """

        async def body(session: AsyncClientSession) -> Cancelled:
            row = await self._database.replies.find_one({"_id": reply_id, "user_id": user_id}, session=session)
            if row is None:
                raise ReplyNotFound
            reply = reply_from_row(row)
            if reply.status is ReplyStatus.QUEUED:
                return await self._cancel_queued(reply, session)
            if reply.status is ReplyStatus.RUNNING:
                await self._ask_to_stop(reply, session)
            elif reply.status is not ReplyStatus.CANCELLED:
                raise ReplyNotCancellable(f"The reply has already ended: {reply.status}.")
            return Cancelled(reply, None)

        return await run_transaction(self._database, body)

    async def _cancel_queued(self, reply: Reply, session: AsyncClientSession) -> Cancelled:
        ended = await end_reply(
            self._database,
            {"_id": reply.id, "status": ReplyStatus.QUEUED.value},
            Outcome(
                status=ReplyStatus.CANCELLED,
                # Later than whatever a worker showed that handed it back, so that its watchers forget that.
                take=first_take(reply.epoch + 1),
                finish_reason=FinishReason.CANCELLED,
            ),
            session,
        )
        assert ended is not None, "read in this transaction"
        return Cancelled(ended.reply, ended)

    async def _ask_to_stop(self, reply: Reply, session: AsyncClientSession) -> None:
        if reply.is_cancel_requested:
            return
        # A worker that lives hears of it in time. One that died or hangs loses the reply to another, which ends it.
        notice_ends = {"$add": ["$$NOW", int(CANCEL_NOTICE_SECONDS * 1000)]}
        await self._database.replies.update_one(
            {"_id": reply.id},
            [{"$set": {"is_cancel_requested": True, "lease_until": {"$min": ["$lease_until", notice_ends]}}}],
            session=session,
        )
        await self._database.audit.insert_one(
            audit_row(
                AuditAction.REPLY_CANCEL_REQUESTED,
                user_id=reply.user_id,
                conversation_id=reply.conversation_id,
                subject=reply.id,
                at=now(),
            ),
            session=session,
        )

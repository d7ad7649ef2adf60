"""What is kept of every reply that failed, for whoever runs the service: why, and what became of it. Never any text."""

from pymongo import DESCENDING, ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from message_service.clock import now
from message_service.errors import DeadLetterNotFound
from message_service.ids import ReplyId, UserId
from message_service.messages.dead_letter import DeadLetter, DeadLetterState
from message_service.messages.reply import Reply, ReplyError, WorkKind
from message_service.store.audit import AuditAction, audit_row
from message_service.store.database import Database, Row, reaching_the_store
from message_service.store.mapping import asked_from_row
from message_service.store.transaction import run_transaction


class DeadLetters:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._letters = database.dead_letters

    async def get(self, reply_id: ReplyId) -> DeadLetter:
        """Raises `DeadLetterNotFound`."""
        with reaching_the_store():
            row = await self._letters.find_one({"_id": reply_id})
        if row is None:
            raise DeadLetterNotFound
        return _from_row(row)

    async def newest(
        self,
        *,
        limit: int,
        before: ReplyId | None = None,
        state: DeadLetterState = DeadLetterState.OPEN,
        user_id: UserId | None = None,
        code: str | None = None,
    ) -> list[DeadLetter]:
        """Those asked for last come first; only older ones than `before`."""
        wanted: Row = {"state": state.value}
        if user_id is not None:
            wanted["user_id"] = user_id
        if code is not None:
            wanted["error.code"] = code
        if before is not None:
            wanted["_id"] = {"$lt": before}
        with reaching_the_store():
            rows = await self._letters.find(wanted, sort=[("_id", DESCENDING)], limit=limit).to_list()
        return [_from_row(row) for row in rows]

    async def plan_retry(self, reply_id: ReplyId, retry_id: ReplyId) -> ReplyId:
        """The id of the one reply that retries this one: `retry_id` unless another was chosen before.

        Chosen before it is asked for, so that however often a retry is begun, one reply comes of it.
        Raises `DeadLetterNotFound`.
        """
        with reaching_the_store():
            row = await self._letters.find_one_and_update(
                {"_id": reply_id},
                [{"$set": {"retried_as": {"$ifNull": ["$retried_as", retry_id]}}}],
                return_document=ReturnDocument.AFTER,
            )
        if row is None:
            raise DeadLetterNotFound
        return ReplyId(row["retried_as"])

    async def mark_retried(self, letter: DeadLetter, by: UserId) -> None:
        """Its retry is stored. Told to the audit once."""
        not_yet = {"$ne": DeadLetterState.RETRIED.value}
        await self._mark(letter, not_yet, DeadLetterState.RETRIED, AuditAction.DEAD_LETTER_RETRIED, by)

    async def drop(self, letter: DeadLetter, by: UserId) -> None:
        """Nothing is to be done about it. Changes nothing when it was retried or dropped before."""
        await self._mark(
            letter, DeadLetterState.OPEN.value, DeadLetterState.DROPPED, AuditAction.DEAD_LETTER_DROPPED, by
        )

    async def _mark(
        self, letter: DeadLetter, from_state: object, to_state: DeadLetterState, action: AuditAction, by: UserId
    ) -> None:
        async def body(session: AsyncClientSession) -> None:
            result = await self._letters.update_one(
                {"_id": letter.reply_id, "state": from_state}, {"$set": {"state": to_state.value}}, session=session
            )
            if result.matched_count:
                row = audit_row(
                    action, user_id=by, conversation_id=letter.conversation_id, subject=letter.reply_id, at=now()
                )
                await self._database.audit.insert_one(row, session=session)

        await run_transaction(self._database, body)


def dead_letter_row(reply: Reply, stored: Row) -> Row:
    """What is kept of `reply`, which has just failed; `stored` is its row."""
    error = reply.error or ReplyError("unknown", "The reply failed.")
    return {
        "_id": reply.id,
        "message_id": reply.message_id,
        "user_id": reply.user_id,
        "conversation_id": reply.conversation_id,
        "kind": reply.kind.value,
        "asked": stored["asked"],
        "error": {"code": error.code, "detail": error.detail},
        "attempts": reply.attempts,
        "asked_at": reply.created_at,
        "failed_at": reply.finished_at,
        "state": DeadLetterState.OPEN.value,
    }


def _from_row(row: Row) -> DeadLetter:
    return DeadLetter(
        reply_id=row["_id"],
        message_id=row["message_id"],
        user_id=row["user_id"],
        conversation_id=row["conversation_id"],
        kind=WorkKind(row["kind"]),
        asked=asked_from_row(row["asked"]),
        error=ReplyError(row["error"]["code"], row["error"]["detail"]),
        attempts=row["attempts"],
        asked_at=row["asked_at"],
        failed_at=row["failed_at"],
        state=DeadLetterState(row["state"]),
        retried_as=row.get("retried_as"),
    )

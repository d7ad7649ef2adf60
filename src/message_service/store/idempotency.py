"""The first result of each Idempotency-Key, durable for a day and scoped to its user."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from message_service.clock import now
from message_service.coalesce import Coalescer
from message_service.errors import IdempotencyKeyReused
from message_service.ids import UserId
from message_service.messages.message import Message
from message_service.messages.reply import Reply, ReplyStatus
from message_service.store.database import LONGEST_WAIT_SECONDS, Database, reaching_the_store, store_is_late
from message_service.store.mapping import message_from_row, reply_from_row


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was stored. `position` is how many replies come before this one; `is_next`: none of its conversation."""

    message: Message
    reply: Reply | None
    position: int | None
    is_next: bool = False
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class IdempotencyClaim:
    """A caller's key, and a digest of what was asked with it."""

    user_id: UserId
    key: str
    body_hash: bytes

    @property
    def id(self) -> str:
        """Injective: a user id holds no space."""
        return f"{self.user_id} {self.key}"

    def to_row(self, accepted: Accepted) -> dict[str, Any]:
        return {
            "_id": self.id,
            "body_hash": self.body_hash,
            "message_id": accepted.message.id,
            "reply_id": accepted.reply.id if accepted.reply else None,
            "position": accepted.position,
            "created_at": now(),
        }


class IdempotencyRecords:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._lookups: Coalescer[IdempotencyClaim, dict[str, Any] | None] = Coalescer(
            self._find_rows,
            max_items=256,
            max_in_flight=2,
            longest_wait_seconds=LONGEST_WAIT_SECONDS,
            too_late=store_is_late,
        )

    async def find(self, claim: IdempotencyClaim) -> Accepted | None:
        """The first result for this key, as it was answered then, or None when it was never used.

        Raises `IdempotencyKeyReused` when it was used with another body.
        """
        row = await self._lookups.call(claim)
        if row is None:
            return None
        if row["body_hash"] != claim.body_hash:
            raise IdempotencyKeyReused
        return await self._rebuild(row)

    async def _find_rows(self, claims: Sequence[IdempotencyClaim]) -> Sequence[dict[str, Any] | None]:
        with reaching_the_store():
            rows = await self._database.idempotency.find({"_id": {"$in": [claim.id for claim in claims]}}).to_list()
        found = {row["_id"]: row for row in rows}
        return [found.get(claim.id) for claim in claims]

    async def _rebuild(self, row: dict[str, Any]) -> Accepted:
        """The result as first answered: messages never change, and a reply was queued then."""
        with reaching_the_store():
            message_row = await self._database.messages.find_one({"_id": row["message_id"]})
            reply_row = await self._database.replies.find_one({"_id": row["reply_id"]}) if row["reply_id"] else None
        assert message_row is not None, "stored in the same transaction"
        reply = None
        if reply_row is not None:
            now_stored = reply_from_row(reply_row)
            reply = Reply(
                id=now_stored.id,
                message_id=now_stored.message_id,
                conversation_key=now_stored.conversation_key,
                conversation_id=now_stored.conversation_id,
                user_id=now_stored.user_id,
                status=ReplyStatus.QUEUED,
                kind=now_stored.kind,
                asked=now_stored.asked,
                created_at=now_stored.created_at,
                deadline=now_stored.deadline,
                character_id=now_stored.character_id,
            )
        message = replace(message_from_row(message_row), deleted_at=None)
        return Accepted(message=message, reply=reply, position=row["position"], is_replay=True)

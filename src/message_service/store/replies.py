"""Reading replies."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pymongo import ASCENDING

from message_service.coalesce import Coalescer
from message_service.errors import ReplyNotFound
from message_service.ids import MessageId, ReplyId, UserId
from message_service.messages.message import Message
from message_service.messages.reply import Reply, ReplyStatus, WorkKind
from message_service.store.backlog import Backlog
from message_service.store.database import Database, Row, reaching_the_store
from message_service.store.mapping import message_from_row, reply_from_row
from message_service.store.repository import Repository

_MOST_VARIANTS_LISTED = 1000


@dataclass(frozen=True, slots=True)
class ReplyWithMessage:
    """`message` is the stored text, once there is any and unless it was hidden.

    `position` counts the replies before it: of its conversation, and of others once it is the next there.
    """

    reply: Reply
    message: Message | None
    position: int | None = None


class Replies(Repository[Reply]):
    def __init__(self, database: Database, backlog: Backlog | None = None) -> None:
        """Without a `backlog` a reply's place is that in its conversation's line alone."""
        super().__init__(database.replies, reply_from_row)
        self._database = database
        self._backlog = backlog
        self._ended: Coalescer[ReplyId, bool] = Coalescer(self._have_ended, max_items=500)

    async def find_visible(self, reply_id: ReplyId, user_id: UserId) -> ReplyWithMessage:
        """Raises `ReplyNotFound` for what does not exist or is someone else's."""
        with reaching_the_store():
            row = await self._collection.find_one({"_id": reply_id, "user_id": user_id})
        if row is None:
            raise ReplyNotFound
        return await self.complete(reply_from_row(row), row)

    async def count_variants(self, user_id: UserId, *, since: datetime, at_most: int) -> int:
        """Variants the user asked for since then, in any conversation; for the rate limit's fallback."""
        return await self.count(
            {"user_id": user_id, "created_at": {"$gte": since}, "kind": WorkKind.VARIANT.value}, at_most=at_most
        )

    async def complete(self, reply: Reply, row: Row | None = None) -> ReplyWithMessage:
        """The reply with its message or, while it waits, its place in the line. `row` spares a look where it is known.

        Nothing comes before a reply that runs: those of a conversation take turns.
        """
        if reply.is_terminal:
            return ReplyWithMessage(reply, await self._message_of(reply))
        before = 0
        if reply.status is ReplyStatus.QUEUED:
            before = await self._replies_before(reply, row)
            if before == 0 and self._backlog is not None:
                before = await self._backlog.ahead_of(reply)
        return ReplyWithMessage(reply, None, before)

    async def variants(self, message_id: MessageId, user_id: UserId) -> list[ReplyWithMessage]:
        """All replies to a user message, in the order they were asked for."""
        replies = await self.find(
            {"message_id": message_id, "user_id": user_id}, sort=[("turn", ASCENDING)], limit=_MOST_VARIANTS_LISTED
        )
        with reaching_the_store():
            rows = await self._database.messages.find(
                {"_id": {"$in": [reply.id for reply in replies]}, "deleted_at": None}
            ).to_list()
        texts = {row["_id"]: message_from_row(row) for row in rows}
        return [ReplyWithMessage(reply, texts.get(reply.id)) for reply in replies]

    async def has_ended(self, reply_id: ReplyId) -> bool:
        """Whether the reply is in its terminal state; many may ask at once."""
        return await self._ended.call(reply_id)

    async def _have_ended(self, reply_ids: Sequence[ReplyId]) -> Sequence[bool]:
        with reaching_the_store():
            rows = await self._collection.find(
                {"_id": {"$in": list(reply_ids)}, "status": {"$nin": ["queued", "running"]}}, {"_id": 1}
            ).to_list()
        ended = {row["_id"] for row in rows}
        return [reply_id in ended for reply_id in reply_ids]

    async def _message_of(self, reply: Reply) -> Message | None:
        with reaching_the_store():
            row = await self._database.messages.find_one({"_id": reply.id, "deleted_at": None})
        return message_from_row(row) if row is not None else None

    async def _replies_before(self, reply: Reply, row: Row | None) -> int:
        with reaching_the_store():
            row = row or await self._collection.find_one({"_id": reply.id}, {"turn": 1, "is_next": 1})
            assert row is not None, "replies are never removed"
            if row["is_next"]:
                return 0
            return await self._collection.count_documents(
                {
                    "conversation_key": reply.conversation_key,
                    "status": {"$in": ["queued", "running"]},
                    "turn": {"$lt": row["turn"]},
                }
            )

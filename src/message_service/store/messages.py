"""Reading messages, and the one change they know: soft deletion and its undoing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pymongo.asynchronous.client_session import AsyncClientSession

from message_service.clock import now
from message_service.coalesce import Coalescer
from message_service.errors import MessageNotFound
from message_service.ids import CharacterId, ConversationKey, MessageId, UserId
from message_service.messages.message import Message, Role
from message_service.messages.reply import Reply
from message_service.store.audit import AuditAction, audit_row
from message_service.store.database import Database, Row, reaching_the_store
from message_service.store.mapping import message_from_row, reply_from_row
from message_service.store.repository import Repository
from message_service.store.transaction import run_transaction

_ACTIVE = {"status": {"$in": ["queued", "running"]}}
# Enough to share a round trip's cost, few enough that nobody waits long for somebody else's page.
_MOST_PAGES_A_TRIP = 6
_PAGE_TRIPS_IN_FLIGHT = 2
_ROWS_A_BATCH = 1000
_PAGE = "page"
"""Field that says which of the pages of a trip a row belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFilter:
    """Which messages of a conversation a page may show."""

    role: Role | None = None
    character_id: CharacterId | None = None
    since: datetime | None = None
    """Created then or later."""
    until: datetime | None = None
    """Created before then."""
    metadata: dict[str, str] = field(default_factory=dict)
    includes_deleted: bool = False

    def to_query(self) -> Row:
        query: Row = {} if self.includes_deleted else {"deleted_at": None}
        if self.role is not None:
            query["role"] = self.role.value
        if self.character_id is not None:
            query["character_id"] = self.character_id
        created = {"$gte": self.since, "$lt": self.until}
        if bounds := {operator: bound for operator, bound in created.items() if bound is not None}:
            query["created_at"] = bounds
        if self.metadata:
            # $getField takes the key literally, so a key with a dot or a dollar reaches nothing else.
            query["$expr"] = {
                "$and": [
                    {"$eq": [{"$getField": {"field": {"$literal": key}, "input": "$metadata"}}, {"$literal": value}]}
                    for key, value in self.metadata.items()
                ]
            }
        return query


@dataclass(frozen=True, slots=True)
class Slice:
    """Consecutive messages in the order they were asked for, and the conversation's unfinished replies."""

    messages: list[Message]
    active_replies: list[Reply]
    has_more: bool
    """Whether more follow in the direction of reading."""


@dataclass(frozen=True, slots=True)
class _Read:
    """One page as aggregation stages on the messages. `name` is the same for whoever asks for the same."""

    key: ConversationKey
    stages: list[dict[str, Any]]
    name: str


class Messages(Repository[Message]):
    def __init__(self, database: Database) -> None:
        super().__init__(database.messages, message_from_row)
        self._database = database
        self._reads: Coalescer[_Read, list[Row]] = Coalescer(
            self._read_together,
            max_items=_MOST_PAGES_A_TRIP,
            max_in_flight=_PAGE_TRIPS_IN_FLIGHT,
        )

    async def find_visible(self, message_id: MessageId, user_id: UserId) -> Message:
        """Raises `MessageNotFound` for what does not exist, is someone else's, or is deleted."""
        message = await self.get(message_id, user_id=user_id, deleted_at=None)
        if message is None:
            raise MessageNotFound
        return message

    async def seq_of(self, message_id: MessageId, key: ConversationKey) -> int:
        """Raises `MessageNotFound` unless it is in this conversation."""
        with reaching_the_store():
            row = await self._collection.find_one({"_id": message_id, "conversation_key": key}, {"seq": 1})
        if row is None:
            raise MessageNotFound("The message named as the page's bound is not in this conversation.")
        return int(row["seq"])

    async def read(
        self,
        key: ConversationKey,
        filter_: PageFilter,
        *,
        direction: Literal["ascending", "descending"],
        from_seq: int | None,
        limit: int,
    ) -> Slice:
        """Up to `limit` messages from `from_seq` (inclusive) onwards in `direction`; None starts at the end or head.

        Pages asked for together share a round trip, and the unfinished replies ride along.
        """
        is_ascending = direction == "ascending"
        query: Row = {"conversation_key": key, **filter_.to_query()}
        if from_seq is not None:
            query["seq"] = {"$gte" if is_ascending else "$lte": from_seq}
        stages: list[Row] = [{"$match": query}, {"$sort": {"seq": 1 if is_ascending else -1}}, {"$limit": limit + 1}]
        name = f"{direction} {from_seq} {limit} {query!r}"
        rows = await self._reads.call(_Read(key, stages, name))
        messages = [message_from_row(row) for row in rows if "seq" in row]
        active = [reply_from_row(row) for row in rows if "turn" in row]
        return Slice(messages[:limit], active, has_more=len(messages) > limit)

    async def _read_together(self, reads: Sequence[_Read]) -> Sequence[list[Row]]:
        """The rows of each page, its conversation's unfinished replies among them, in one aggregation."""
        different = {read.name: read for read in reads}
        # Alone a page needs no mark, and the plan without one is simpler.
        is_marked = len(different) > 1
        pages = [
            [*read.stages, {"$set": {_PAGE: name}}] if is_marked else read.stages for name, read in different.items()
        ]
        keys = list({read.key for read in reads})
        of_keys = {"conversation_key": keys[0] if len(keys) == 1 else {"$in": keys}, **_ACTIVE}
        active = [{"$match": of_keys}, {"$sort": {"conversation_key": 1, "turn": 1}}]
        pipeline = [
            *pages[0],
            *({"$unionWith": {"coll": self._collection.name, "pipeline": page}} for page in pages[1:]),
            {"$unionWith": {"coll": self._database.replies.name, "pipeline": active}},
        ]
        with reaching_the_store():
            cursor = await self._collection.aggregate(pipeline, batchSize=_ROWS_A_BATCH)
            rows = await cursor.to_list()
        of_page: dict[str, list[Row]] = {name: [] for name in different}
        of_conversation: dict[ConversationKey, list[Row]] = {key: [] for key in keys}
        for row in rows:
            if "seq" in row:
                of_page[row[_PAGE] if is_marked else reads[0].name].append(row)
            else:
                of_conversation[row["conversation_key"]].append(row)
        return [[*of_page[read.name], *of_conversation[read.key]] for read in reads]

    async def count_posted(self, user_id: UserId, *, since: datetime, at_most: int) -> int:
        """Messages the user posted since then, in any conversation; the rate limit's fallback."""
        return await self.count(
            {"user_id": user_id, "created_at": {"$gte": since}, "role": {"$in": ["user", "system"]}}, at_most=at_most
        )

    async def delete(self, message_id: MessageId, user_id: UserId) -> None:
        """Hide the message. Doing so again changes nothing. Raises `MessageNotFound`."""
        await self._set_deletion(message_id, user_id, deleted=True)

    async def restore(self, message_id: MessageId, user_id: UserId) -> Message:
        """Undo the deletion. Doing so again changes nothing. Raises `MessageNotFound`."""
        return await self._set_deletion(message_id, user_id, deleted=False)

    async def _set_deletion(self, message_id: MessageId, user_id: UserId, *, deleted: bool) -> Message:
        async def body(session: AsyncClientSession) -> Message:
            row = await self._collection.find_one({"_id": message_id, "user_id": user_id}, session=session)
            if row is None:
                raise MessageNotFound
            message = message_from_row(row)
            if (message.deleted_at is not None) == deleted:
                return message
            at = now()
            change: Row = {"$set": {"deleted_at": at}} if deleted else {"$unset": {"deleted_at": ""}}
            await self._collection.update_one({"_id": message_id}, change, session=session)
            row["deleted_at"] = at if deleted else None
            await self._database.audit.insert_one(
                audit_row(
                    AuditAction.MESSAGE_DELETED if deleted else AuditAction.MESSAGE_RESTORED,
                    user_id=user_id,
                    conversation_id=message.conversation_id,
                    subject=message_id,
                    at=at,
                ),
                session=session,
            )
            return message_from_row(row)

        return await run_transaction(self._database, body)

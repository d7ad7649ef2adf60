"""Reading single messages, and the one change they know: soft deletion and its undoing."""

from datetime import datetime

from pymongo import DESCENDING
from pymongo.asynchronous.client_session import AsyncClientSession

from message_service.clock import now
from message_service.errors import MessageNotFound
from message_service.ids import ConversationKey, MessageId, UserId
from message_service.messages.message import Message
from message_service.store.audit import AuditAction, audit_row
from message_service.store.database import Database, Row, reaching_the_store
from message_service.store.mapping import message_from_row
from message_service.store.repository import Repository
from message_service.store.transaction import run_transaction


class Messages(Repository[Message]):
    def __init__(self, database: Database) -> None:
        super().__init__(database.messages, message_from_row)
        self._database = database

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

    async def newest(self, key: ConversationKey, *, limit: int) -> list[Message]:
        """The last messages of a conversation, hidden ones too, newest first, without their text."""
        with reaching_the_store():
            rows = await self._database.messages.find(
                {"conversation_key": key}, {"content": 0}, sort=[("seq", DESCENDING)], limit=limit
            ).to_list()
        return [message_from_row({**row, "content": ""}) for row in rows]

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

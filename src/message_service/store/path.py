"""Reading a conversation's path backwards: from a message to its parent, to its parent's parent, and so on."""

from collections.abc import Callable, Sequence

from pymongo import DESCENDING

from message_service.coalesce import Coalescer
from message_service.ids import ConversationKey, MessageId
from message_service.messages.message import Message
from message_service.store.database import Database, Row, reaching_the_store
from message_service.store.mapping import message_from_row

_BATCH = 128
_MOST_JUMPS_A_TRIP = 128


class PathReader:
    """Parents lie close before their children in `seq`, so the path is read as ranges and jumps are rare."""

    def __init__(self, database: Database) -> None:
        self._messages = database.messages
        self._replies = database.replies
        # Each reply begins with a jump, and replies begin in crowds.
        self._jumps: Coalescer[MessageId, Row | None] = Coalescer(
            self._find_all, max_items=_MOST_JUMPS_A_TRIP, max_in_flight=2
        )

    async def newest_first(
        self, key: ConversationKey, start: MessageId, is_enough: Callable[[Message], bool]
    ) -> list[Message]:
        """The messages on the path that ends in `start`, deleted ones left out, until `is_enough` of one is true.

        The message for which `is_enough` answers true is not included.
        """
        path: list[Message] = []
        nearby: dict[MessageId, Message] = {}
        scan_below: int | None = None
        wanted: MessageId | None = start
        while wanted is not None:
            message = nearby.pop(wanted, None)
            if message is None and scan_below is not None and scan_below > 1:
                scan_below = await self._scan(key, scan_below, nearby)
                message = nearby.pop(wanted, None)
            if message is None:
                message = await self._jump(key, wanted)
                if message is None:
                    wanted = await self._skip_unwritten_reply(key, wanted)
                    continue
                # A reply's seq lies after the messages posted while it was written: scan from behind it.
                scan_below = message.seq
            if message.deleted_at is None:
                if is_enough(message):
                    break
                path.append(message)
            wanted = message.parent_id
        return path

    async def _scan(self, key: ConversationKey, below: int, nearby: dict[MessageId, Message]) -> int:
        """Read the next batch of messages with a smaller `seq`; returns the smallest one read."""
        with reaching_the_store():
            rows = await self._messages.find(
                {"conversation_key": key, "seq": {"$lt": below}},
                sort=[("seq", DESCENDING)],
                limit=_BATCH,
                batch_size=_BATCH,  # or the server sends 101 of them, and the rest when asked again
            ).to_list()
        for row in rows:
            nearby[row["_id"]] = message_from_row(row)
        return int(rows[-1]["seq"]) if rows else 1

    async def _jump(self, key: ConversationKey, wanted: MessageId) -> Message | None:
        row = await self._jumps.call(wanted)
        return message_from_row(row) if row is not None and row["conversation_key"] == key else None

    async def _find_all(self, wanted: Sequence[MessageId]) -> Sequence[Row | None]:
        with reaching_the_store():
            rows = await self._messages.find({"_id": {"$in": list(wanted)}}, batch_size=_MOST_JUMPS_A_TRIP).to_list()
        found = {row["_id"]: row for row in rows}
        return [found.get(message_id) for message_id in wanted]

    async def _skip_unwritten_reply(self, key: ConversationKey, wanted: MessageId) -> MessageId | None:
        """What a reply that ended without text, or has not ended, was to follow."""
        with reaching_the_store():
            row = await self._replies.find_one({"_id": wanted, "conversation_key": key}, {"message_id": 1})
        return MessageId(row["message_id"]) if row else None

"""Finds conversations that disagree with their unfinished replies, and makes them agree. There should be none.

Two rotating scans, a bounded piece of each at a time, on indexes that are there anyway. The one over unfinished
replies meets everything that keeps somebody waiting; the one over conversations meets what is left behind where
nothing is unfinished, which harms nobody until something is asked there, and is then met by the first.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pymongo import ASCENDING
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection

from message_service.clock import now
from message_service.ids import ConversationKey, ReplyId
from message_service.messages.line import Correction, Disagreement, Place, correction_of
from message_service.messages.reply import ReplyStatus
from message_service.store.database import Database, Row, reaching_the_store
from message_service.store.mapping import conversation_from_row
from message_service.store.transaction import run_transaction

_UNFINISHED: Row = {"status": {"$in": [ReplyStatus.QUEUED.value, ReplyStatus.RUNNING.value]}}
_DOCUMENTS_A_LOOK = 500


@dataclass(frozen=True, slots=True)
class Repaired:
    conversation_key: ConversationKey
    next_reply: ReplyId | None
    """Whose turn it is now."""
    disagreements: tuple[Disagreement, ...]


class Repairs:
    """Remembers how far its two scans have come."""

    def __init__(self, database: Database, *, documents_a_look: int = _DOCUMENTS_A_LOOK) -> None:
        self._database = database
        self._limit = documents_a_look
        self._last_with_replies = ""
        self._last_conversation = ""

    async def look(self) -> list[Repaired]:
        """Look at the next piece of each scan and repair what is wrong in it."""
        suspects = {*await self._next_with_replies(), *await self._next_claiming()}
        repaired = [await self.repair(key) for key in await self._disagreeing(suspects)]
        return [one for one in repaired if one is not None]

    async def repair(self, key: ConversationKey) -> Repaired | None:
        """Make the conversation and its unfinished replies agree. None: they do, and nothing was written."""

        async def body(session: AsyncClientSession) -> Correction | None:
            correction = (await self._corrections([key], session)).get(key)
            if correction is not None:
                await self._write(correction, session)
            return correction

        correction = await run_transaction(self._database, body)
        return Repaired(key, correction.next_reply, correction.disagreements) if correction else None

    async def _next_with_replies(self) -> set[ConversationKey]:
        wanted = {**_UNFINISHED, "conversation_key": {"$gt": self._last_with_replies}}
        rows = await self._piece(self._database.replies, wanted, "conversation_key", [])
        self._last_with_replies = self._end_of(rows, "conversation_key")
        return {row["conversation_key"] for row in rows}

    async def _next_claiming(self) -> set[ConversationKey]:
        claims = ["active_reply", "waiting_replies", "reserved"]
        rows = await self._piece(self._database.conversations, {"_id": {"$gt": self._last_conversation}}, "_id", claims)
        self._last_conversation = self._end_of(rows, "_id")
        return {row["_id"] for row in rows if any(row[claim] for claim in claims)}

    async def _piece(self, collection: AsyncCollection[Row], wanted: Row, order: str, also: Sequence[str]) -> list[Row]:
        fields = [order, *also]
        with reaching_the_store():
            return await collection.find(wanted, fields, sort=[(order, ASCENDING)], limit=self._limit).to_list()

    def _end_of(self, rows: Sequence[Row], order: str) -> str:
        """Where the next piece begins: at the start again after the last one."""
        return rows[-1][order] if len(rows) == self._limit else ""

    async def _disagreeing(self, keys: Iterable[ConversationKey]) -> list[ConversationKey]:
        """Those of `keys` that are wrong: in a transaction, which sees no change of another one half done."""
        wanted = sorted(keys)
        if not wanted:
            return []

        async def body(session: AsyncClientSession) -> list[ConversationKey]:
            return list(await self._corrections(wanted, session))

        return await run_transaction(self._database, body)

    async def _corrections(
        self, keys: Sequence[ConversationKey], session: AsyncClientSession
    ) -> dict[ConversationKey, Correction]:
        conversations = await self._database.conversations.find({"_id": {"$in": keys}}, session=session).to_list()
        replies = await self._database.replies.find(
            {"conversation_key": {"$in": keys}, **_UNFINISHED},
            ["conversation_key", "turn", "status", "is_next"],
            session=session,
        ).to_list()
        lines: dict[ConversationKey, list[Place]] = defaultdict(list)
        for row in replies:
            lines[row["conversation_key"]].append(_place(row))
        found = {row["_id"]: correction_of(conversation_from_row(row), lines[row["_id"]]) for row in conversations}
        return {key: correction for key, correction in found.items() if correction is not None}

    async def _write(self, correction: Correction, session: AsyncClientSession) -> None:
        right = correction.conversation
        # The time makes it a change in any case: whoever accepts or ends a reply meanwhile then conflicts with it.
        counts = {
            "active_reply": right.active_reply,
            "waiting_replies": right.waiting_replies,
            "reserved": right.reserved,
            "repaired_at": now(),
        }
        await self._database.conversations.update_one({"_id": right.key}, {"$set": counts}, session=session)
        line = {"conversation_key": right.key, **_UNFINISHED}
        await self._database.replies.update_many(
            line, [{"$set": {"is_next": {"$eq": ["$_id", correction.next_reply]}}}], session=session
        )


def _place(row: Row) -> Place:
    return Place(
        reply_id=row["_id"],
        turn=row["turn"],
        is_running=row["status"] == ReplyStatus.RUNNING.value,
        is_next=row["is_next"],
    )

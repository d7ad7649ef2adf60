"""How much work waits, looked at now and then instead of with each request.

Counted in MongoDB, where the truth is: Redis knows only the replies whose turn it is in their conversation, forgets
them, and may be away. An index of the queued ones alone makes it a scan of keys.
"""

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Any

from pymongo import ASCENDING

from message_service.errors import Overloaded
from message_service.ids import ReplyId
from message_service.logs import log
from message_service.messages.reply import Reply, WorkKind
from message_service.stopping import stop_tasks
from message_service.store.database import Database, Row, reaching_the_store

SAMPLE_SECONDS = 0.25
_LONGEST_SHARE = 20
"""A look that took long is repeated only after so many times as long: counting must not become the load."""
_RETRY_AFTER_SECONDS = 5

_IS_READY: Row = {"status": "queued", "is_next": True, "$expr": {"$lte": ["$not_before", "$$NOW"]}}


@dataclass(frozen=True, slots=True)
class Sample:
    waiting: int
    """Queued replies, those that wait for their own conversation included."""
    ready: int
    """Those of them a worker could take now."""
    oldest_ready: ReplyId | None
    workers_are_full: bool
    """Whether the same reply could have been taken at the last look too, and nobody did."""


_NOTHING = Sample(waiting=0, ready=0, oldest_ready=None, workers_are_full=False)


class Backlog:
    def __init__(self, database: Database, *, most_waiting: int) -> None:
        self._replies = database.replies
        self._most_waiting = most_waiting
        self._sample = _NOTHING
        self._is_sampled = False
        self._added = 0
        self._added_ready = 0
        self._fresh_until = 0.0
        self._looking: asyncio.Task[None] | None = None

    @property
    def most_waiting(self) -> int:
        return self._most_waiting

    @property
    def waiting(self) -> int:
        """Replies waiting at the last look, and those asked for here since then."""
        return self._sample.waiting + self._added

    @property
    def is_overloaded(self) -> bool:
        return self.waiting >= self._most_waiting

    @property
    def ahead(self) -> int:
        """How many replies would be taken before one whose turn it is: none while workers have room."""
        return self._sample.ready + self._added_ready if self._sample.workers_are_full else 0

    def added(self, *, is_next: bool) -> None:
        """A reply was asked for here; `is_next`: it is its turn in its conversation."""
        self._added += 1
        self._added_ready += is_next

    async def require_room(self) -> None:
        """Raises `Overloaded` when as much waits as may.

        What the last look saw is good enough to let a reply in; it is looked again before one is refused, or told
        that it has to wait.
        """
        if not self._is_sampled or self._sample.workers_are_full or self._sample.waiting >= self._most_waiting:
            await self.look()
        elif self.is_overloaded:
            # What was added here may be done by now.
            await asyncio.shield(self._begin_to_look())
        elif monotonic() >= self._fresh_until:
            self._begin_to_look()
        if self.is_overloaded:
            raise Overloaded(
                f"{self._most_waiting:,} replies are waiting, which is as many as may.",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )

    async def look(self) -> None:
        """Count anew unless that was done just now. Raises `StoreUnavailable`."""
        if monotonic() < self._fresh_until:
            return
        await asyncio.shield(self._begin_to_look())

    async def ahead_of(self, reply: Reply) -> int:
        """How many replies are taken before this one, whose turn it is in its conversation.

        About: workers are told in the order of turns, which an index of ids only nearly has.
        """
        await self.look()
        if not self._sample.workers_are_full:
            return 0
        earlier_kinds = [kind.value for kind in WorkKind if _place(kind) < _place(reply.kind)]
        mine = {"kind": reply.kind.value, "_id": {"$lt": reply.id}}
        with reaching_the_store():
            return await self._count(_IS_READY | {"$or": [{"kind": {"$in": earlier_kinds}}, mine]}, "ready")

    async def close(self) -> None:
        if self._looking is not None:
            await stop_tasks([self._looking])

    def _begin_to_look(self) -> asyncio.Task[None]:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._count_all())
            self._looking.add_done_callback(_note_failure)
        return self._looking

    async def _count_all(self) -> None:
        began_at = monotonic()
        already_added, already_ready = self._added, self._added_ready
        with reaching_the_store():
            waiting = await self._count({"status": "queued"}, "waiting")
            ready, oldest = 0, None
            if waiting:
                ready = await self._count(_IS_READY, "ready")
                row = await self._replies.find_one(
                    _IS_READY, {"_id": 1}, sort=[("kind", ASCENDING), ("_id", ASCENDING)], hint="ready"
                )
                oldest = ReplyId(row["_id"]) if row else None
        is_same = oldest is not None and oldest == self._sample.oldest_ready
        self._sample = Sample(waiting, ready, oldest, workers_are_full=is_same)
        self._is_sampled = True
        # What was added while it was counted may be in it or not; counted twice is the safe side.
        self._added -= already_added
        self._added_ready -= already_ready
        took_seconds = monotonic() - began_at
        self._fresh_until = monotonic() + max(SAMPLE_SECONDS, took_seconds * _LONGEST_SHARE)

    async def _count(self, wanted: dict[str, Any], index: str) -> int:
        return await self._replies.count_documents(wanted, hint=index, limit=self._most_waiting + 1)


def _place(kind: WorkKind) -> int:
    return list(WorkKind).index(kind)


def _note_failure(look: asyncio.Task[None]) -> None:
    """Whoever waits for it hears of a failure; a look nobody waits for is repeated with the next request."""
    if not look.cancelled() and (fault := look.exception()) is not None:
        log.debug("backlog.unknown", error=type(fault).__name__)

"""CLAIM and what follows from it: a lease on the server's clock, an epoch that fences, and handing back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING, ReturnDocument, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from message_service.coalesce import Coalescer
from message_service.ids import ReplyId, WorkerId
from message_service.messages.reply import Attempt, Reply, ReplyError, Spending, WorkKind
from message_service.store.database import Database, Row, reaching_the_store
from message_service.store.ledger import book_unfinished
from message_service.store.mapping import MOST_ATTEMPTS_KEPT, attempt_to_row, reply_from_row
from message_service.store.transaction import run_transaction

_IS_DUE = {"$expr": {"$lte": ["$not_before", "$$NOW"]}}
_LEASE_IS_OVER = {"$expr": {"$lt": ["$lease_until", "$$NOW"]}}
_CLAIMABLE: dict[str, Any] = {
    "$or": [
        {"status": "queued", "is_next": True, **_IS_DUE},
        {"status": "running", **_LEASE_IS_OVER},
    ]
}
_WITH_THE_LAST_CLAIM = {
    "$concatArrays": [
        {"$ifNull": ["$abandoned", []]},
        # A claim's token tells its time.
        [{"epoch": "$epoch", "claimed_at": {"$toDate": "$claim"}, "attempts": {"$ifNull": ["$under_way", []]}}],
    ]
}
"""What is still to be booked of claims that nobody ended: see `Ledger.book_abandoned`."""
_MOST_IN_A_BATCH = 64
_Asked = tuple[ReplyId, WorkerId]


@dataclass(frozen=True, slots=True)
class Held:
    """A reply that a worker holds, as the store sees it."""

    reply_id: ReplyId
    epoch: int


class Claims:
    """Every time here is the server's, so no worker's clock matters; safety rests on the epoch alone."""

    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        self._database = database
        self._replies = database.replies
        self._lease_milliseconds = int(lease_seconds * 1000)
        self._together: Coalescer[_Asked, Reply | None] = Coalescer(
            self._claim_batch, max_items=_MOST_IN_A_BATCH, max_in_flight=2
        )

    async def claim(self, reply_id: ReplyId, worker: WorkerId) -> Reply | None:
        """Take the reply if it is its turn, or if whoever had it let the lease run out. None: not to be had.

        Raises `StoreUnavailable`, and `KeyError`, `TypeError` or `ValueError` for one that cannot be read here: it
        waits for its lease to run out, and for a worker of the version that wrote it.
        """
        return await self._together.call((reply_id, worker))

    async def _claim_batch(self, batch: Sequence[_Asked]) -> Sequence[Reply | Exception | None]:
        worker = batch[0][1]
        if len(batch) == 1 or any(other != worker for _, other in batch):
            return [await self._claim_alone(*one) for one in batch]
        ids = [reply_id for reply_id, _ in batch]
        token = ObjectId()
        is_complete = True
        with reaching_the_store():
            try:
                await self._replies.update_many({"_id": {"$in": ids}, **_CLAIMABLE}, self._taking(worker, token))
            except DuplicateKeyError:
                is_complete = False  # one of them met its conversation's running reply, and the rest were not tried
            rows = await self._replies.find({"_id": {"$in": ids}, "claim": token}).to_list()
        claimed: dict[ReplyId, Reply | Exception | None] = {row["_id"]: _read(row) for row in rows}
        if not is_complete:
            for reply_id in ids:
                if reply_id not in claimed:
                    claimed[reply_id] = await self._claim_alone(reply_id, worker)
        return [claimed.get(reply_id) for reply_id in ids]

    async def _claim_alone(self, reply_id: ReplyId, worker: WorkerId) -> Reply | Exception | None:
        with reaching_the_store():
            try:
                row = await self._replies.find_one_and_update(
                    {"_id": reply_id, **_CLAIMABLE},
                    self._taking(worker, ObjectId()),
                    return_document=ReturnDocument.AFTER,
                )
            except DuplicateKeyError:
                return None  # another reply of the conversation is running; the index says so
        return _read(row) if row else None

    def _taking(self, worker: WorkerId, token: ObjectId) -> list[dict[str, Any]]:
        return [
            {
                "$set": {
                    "status": "running",
                    "owner": worker,
                    "claim": token,
                    "lease_until": self._end_of_lease(),
                    "epoch": {"$add": ["$epoch", 1]},
                    # Counted before the work, so that a message which kills its worker is counted too.
                    "attempts": {"$add": ["$attempts", 1]},
                    "started_at": {"$ifNull": ["$started_at", "$$NOW"]},
                    "abandoned": {"$cond": [{"$eq": ["$status", "running"]}, _WITH_THE_LAST_CLAIM, "$abandoned"]},
                    "under_way": "$$REMOVE",
                }
            }
        ]

    async def renew(self, reply_ids: Sequence[ReplyId], worker: WorkerId) -> int:
        """Extend the leases `worker` still has; how many of `reply_ids` that were."""
        with reaching_the_store():
            result = await self._replies.update_many(
                {"owner": worker, "status": "running", "_id": {"$in": list(reply_ids)}},
                # The lease of a cancelled reply is short on purpose.
                [{"$set": {"lease_until": {"$cond": ["$is_cancel_requested", "$lease_until", self._end_of_lease()]}}}],
            )
        return result.matched_count

    async def note_attempts(self, noted: Sequence[tuple[Reply, Sequence[Attempt]]]) -> None:
        """Keep what was asked of providers so far with each reply, where it is still ours, until the claim ends."""
        notes = [
            UpdateOne(
                {"_id": claimed.id, "epoch": claimed.epoch, "status": "running"},
                {"$set": {"under_way": [attempt_to_row(attempt) for attempt in attempts]}},
            )
            for claimed, attempts in noted
        ]
        with reaching_the_store():
            await self._replies.bulk_write(notes, ordered=False)

    async def held_by(self, worker: WorkerId) -> list[Held]:
        """What `worker` holds, as the store sees it."""
        with reaching_the_store():
            rows = await self._replies.find({"owner": worker, "status": "running"}, {"epoch": 1}).to_list()
        return [Held(row["_id"], row["epoch"]) for row in rows]

    async def cancels_for(self, worker: WorkerId) -> list[ReplyId]:
        """Which of the replies `worker` holds somebody asked to stop."""
        wanted = {"owner": worker, "status": "running", "is_cancel_requested": True}
        with reaching_the_store():
            rows = await self._replies.find(wanted, {"_id": 1}).to_list()
        return [row["_id"] for row in rows]

    async def hand_back(
        self,
        claimed: Reply,
        *,
        delay_seconds: float,
        is_attempt_counted: bool,
        why: ReplyError | None = None,
        spent: Sequence[Spending] = (),
        attempt_log: Sequence[Attempt] = (),
    ) -> bool:
        """Let the reply wait in the queue again for `delay_seconds`; keep `why` and the log, book what was `spent`.

        One that was asked to stop does not wait: the sweep finds it at once, and whoever claims it ends it.
        False, and nothing booked: it was no longer ours.
        """
        back = _handed_back(
            delay_seconds=delay_seconds, is_attempt_counted=is_attempt_counted, why=why, attempt_log=attempt_log
        )

        async def give(session: AsyncClientSession | None) -> bool:
            result = await self._replies.update_one(
                {"_id": claimed.id, "epoch": claimed.epoch, "status": "running"}, back, session=session
            )
            return result.matched_count == 1

        async def give_and_book(session: AsyncClientSession) -> bool:
            is_ours = await give(session)
            if is_ours:
                await book_unfinished(self._database, claimed, spent, session)
            return is_ours

        if spent:
            return await run_transaction(self._database, give_and_book)
        with reaching_the_store():
            return await give(None)

    async def lost_ones(self, kinds: Sequence[WorkKind], *, limit: int) -> list[ReplyId]:
        """Replies that can be claimed now: nobody was told of them, or their worker is gone.

        Those whose worker is gone first, then by kind in the order given, and the oldest of each first.
        """
        lost: list[ReplyId] = []
        with reaching_the_store():
            expired = {"status": "running", "kind": {"$in": [kind.value for kind in kinds]}, **_LEASE_IS_OVER}
            lost += await self._ids(expired, ("lease_until", ASCENDING), limit)
            for kind in kinds:
                # One after the other: their names do not sort in the order of their priority.
                if len(lost) < limit:
                    ready = {"status": "queued", "is_next": True, "kind": kind.value, **_IS_DUE}
                    lost += await self._ids(ready, ("_id", ASCENDING), limit - len(lost))
        return lost

    async def _ids(self, wanted: Row, order: tuple[str, int], limit: int) -> list[ReplyId]:
        rows = await self._replies.find(wanted, {"_id": 1}, sort=[order], limit=limit).to_list()
        return [row["_id"] for row in rows]

    async def expire(self, worker: WorkerId) -> int:
        """End all leases of a worker that is known to be dead; how many it had."""
        with reaching_the_store():
            result = await self._replies.update_many(
                {"owner": worker, "status": "running"}, [{"$set": {"lease_until": {"$subtract": ["$$NOW", 1]}}}]
            )
        return result.matched_count

    def _end_of_lease(self) -> dict[str, Any]:
        return {"$add": ["$$NOW", self._lease_milliseconds]}


def _read(row: Row) -> Reply | Exception:
    """The fault instead of the reply where a newer version wrote what we cannot read: those beside it are well."""
    try:
        return reply_from_row(row)
    except (KeyError, TypeError, ValueError) as fault:
        return fault


def _handed_back(
    *, delay_seconds: float, is_attempt_counted: bool, why: ReplyError | None, attempt_log: Sequence[Attempt]
) -> list[dict[str, Any]]:
    """The update that makes a running reply a queued one."""
    logged = {"$ifNull": ["$attempt_log", []]}
    rows = {"$literal": [attempt_to_row(attempt) for attempt in attempt_log]}
    setback = {"setback": {"$literal": {"code": why.code, "detail": why.detail}}} if why is not None else {}
    return [
        {
            "$set": {
                "status": "queued",
                # Nobody has to wait for another attempt at what somebody asked to stop: the next claim ends it.
                "not_before": {
                    "$cond": ["$is_cancel_requested", "$$NOW", {"$add": ["$$NOW", int(delay_seconds * 1000)]}]
                },
                "attempts": {"$subtract": ["$attempts", 0 if is_attempt_counted else 1]},
                "attempt_log": {"$slice": [{"$concatArrays": [logged, rows]}, -MOST_ATTEMPTS_KEPT]},
                **setback,
            }
        },
        {"$unset": ["owner", "lease_until", "under_way"]},
    ]

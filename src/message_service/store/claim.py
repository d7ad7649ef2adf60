"""CLAIM and what follows from it: a lease on the server's clock, an epoch that fences, and handing back."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING, ReturnDocument, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from message_service.coalesce import Coalescer
from message_service.ids import ReplyId, WorkerId
from message_service.messages.reply import Attempt, Reply, ReplyError, Spending, WorkKind
from message_service.store.claim_changes import handed_back, taken
from message_service.store.claimable import READY, claimable, orphaned, suspected
from message_service.store.database import Database, Row, reaching_the_store
from message_service.store.ledger import book_unfinished
from message_service.store.mapping import attempt_to_row, reply_from_row
from message_service.store.transaction import run_transaction

_MOST_IN_A_BATCH = 64
_NOBODY_IS_SUSPECTED = range(0)
_MOST_REPRIEVES = 3


@dataclass(frozen=True, slots=True)
class _Asked:
    reply_id: ReplyId
    worker: WorkerId
    is_on_probation: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A reply that a worker holds, as the store sees it."""

    reply_id: ReplyId
    epoch: int


class Claims:
    """Every time here is the server's, so no worker's clock matters; safety rests on the epoch alone.

    A reply whose worker died and that was tried as often as `suspect_attempts` is claimed on probation only.
    """

    def __init__(
        self, database: Database, *, lease_seconds: float, suspect_attempts: range = _NOBODY_IS_SUSPECTED
    ) -> None:
        self._database = database
        self._replies = database.replies
        self._lease_milliseconds = int(lease_seconds * 1000)
        self._suspect_attempts = suspect_attempts
        self._together: Coalescer[_Asked, Reply | None] = Coalescer(
            self._claim_batch, max_items=_MOST_IN_A_BATCH, max_in_flight=2
        )

    async def claim(self, reply_id: ReplyId, worker: WorkerId, *, is_on_probation: bool = False) -> Reply | None:
        """Take the reply if it is its turn, or if whoever had it let the lease run out. None: not to be had.

        Raises `StoreUnavailable`, and `KeyError`, `TypeError` or `ValueError` for one that cannot be read here: it
        waits for its lease to run out, and for a worker of the version that wrote it.
        """
        return await self._together.call(_Asked(reply_id, worker, is_on_probation))

    async def _claim_batch(self, batch: Sequence[_Asked]) -> Sequence[Reply | Exception | None]:
        worker = batch[0].worker
        if len(batch) == 1 or any(one.worker != worker for one in batch):
            return [await self._claim_alone(one) for one in batch]
        ids = [one.reply_id for one in batch]
        on_probation = [one.reply_id for one in batch if one.is_on_probation]
        wanted = {"_id": {"$in": ids}, **claimable(self._suspect_attempts, on_probation)}
        token = ObjectId()
        is_complete = True
        with reaching_the_store():
            try:
                await self._replies.update_many(wanted, taken(worker, token, self._end_of_lease()))
            except DuplicateKeyError:
                is_complete = False  # one of them met its conversation's running reply, and the rest were not tried
            rows = await self._replies.find({"_id": {"$in": ids}, "claim": token}).to_list()
        claimed: dict[ReplyId, Reply | Exception | None] = {row["_id"]: _read(row) for row in rows}
        if not is_complete:
            for one in batch:
                if one.reply_id not in claimed:
                    claimed[one.reply_id] = await self._claim_alone(one)
        return [claimed.get(reply_id) for reply_id in ids]

    async def _claim_alone(self, one: _Asked) -> Reply | Exception | None:
        on_probation = [one.reply_id] if one.is_on_probation else []
        with reaching_the_store():
            try:
                row = await self._replies.find_one_and_update(
                    {"_id": one.reply_id, **claimable(self._suspect_attempts, on_probation)},
                    taken(one.worker, ObjectId(), self._end_of_lease()),
                    return_document=ReturnDocument.AFTER,
                )
            except DuplicateKeyError:
                return None  # another reply of the conversation is running; the index says so
        return _read(row) if row else None

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
        back = handed_back(
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

    async def lost_ones(
        self, kinds: Sequence[WorkKind], *, limit: int, besides: Collection[ReplyId] = ()
    ) -> list[ReplyId]:
        """Replies that can be claimed now, `besides` those: nobody was told of them, or their worker is gone.

        Those whose worker is gone first, then by kind in the order given, and the oldest of each first.
        """
        lost: list[ReplyId] = []
        with reaching_the_store():
            orphans = _of(kinds, orphaned(self._suspect_attempts))
            found = await self._ids(orphans, ("lease_until", ASCENDING), limit + len(besides))
            lost += [reply_id for reply_id in found if reply_id not in besides][:limit]
            for kind in kinds:
                # One after the other: their names do not sort in the order of their priority.
                if len(lost) < limit:
                    ready = READY | {"kind": kind.value}
                    lost += await self._ids(ready, ("_id", ASCENDING), limit - len(lost))
        return lost

    async def suspects(self, kinds: Sequence[WorkKind], *, limit: int) -> dict[ReplyId, int]:
        """The attempts of replies whose workers died again and again; those with the fewest come first."""
        wanted = _of(kinds, suspected(self._suspect_attempts))
        order = [("attempts", ASCENDING), ("lease_until", ASCENDING)]
        with reaching_the_store():
            rows = await self._replies.find(wanted, {"attempts": 1}, sort=order, limit=limit).to_list()
        return {row["_id"]: row["attempts"] for row in rows}

    async def _ids(self, wanted: Row, order: tuple[str, int], limit: int) -> list[ReplyId]:
        rows = await self._replies.find(wanted, {"_id": 1}, sort=[order], limit=limit).to_list()
        return [row["_id"] for row in rows]

    async def reprieve(self, reply_ids: Sequence[ReplyId], worker: WorkerId) -> None:
        """Give the suspects that `worker` has survived for a while their attempt back: what it dies of is another.

        Only so often, or one that kills late would have no last attempt.
        """
        with reaching_the_store():
            await self._replies.update_many(
                {
                    "_id": {"$in": list(reply_ids)},
                    "owner": worker,
                    "status": "running",
                    "reprieves": {"$not": {"$gte": _MOST_REPRIEVES}},
                },
                {"$inc": {"attempts": -1, "reprieves": 1}},
            )

    async def expire(self, worker: WorkerId) -> int:
        """End all leases of a worker that is known to be dead; how many it had."""
        with reaching_the_store():
            result = await self._replies.update_many(
                {"owner": worker, "status": "running"}, [{"$set": {"lease_until": {"$subtract": ["$$NOW", 1]}}}]
            )
        return result.matched_count

    def _end_of_lease(self) -> dict[str, Any]:
        return {"$add": ["$$NOW", self._lease_milliseconds]}


def _of(kinds: Sequence[WorkKind], wanted: Row) -> Row:
    return wanted | {"kind": {"$in": [kind.value for kind in kinds]}}


def _read(row: Row) -> Reply | Exception:
    """The fault instead of the reply where a newer version wrote what we cannot read: those beside it are well."""
    try:
        return reply_from_row(row)
    except (KeyError, TypeError, ValueError) as fault:
        return fault

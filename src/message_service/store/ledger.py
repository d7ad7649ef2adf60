"""The ledger: a row for every attempt that used tokens. Rows are inserted and never changed; a correction is a row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pymongo.asynchronous.client_session import AsyncClientSession

from message_service.errors import ClaimLost
from message_service.messages.reply import Attempt, Reply, ReplyStatus, Spending
from message_service.store.accounts import charge
from message_service.store.batch import insert_all
from message_service.store.database import Database, Row
from message_service.store.mapping import MOST_ATTEMPTS_KEPT, attempt_to_row, usage_to_row
from message_service.store.transaction import run_until_seen


@dataclass(frozen=True, slots=True)
class Recovered:
    """What is known of a claim that nobody ended."""

    epoch: int
    attempt_log: tuple[Attempt, ...]
    spent: tuple[Spending, ...]


async def book_unfinished(
    database: Database, reply: Reply, spent: Sequence[Spending], session: AsyncClientSession
) -> None:
    """Write what attempts used that did not end the reply: it counts against the budget while the reserve stays.

    Raises `DuplicateKeyError` when that was done.
    """
    if spent:
        await insert_all(database.usage, ledger_rows(reply, spent), session)
        await charge(database, reply.user_id, reply.reservation, spent, session, is_released=False)


def ledger_rows(reply: Reply, spent: Sequence[Spending]) -> list[Row]:
    """What the attempts of the reply's present claim used, as it is stored."""
    return [_row(reply, one) for one in spent]


class Ledger:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def book_late(self, claimed: Reply, spent: Sequence[Spending]) -> Sequence[Spending]:
        """Write what was used for a claim that was lost: the tokens are gone, whoever owns the reply now.

        Harmless where they are booked already. Which of them nobody else has booked, so that they are ours to count.
        Raises `StoreUnavailable`.
        """

        async def body(session: AsyncClientSession) -> Sequence[Spending]:
            booked = await self._booked(claimed, spent, session)
            missing = [one for one in spent if row_id(claimed, one) not in booked]
            await book_unfinished(self._database, claimed, missing, session)
            # What is booked as ours belongs to an end that was stored without our hearing of it.
            return [one for one in spent if not booked.get(row_id(claimed, one), False)]

        return await run_until_seen(self._database, body)

    async def book_abandoned(self, claimed: Reply, recovered: Sequence[Recovered]) -> Sequence[Spending]:
        """Log and book what is known of earlier claims that nobody ended. Which of it was not booked before.

        A worker that was only slow may book its own meanwhile: what is there first stays. Raises `ClaimLost` when
        the reply is no longer at our epoch: whoever has it books this too. Raises `StoreUnavailable`.
        """
        logged = [attempt_to_row(attempt) for one in recovered for attempt in one.attempt_log]
        change = {
            "$unset": {"abandoned": ""},
            "$push": {"attempt_log": {"$each": logged, "$slice": -MOST_ATTEMPTS_KEPT}},
        }
        ours = {"_id": claimed.id, "epoch": claimed.epoch, "status": ReplyStatus.RUNNING.value}

        async def body(session: AsyncClientSession) -> Sequence[Spending]:
            result = await self._database.replies.update_one(
                {**ours, "abandoned": {"$exists": True}}, change, session=session
            )
            if result.matched_count == 0:
                raise ClaimLost
            missing: list[Spending] = []
            for one in recovered:
                claim = replace(claimed, epoch=one.epoch)
                booked = await self._booked(claim, one.spent, session)
                of_claim = [spending for spending in one.spent if row_id(claim, spending) not in booked]
                if of_claim:
                    rows = [{**row, "is_recovered": True} for row in ledger_rows(claim, of_claim)]
                    await insert_all(self._database.usage, rows, session)
                missing += of_claim
            await charge(self._database, claimed.user_id, claimed.reservation, missing, session, is_released=False)
            return missing

        return await run_until_seen(self._database, body)

    async def _booked(self, reply: Reply, spent: Sequence[Spending], session: AsyncClientSession) -> dict[str, bool]:
        """Those of the rows that are there, by id, and whether somebody else booked them for a dead worker."""
        ids = [row_id(reply, one) for one in spent]
        rows = await self._database.usage.find({"_id": {"$in": ids}}, {"is_recovered": 1}, session=session).to_list()
        return {row["_id"]: row.get("is_recovered", False) for row in rows}


def row_id(reply: Reply, spending: Spending) -> str:
    """Said twice it is still one: a claim's epoch is nobody else's."""
    return f"{reply.id} {reply.epoch} {spending.number}"


def _row(reply: Reply, spending: Spending) -> Row:
    row: Row = {
        "_id": row_id(reply, spending),
        "reply_id": reply.id,
        "user_id": reply.user_id,
        "conversation_id": reply.conversation_id,
        "character_id": reply.character_id,
        "provider": spending.provider,
        "model": spending.model,
        "at": spending.at,
        "is_kept": spending.is_kept,
        "attempts": 1,
        "unpriced_attempts": 1 if spending.cost_nano_usd is None else 0,
        "cost_nano_usd": spending.cost_nano_usd,
        "price_table": spending.price_table,
        **(usage_to_row(spending.usage) or {}),
    }
    return {field: value for field, value in row.items() if value is not None}

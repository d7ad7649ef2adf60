"""The ledger: a row for every attempt that used tokens. Rows are inserted and never changed; a correction is a row."""

from collections.abc import Sequence

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from message_service.messages.reply import Reply, Spending
from message_service.store.accounts import charge
from message_service.store.batch import insert_all
from message_service.store.database import Database, Row
from message_service.store.mapping import usage_to_row
from message_service.store.transaction import run_transaction


async def book(database: Database, reply: Reply, spent: Sequence[Spending], session: AsyncClientSession) -> None:
    """Write what the attempts of the reply's present claim used. Raises `DuplicateKeyError` when that was done."""
    if spent:
        await insert_all(database.usage, ledger_rows(reply, spent), session)


def ledger_rows(reply: Reply, spent: Sequence[Spending]) -> list[Row]:
    """What `book` writes."""
    return [_row(reply, one) for one in spent]


async def book_unfinished(
    database: Database, reply: Reply, spent: Sequence[Spending], session: AsyncClientSession
) -> None:
    """As `book`, for attempts that did not end the reply: they count against the budget while its reserve stays."""
    await book(database, reply, spent, session)
    await charge(database, reply.user_id, reply.reservation, spent, session, is_released=False)


class Ledger:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def book_late(self, claimed: Reply, spent: Sequence[Spending]) -> None:
        """Write what was used for a claim that was lost: the tokens are gone, whoever owns the reply now.

        Harmless where they are booked already. Raises `StoreUnavailable`.
        """

        async def body(session: AsyncClientSession) -> None:
            await book_unfinished(self._database, claimed, spent, session)

        try:
            await run_transaction(self._database, body)
        except DuplicateKeyError:
            return  # the end whose outcome we did not hear of had been stored after all


def _row(reply: Reply, spending: Spending) -> Row:
    row: Row = {
        # Said twice it is still one: a claim's epoch is nobody else's.
        "_id": f"{reply.id} {reply.epoch} {spending.number}",
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

"""Transactions that come to no good end leave nothing locked."""

import asyncio
from time import monotonic

import pymongo
import pytest
from pymongo.asynchronous.client_session import AsyncClientSession

from message_service.errors import StoreUnavailable
from message_service.store.database import Database
from message_service.store.transaction import run_transaction
from tests.fixtures.stores import CommandLog
from tests.fixtures.waiting import eventually

_FREE_WITHIN_SECONDS = 1.0
"""The embedded server gives up a transaction that nobody aborts after two."""


async def touch(database: Database, session: AsyncClientSession | None = None) -> None:
    await database.conversations.update_one({"_id": "one"}, {"$inc": {"touched": 1}}, upsert=True, session=session)


async def seconds_until_free(database: Database) -> float:
    """For another process: the same one would take the session again, which ends what was left in it."""
    began_at = monotonic()
    await touch(database)
    return monotonic() - began_at


async def is_aborted(log: CommandLog) -> bool:
    return "abortTransaction" in log.names


async def test_nothing_stays_locked_when_the_time_is_over(
    logged_database: Database, database: Database, command_log: CommandLog
) -> None:
    async def touch_and_dawdle(session: AsyncClientSession) -> None:
        await touch(logged_database, session)
        await asyncio.sleep(0.3)
        await touch(logged_database, session)

    await touch(logged_database)
    with pytest.raises(StoreUnavailable), pymongo.timeout(0.2):
        await run_transaction(logged_database, touch_and_dawdle)
    assert await seconds_until_free(database) < _FREE_WITHIN_SECONDS
    await eventually(lambda: is_aborted(command_log), seconds=5, what="the transaction is aborted")
    row = await logged_database.conversations.find_one({"_id": "one"})
    assert row is not None
    assert row["touched"] == 2


async def test_nothing_stays_locked_when_whoever_waits_has_gone(logged_database: Database, database: Database) -> None:
    has_touched = asyncio.Event()

    async def touch_and_wait(session: AsyncClientSession) -> None:
        await touch(logged_database, session)
        has_touched.set()
        await asyncio.get_running_loop().create_future()

    await touch(logged_database)
    waiting = asyncio.create_task(run_transaction(logged_database, touch_and_wait))
    await has_touched.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await seconds_until_free(database) < _FREE_WITHIN_SECONDS


async def test_it_is_aborted_before_anybody_hears_when_there_is_time(
    logged_database: Database, command_log: CommandLog
) -> None:
    async def touch_and_refuse(session: AsyncClientSession) -> None:
        await touch(logged_database, session)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_transaction(logged_database, touch_and_refuse)
    assert command_log.names[-1] == "abortTransaction"

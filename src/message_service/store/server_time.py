"""Keeps this process's clock in step with MongoDB's: deadlines are set by one process and judged by another."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, timedelta
from time import monotonic

from message_service.clock import TOLERATED_SECONDS, keep_in_step
from message_service.errors import StoreUnavailable
from message_service.logs import log
from message_service.stopping import stop_tasks
from message_service.store.database import Database, reaching_the_store

_COMPARED_EVERY_SECONDS = 10.0
# An answer that took longer, perhaps because this process stood still, says too little of when it was given.
_LONGEST_TRIP_SECONDS = 0.5


@asynccontextmanager
async def keeping_time(database: Database) -> AsyncIterator[None]:
    """The clock is compared before the block begins, and every ten seconds in it."""
    comparison = _Comparison(database)
    await comparison.make()
    task = asyncio.create_task(comparison.repeat())
    try:
        yield
    finally:
        await stop_tasks([task])


class _Comparison:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._was_wrong = False

    async def repeat(self) -> None:
        while True:
            await asyncio.sleep(_COMPARED_EVERY_SECONDS)
            await self.make()

    async def make(self) -> None:
        """Compare once; without an answer that says when it was given, nothing changes."""
        began_at = monotonic()
        try:
            with reaching_the_store(seconds=2):
                hello = await self._database.client.admin.command("hello")
        except StoreUnavailable:
            return
        trip_seconds = monotonic() - began_at
        if trip_seconds > _LONGEST_TRIP_SECONDS:
            return
        server_time = hello["localTime"].replace(tzinfo=UTC) + timedelta(seconds=trip_seconds / 2)
        ahead_seconds = keep_in_step(server_time)
        is_wrong = abs(ahead_seconds) > TOLERATED_SECONDS
        if is_wrong != self._was_wrong:
            self._was_wrong = is_wrong
            if is_wrong:
                log.warning("clock.wrong", seconds_ahead_of_mongodb=round(ahead_seconds, 1))
            else:
                log.info("clock.right")

"""One durable transaction with bounded retries."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from time import monotonic
from typing import TypeVar

import pymongo
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError, PyMongoError

from message_service.errors import StoreUnavailable
from message_service.store.database import OPERATION_SECONDS, Database, durable_options, reaching_the_store

Result = TypeVar("Result")

_LONGEST_PAUSE_SECONDS = 0.05
_ABORT_SECONDS = 1.0
_under_way: set[asyncio.Task[None]] = set()
"""Sessions that end unheard. The loop alone would not keep their tasks."""


class TransactionConflict(StoreUnavailable):
    """Somebody else changed the same documents, more often than we tried again."""


async def run_transaction(
    database: Database, body: Callable[[AsyncClientSession], Awaitable[Result]], *, conflict_retries: int = 100
) -> Result:
    """Run `body` and commit, again after a conflict, within `OPERATION_SECONDS` in all.

    `body` may run several times and must only touch the store through its session. Raises
    `TransactionConflict`, `StoreUnavailable` (the outcome is then unknown), `DuplicateKeyError`, and
    what `body` raises of its own; in the last two cases nothing was written.
    """
    give_up_at = monotonic() + OPERATION_SECONDS
    read_concern, write_concern = durable_options()
    with reaching_the_store():
        async with _open_session(database, give_up_at) as session:
            for attempt in range(conflict_retries + 1):
                await session.start_transaction(read_concern=read_concern, write_concern=write_concern)
                try:
                    result = await body(session)
                    await _commit(session, give_up_at)
                    return result
                except PyMongoError as fault:
                    is_late = monotonic() > give_up_at - _ABORT_SECONDS
                    if not fault.has_error_label("TransientTransactionError") or is_late:
                        raise
                    if attempt == conflict_retries:
                        raise TransactionConflict from fault
                    if session.in_transaction:
                        await session.abort_transaction()
                # Full jitter, so that two who met once do not meet again.
                await asyncio.sleep(random.uniform(0, min(_LONGEST_PAUSE_SECONDS, 0.001 * 2**attempt)))
    raise TransactionConflict


async def run_until_seen(database: Database, body: Callable[[AsyncClientSession], Awaitable[Result]]) -> Result:
    """As `run_transaction`, for a `body` that looks before it inserts.

    Where somebody inserted the same between its look and its writing it runs again, and sees that.
    """
    while True:
        try:
            return await run_transaction(database, body)
        except DuplicateKeyError:
            continue


async def _commit(session: AsyncClientSession, give_up_at: float) -> None:
    """Commit until the outcome is known: a commit may be repeated, its transaction may not."""
    while True:
        try:
            await session.commit_transaction()
            return
        except PyMongoError as fault:
            if not fault.has_error_label("UnknownTransactionCommitResult") or monotonic() > give_up_at:
                raise


@asynccontextmanager
async def _open_session(database: Database, give_up_at: float) -> AsyncIterator[AsyncClientSession]:
    """What is not committed is aborted in the end, or it would lock what it touched until the server gives it up.

    That is waited for until `give_up_at`, and done all the same when it is later or whoever waits has gone.
    """
    session = database.client.start_session()
    try:
        yield session
    finally:
        if session.in_transaction:
            # Outside of this context: the driver sends nothing where the context's time is over.
            ending = asyncio.create_task(_abort_and_end(session), context=Context())
            _under_way.add(ending)
            ending.add_done_callback(_under_way.discard)
            await asyncio.wait([ending], timeout=max(0.0, give_up_at - monotonic()))
        else:
            await session.end_session()


async def _abort_and_end(session: AsyncClientSession) -> None:
    # With the server gone nothing is locked for long: it comes back without what was not committed.
    with suppress(PyMongoError), pymongo.timeout(_ABORT_SECONDS):
        await session.end_session()

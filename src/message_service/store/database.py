"""Opens MongoDB with the promises the rest relies on, and creates the indexes."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pymongo
from beanie import init_beanie
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, ConfigurationError, DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from message_service.errors import InvalidSettings, StartRefused, StoreUnavailable
from message_service.logs import log
from message_service.store.documents import ALL_DOCUMENTS

Row = dict[str, Any]

OPERATION_SECONDS = 5.0
"""Bound on any call to the store, finding a server included."""

LONGEST_WAIT_SECONDS = 4.0
"""Whoever waits longer for a trip to the store to begin has been given up on, and his call is not made."""

_INDEX_BUILD_SECONDS = 600.0
"""A version that brings a new index builds it at its first start, however large the collection is."""

_DUPLICATE_KEY = 11000


class Database:
    """The collections by name, and the client for transactions."""

    def __init__(self, client: AsyncMongoClient[Row], name: str) -> None:
        self.client = client
        self.database: AsyncDatabase[Row] = client[name]
        self.conversations: AsyncCollection[Row] = self.database["conversations"]
        self.messages: AsyncCollection[Row] = self.database["messages"]
        self.replies: AsyncCollection[Row] = self.database["replies"]
        self.idempotency: AsyncCollection[Row] = self.database["idempotency"]
        self.usage: AsyncCollection[Row] = self.database["usage"]
        self.accounts: AsyncCollection[Row] = self.database["accounts"]
        self.dead_letters: AsyncCollection[Row] = self.database["dead_letters"]
        self.audit: AsyncCollection[Row] = self.database["audit"]

    async def ping(self) -> None:
        """Raises `StoreUnavailable` unless a primary answers."""
        with reaching_the_store(seconds=2):
            await self.client.admin.command("ping")


@asynccontextmanager
async def open_database(url: str, name: str, *, role: str, with_indexes: bool) -> AsyncIterator[Database]:
    """A connected database; `role` names this process in the server's log.

    A write counts when a majority holds it in its journal: implicit defaults weaken with an arbiter.
    Raises `StoreUnavailable`, `InvalidSettings` for a URL that cannot be one, and `StartRefused` for a server without
    transactions.
    """
    try:
        client: AsyncMongoClient[Row] = AsyncMongoClient(
            url,
            appname=f"message-service-{role}",
            w="majority",
            journal=True,
            readConcernLevel="majority",
            retryWrites=True,
            retryReads=True,
            timeoutMS=int(OPERATION_SECONDS * 1000),
            connectTimeoutMS=1000,
            serverSelectionTimeoutMS=4000,
            heartbeatFrequencyMS=1000,
            maxPoolSize=64,
            tz_aware=True,
        )
    except (PyMongoError, ValueError) as fault:
        raise InvalidSettings(f"MESSAGE_SERVICE_MONGODB_URL is not a MongoDB URL: {fault}") from fault
    try:
        database = Database(client, name)
        await _require_transactions(client)
        with reaching_the_store(seconds=_INDEX_BUILD_SECONDS if with_indexes else OPERATION_SECONDS):
            await init_beanie(database.database, document_models=ALL_DOCUMENTS, skip_indexes=not with_indexes)
        yield database
    finally:
        await client.close()


async def _require_transactions(client: AsyncMongoClient[Row]) -> None:
    """Raises `StartRefused` on a server that has none; warns of what weakens a set."""
    with reaching_the_store():
        hello = await client.admin.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise StartRefused(
            "This MongoDB is a standalone server, which has no transactions. Start mongod with --replSet and run "
            "rs.initiate() once; a set of one member will do."
        )
    if hello.get("arbiters"):
        log.warning("store.arbiter", advice="Replace it with a member that holds data: see `message-service doctor`.")


def store_is_late() -> StoreUnavailable:
    """For a call that waited too long for its trip: nothing of it was written."""
    return StoreUnavailable("The store is too slow at the moment.", retry_after_seconds=1)


def durable_options() -> tuple[ReadConcern, WriteConcern]:
    """Transactions ignore what the client was opened with, so they are told again."""
    return ReadConcern("snapshot"), WriteConcern(w="majority", j=True)


@contextmanager
def reaching_the_store(*, seconds: float = OPERATION_SECONDS) -> Iterator[None]:
    """Bounds what happens inside and turns the driver's errors into `StoreUnavailable`.

    `DuplicateKeyError` passes: it is an answer, not a failure.
    """
    try:
        with pymongo.timeout(seconds):
            yield
    except DuplicateKeyError:
        raise
    except BulkWriteError as fault:
        # Several writes in one command report a duplicate in a way of their own.
        duplicates = [error for error in fault.details["writeErrors"] if error["code"] == _DUPLICATE_KEY]
        if not duplicates:
            raise StoreUnavailable(retry_after_seconds=1) from fault
        raise DuplicateKeyError(duplicates[0]["errmsg"], _DUPLICATE_KEY, duplicates[0]) from fault
    except ConfigurationError as fault:
        raise InvalidSettings(f"MongoDB cannot be used as configured: {fault}") from fault
    except PyMongoError as fault:
        raise StoreUnavailable(retry_after_seconds=1) from fault

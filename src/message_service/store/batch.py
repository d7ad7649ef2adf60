"""Write commands as they go over the wire: in a transaction of several, the driver's bulk layers cost more CPU."""

from collections.abc import Iterable, Sequence
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError, DuplicateKeyError

from message_service.store.database import Row

_DUPLICATE_KEY = 11000


async def insert_all(collection: AsyncCollection[Row], rows: Sequence[Row], session: AsyncClientSession) -> None:
    """Insert `rows`, which have their `_id`. Raises `DuplicateKeyError`."""
    _check(await collection.database.command({"insert": collection.name, "documents": rows}, session=session))


async def upsert_all(
    collection: AsyncCollection[Row], changes: Iterable[tuple[str, Row]], session: AsyncClientSession
) -> None:
    """Set the fields of each document, given by its `_id`, and insert those that are missing."""
    updates = [{"q": {"_id": id_}, "u": {"$set": fields}, "upsert": True} for id_, fields in changes]
    _check(await collection.database.command({"update": collection.name, "updates": updates}, session=session))


async def update_all(collection: AsyncCollection[Row], updates: Sequence[Row], session: AsyncClientSession) -> None:
    """Each of `updates` says which document it is for (`q`) and what changes (`u`); what matches none is let be."""
    _check(await collection.database.command({"update": collection.name, "updates": updates}, session=session))


def _check(answer: dict[str, Any]) -> None:
    faults = answer.get("writeErrors")
    if faults:
        if faults[0]["code"] == _DUPLICATE_KEY:
            raise DuplicateKeyError(faults[0]["errmsg"], _DUPLICATE_KEY, faults[0])
        raise BulkWriteError(answer)

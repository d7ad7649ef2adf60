"""After the last fault: wait until nothing is going on, then read everything, through the API and from MongoDB."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from tests.chaos.caller import Answer, Caller, seen_message
from tests.chaos.history import FinalMessage, FinalReply, HistoryWriter, StoredDocument, digest

_COLLECTIONS = ("conversations", "messages", "replies", "idempotency", "usage", "audit")
_ACTIVE = {"status": {"$in": ["queued", "running"]}}
_LOOK_SECONDS = 0.5
_STILL_SECONDS = 6.0
"""Longer than any call to the store may take."""
_READERS = 16
_TRIES = 10

Item = TypeVar("Item")


@asynccontextmanager
async def open_final(url: str, name: str) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        url, tz_aware=True, readConcernLevel="majority", serverSelectionTimeoutMS=30_000
    )
    async with client:
        yield client[name]


async def await_drained(database: AsyncDatabase[dict[str, Any]], *, seconds: float) -> float | None:
    """When nothing changed any more; None if that did not come in time.

    No reply waits or runs, and nothing is accepted any more of what clients asked for that have gone.
    """
    give_up_at = time.monotonic() + seconds
    still_since, last_count = time.monotonic(), -1
    while time.monotonic() < give_up_at:
        try:
            active = await database["replies"].count_documents(_ACTIVE)
            count = await database["audit"].estimated_document_count()
        except PyMongoError:
            active, count = -1, -1  # it is still coming back
        if active or count != last_count:
            still_since, last_count = time.monotonic(), count
        elif time.monotonic() - still_since > _STILL_SECONDS:
            return still_since
        await asyncio.sleep(_LOOK_SECONDS)
    return None


async def read_everything(urls: Sequence[str], database: AsyncDatabase[dict[str, Any]], history: HistoryWriter) -> None:
    """Every conversation and reply through the API, hidden ones too, and every document. Raises if it cannot."""
    conversations = await database["conversations"].find({}, {"user_id": 1, "conversation_id": 1}).to_list()
    replies = await database["replies"].find({}, {"user_id": 1}).to_list()
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        caller = Caller(session, history, "final")

        async def read_conversation(number: int, row: dict[str, Any]) -> None:
            params = {"conversation_id": row["conversation_id"], "include": "deleted", "limit": "100", "order": "asc"}
            found: list[dict[str, Any]] = []

            async def walk() -> Answer:
                answer, found[:] = await caller.walk(urls[number % len(urls)], row["user_id"], params)
                return answer

            await _insist(walk)
            for message in found:
                history.write(
                    FinalMessage(
                        user=row["user_id"], conversation=row["conversation_id"], message=seen_message(message)
                    )
                )

        async def read_reply(number: int, row: dict[str, Any]) -> None:
            url = f"{urls[number % len(urls)]}/v1/replies/{row['_id']}"
            reply = (await _insist(lambda: caller.ask("GET", url, row["user_id"]))).json
            message = reply.get("message")
            history.write(
                FinalReply(
                    user=row["user_id"],
                    conversation=reply["conversation_id"],
                    id=reply["id"],
                    message_id=reply["message_id"],
                    status=reply["status"],
                    attempts=reply["attempts"],
                    text=digest(message["content"]) if message is not None else None,
                )
            )

        await _each(conversations, read_conversation)
        await _each(replies, read_reply)
    for collection in _COLLECTIONS:
        async for row in database[collection].find({}):
            history.write(StoredDocument.of(collection, row))


async def _insist(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """All faults are over, so an answer must come soon."""
    for _ in range(_TRIES):
        answer = await ask()
        if answer.is_ok:
            return answer
        await asyncio.sleep(_LOOK_SECONDS)
    raise RuntimeError(f"The final read is refused with {answer.status}: {answer.body[:300]!r}")


async def _each(items: Sequence[Item], do: Callable[[int, Item], Awaitable[None]]) -> None:
    """For all of them, some at a time."""
    waiting = iter(enumerate(items))

    async def work() -> None:
        for number, item in waiting:
            await do(number, item)

    await asyncio.gather(*(work() for _ in range(_READERS)))

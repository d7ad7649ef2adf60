"""Messages laid out for reading, and read in slices."""

from datetime import timedelta
from typing import Any, Literal

import pytest

from message_service.journey.page import Page
from message_service.messages.message import Message
from message_service.store.database import Database
from message_service.store.mapping import message_to_row
from message_service.store.messages import Messages
from message_service.store.pages import PageFilter, Pages, Slice
from tests.fixtures.samples import KEY, MOMENT, a_message

EVERYTHING = PageFilter()


@pytest.fixture
def messages(database: Database) -> Messages:
    return Messages(database)


@pytest.fixture
def pages(database: Database) -> Pages:
    return Pages(database)


async def stored(database: Database, *changes: dict[str, Any]) -> list[Message]:
    """One message for each set of changes, in order of `seq`, a second apart."""
    made = []
    for place, change in enumerate(changes):
        created_at = MOMENT + timedelta(seconds=place)
        made.append(a_message(place + 1, **{"created_at": created_at, "content": str(place + 1)} | change))
    await database.messages.insert_many([message_to_row(message) for message in made])
    return made


async def read(
    pages: Pages,
    filter_: PageFilter = EVERYTHING,
    *,
    direction: Literal["ascending", "descending"] = "ascending",
    from_seq: int | None = None,
    limit: int = 50,
) -> Slice:
    return await pages.read(KEY, filter_, direction=direction, from_seq=from_seq, limit=limit)


def seqs(found: Slice | Page) -> list[int]:
    return [row["seq"] for row in found.rows]

"""Reading messages in slices: order, filters, and the unfinished replies that ride along."""

from datetime import timedelta
from typing import Literal

import pytest

from message_service.ids import CharacterId, ConversationId, UserId, conversation_key
from message_service.messages.message import Role
from message_service.messages.reply import ReplyStatus
from message_service.store.database import Database
from message_service.store.pages import PageFilter, Pages
from tests.fixtures.samples import MOMENT
from tests.integration.reading import EVERYTHING, read, seqs, stored
from tests.integration.steps import Steps


@pytest.mark.parametrize(
    ("direction", "from_seq", "limit", "expected", "has_more"),
    [
        ("ascending", None, 3, [1, 2, 3], True),
        ("ascending", None, 10, list(range(1, 11)), False),
        ("ascending", 9, 3, [9, 10], False),
        ("ascending", 8, 3, [8, 9, 10], False),
        ("ascending", 11, 3, [], False),
        ("descending", None, 3, [10, 9, 8], True),
        ("descending", 3, 3, [3, 2, 1], False),
        ("descending", 3, 2, [3, 2], True),
        ("descending", 0, 3, [], False),
    ],
)
async def test_slice_is_what_lies_in_its_direction(
    database: Database,
    pages: Pages,
    direction: Literal["ascending", "descending"],
    from_seq: int | None,
    limit: int,
    expected: list[int],
    has_more: bool,
) -> None:
    await stored(database, *({} for _ in range(10)))
    found = await read(pages, direction=direction, from_seq=from_seq, limit=limit)
    assert (seqs(found), found.has_more) == (expected, has_more)


async def test_nothing_is_found_when_the_conversation_is_someone_elses(database: Database, pages: Pages) -> None:
    await stored(database, {})
    theirs = conversation_key(UserId("bob"), ConversationId("conv-1"))
    found = await pages.read(theirs, EVERYTHING, direction="ascending", from_seq=None, limit=10)
    assert (found.rows, found.active_replies, found.has_more) == ([], [], False)


async def test_filters_hold_together(database: Database, pages: Pages) -> None:
    await stored(
        database,
        {"role": Role.SYSTEM},
        {"character_id": "char-1"},
        {"role": Role.ASSISTANT, "character_id": "char-1", "metadata": {"mood": "good"}},
        {"role": Role.ASSISTANT, "character_id": "char-2"},
        {"role": Role.ASSISTANT, "character_id": "char-1"},
    )
    for filter_, expected in (
        (PageFilter(role=Role.SYSTEM), [1]),
        (PageFilter(role=Role.ASSISTANT), [3, 4, 5]),
        (PageFilter(character_id=CharacterId("char-1")), [2, 3, 5]),
        (PageFilter(since=MOMENT + timedelta(seconds=2)), [3, 4, 5]),
        (PageFilter(until=MOMENT + timedelta(seconds=2)), [1, 2]),
        (PageFilter(since=MOMENT + timedelta(seconds=1), until=MOMENT + timedelta(seconds=4)), [2, 3, 4]),
        (PageFilter(role=Role.ASSISTANT, character_id=CharacterId("char-1"), metadata={"mood": "good"}), [3]),
    ):
        assert seqs(await read(pages, filter_)) == expected, filter_
        assert seqs(await read(pages, filter_, direction="descending")) == expected[::-1], filter_


@pytest.mark.parametrize("key", ["plain", "a.b", "$where", "a.$b", "$$NOW", "$literal", "ключ", "a b", "_id", "0", ""])
async def test_metadata_is_compared_to_the_letter_whatever_its_key(database: Database, pages: Pages, key: str) -> None:
    await stored(
        database,
        {"metadata": {key: "wanted"}},
        {"metadata": {key: "other"}},
        {"metadata": {"x": "wanted"}},
        {},
        {"metadata": {key: "wanted", "x": "1"}},
    )
    assert seqs(await read(pages, PageFilter(metadata={key: "wanted"}))) == [1, 5]
    assert seqs(await read(pages, PageFilter(metadata={key: "wanted", "x": "1"}))) == [5]
    assert seqs(await read(pages, PageFilter(metadata={key: "nobody has it"}))) == []


@pytest.mark.parametrize("value", ["$metadata.mood", "$$ROOT", '{"$gt": ""}', "", "null", ".*"])
async def test_metadata_value_is_text_and_nothing_else(database: Database, pages: Pages, value: str) -> None:
    await stored(database, {"metadata": {"mood": "good"}}, {"metadata": {"mood": value}}, {})
    assert seqs(await read(pages, PageFilter(metadata={"mood": value}))) == [2]


async def test_key_with_a_dot_does_not_reach_into_another_value(database: Database, pages: Pages) -> None:
    await stored(database, {"metadata": {"a": "1"}}, {"metadata": {"a.b": "1"}})
    assert seqs(await read(pages, PageFilter(metadata={"a.b": "1"}))) == [2]


async def test_unfinished_replies_ride_along_in_the_order_of_their_turns(steps: Steps, pages: Pages) -> None:
    await steps.exchange()
    replies = [await steps.ask(str(number)) for number in range(3)]
    elsewhere = await steps.ask(conversation_id=ConversationId("conv-2"))
    await steps.claim(replies[0])
    found = await read(pages, limit=2)
    assert seqs(found) == [1, 2]
    assert [reply.id for reply in found.active_replies] == [reply.id for reply in replies]
    assert [reply.status for reply in found.active_replies] == [ReplyStatus.RUNNING] + [ReplyStatus.QUEUED] * 2
    assert elsewhere.id not in {reply.id for reply in found.active_replies}

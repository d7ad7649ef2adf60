"""Reading messages in pages, and hiding them."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

import pytest

from message_service.clock import now
from message_service.errors import MessageNotFound
from message_service.ids import CharacterId, ConversationId, UserId, conversation_key, new_message_id
from message_service.journey.page import Page, PageRequest, read_page
from message_service.messages.message import Message, Role
from message_service.messages.reply import ReplyStatus
from message_service.store.database import Database
from message_service.store.mapping import message_to_row
from message_service.store.messages import Messages, PageFilter, Slice
from message_service.store.replies import Replies
from tests.fixtures.samples import KEY, MOMENT, USER, a_message, completed
from tests.fixtures.stores import everything_in
from tests.integration.steps import Steps

EVERYTHING = PageFilter()


@pytest.fixture
def messages(database: Database) -> Messages:
    return Messages(database)


async def stored(database: Database, *changes: dict[str, Any]) -> list[Message]:
    """One message for each set of changes, in order of `seq`, a second apart."""
    made = []
    for place, change in enumerate(changes):
        created_at = MOMENT + timedelta(seconds=place)
        made.append(a_message(**{"seq": place + 1, "created_at": created_at, "content": str(place + 1)} | change))
    await database.messages.insert_many([message_to_row(message) for message in made])
    return made


async def read(
    messages: Messages,
    filter_: PageFilter = EVERYTHING,
    *,
    direction: Literal["ascending", "descending"] = "ascending",
    from_seq: int | None = None,
    limit: int = 50,
) -> Slice:
    return await messages.read(KEY, filter_, direction=direction, from_seq=from_seq, limit=limit)


def seqs(found: Slice | Page) -> list[int]:
    return [message.seq for message in found.messages]


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
    messages: Messages,
    direction: Literal["ascending", "descending"],
    from_seq: int | None,
    limit: int,
    expected: list[int],
    has_more: bool,
) -> None:
    await stored(database, *({} for _ in range(10)))
    found = await read(messages, direction=direction, from_seq=from_seq, limit=limit)
    assert (seqs(found), found.has_more) == (expected, has_more)


async def test_nothing_is_found_when_the_conversation_is_someone_elses(database: Database, messages: Messages) -> None:
    await stored(database, {})
    theirs = conversation_key(UserId("bob"), ConversationId("conv-1"))
    found = await messages.read(theirs, EVERYTHING, direction="ascending", from_seq=None, limit=10)
    assert (found.messages, found.active_replies, found.has_more) == ([], [], False)


async def test_filters_hold_together(database: Database, messages: Messages) -> None:
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
        assert seqs(await read(messages, filter_)) == expected, filter_
        assert seqs(await read(messages, filter_, direction="descending")) == expected[::-1], filter_


@pytest.mark.parametrize("key", ["plain", "a.b", "$where", "a.$b", "$$NOW", "$literal", "ключ", "a b", "_id", "0", ""])
async def test_metadata_is_compared_to_the_letter_whatever_its_key(
    database: Database, messages: Messages, key: str
) -> None:
    await stored(
        database,
        {"metadata": {key: "wanted"}},
        {"metadata": {key: "other"}},
        {"metadata": {"x": "wanted"}},
        {},
        {"metadata": {key: "wanted", "x": "1"}},
    )
    assert seqs(await read(messages, PageFilter(metadata={key: "wanted"}))) == [1, 5]
    assert seqs(await read(messages, PageFilter(metadata={key: "wanted", "x": "1"}))) == [5]
    assert seqs(await read(messages, PageFilter(metadata={key: "nobody has it"}))) == []


@pytest.mark.parametrize("value", ["$metadata.mood", "$$ROOT", '{"$gt": ""}', "", "null", ".*"])
async def test_metadata_value_is_text_and_nothing_else(database: Database, messages: Messages, value: str) -> None:
    await stored(database, {"metadata": {"mood": "good"}}, {"metadata": {"mood": value}}, {})
    assert seqs(await read(messages, PageFilter(metadata={"mood": value}))) == [2]


async def test_key_with_a_dot_does_not_reach_into_another_value(database: Database, messages: Messages) -> None:
    await stored(database, {"metadata": {"a": "1"}}, {"metadata": {"a.b": "1"}})
    assert seqs(await read(messages, PageFilter(metadata={"a.b": "1"}))) == [2]


async def test_unfinished_replies_ride_along_in_the_order_of_their_turns(steps: Steps, messages: Messages) -> None:
    await steps.exchange()
    replies = [await steps.ask(str(number)) for number in range(3)]
    elsewhere = await steps.ask(conversation_id=ConversationId("conv-2"))
    await steps.claim(replies[0])
    found = await read(messages, limit=2)
    assert seqs(found) == [1, 2]
    assert [reply.id for reply in found.active_replies] == [reply.id for reply in replies]
    assert [reply.status for reply in found.active_replies] == [ReplyStatus.RUNNING] + [ReplyStatus.QUEUED] * 2
    assert elsewhere.id not in {reply.id for reply in found.active_replies}


async def test_hidden_message_is_shown_nowhere_until_it_is_restored(
    database: Database, messages: Messages, steps: Steps
) -> None:
    first, second = await steps.post("first"), await steps.post("second")
    await messages.delete(first.id, USER)
    assert seqs(await read(messages)) == [second.seq]
    with pytest.raises(MessageNotFound):
        await messages.find_visible(first.id, USER)
    hidden = await read(messages, PageFilter(includes_deleted=True))
    assert [message.deleted_at is not None for message in hidden.messages] == [True, False]
    restored = await messages.restore(first.id, USER)
    assert restored == first
    assert await messages.find_visible(first.id, USER) == first
    assert seqs(await read(messages)) == [1, 2]
    actions = [row["action"] async for row in database.audit.find({"subject": first.id}, sort=[("_id", 1)])]
    assert actions == ["message.accepted", "message.deleted", "message.restored"]


async def test_nothing_changes_when_a_message_is_hidden_or_restored_again(
    database: Database, messages: Messages, steps: Steps
) -> None:
    message = await steps.post()
    await messages.restore(message.id, USER)
    assert await database.audit.count_documents({"action": "message.restored"}) == 0
    await messages.delete(message.id, USER)
    before = await everything_in(database)
    await asyncio.gather(*(messages.delete(message.id, USER) for _ in range(5)))
    assert await everything_in(database) == before


async def test_one_deletion_is_told_when_many_delete_together(
    database: Database, messages: Messages, steps: Steps
) -> None:
    message = await steps.post()
    await asyncio.gather(*(messages.delete(message.id, USER) for _ in range(8)))
    assert await database.audit.count_documents({"action": "message.deleted"}) == 1


async def test_message_is_not_found_when_it_is_someone_elses(database: Database, messages: Messages, steps: Steps) -> None:
    message = await steps.post()
    before = await everything_in(database)
    for message_id, user_id in ((message.id, UserId("bob")), (new_message_id(), USER)):
        for attempt in (messages.find_visible, messages.delete, messages.restore):
            with pytest.raises(MessageNotFound):
                await attempt(message_id, user_id)
    assert await everything_in(database) == before


async def test_seq_is_that_of_the_message_even_when_it_is_hidden(messages: Messages, steps: Steps) -> None:
    await steps.post()
    second = await steps.post()
    await messages.delete(second.id, USER)
    assert await messages.seq_of(second.id, KEY) == 2
    with pytest.raises(MessageNotFound):
        await messages.seq_of(second.id, conversation_key(USER, ConversationId("conv-2")))


async def test_posted_messages_are_counted_in_every_conversation_and_answers_are_not(
    messages: Messages, steps: Steps
) -> None:
    began_at = now()
    for number in range(3):
        await steps.exchange(conversation_id=ConversationId(f"conv-{number}"))
    await steps.post(role=Role.SYSTEM)
    await steps.post(user_id=UserId("bob"))
    assert await messages.count_posted(USER, since=began_at, at_most=100) == 4
    assert await messages.count_posted(USER, since=began_at, at_most=2) == 2
    assert await messages.count_posted(USER, since=now() + timedelta(seconds=1), at_most=100) == 0


async def all_pages(messages: Messages, *, limit: int, is_newest_first: bool, filter_: PageFilter) -> list[Page]:
    """From one end to the other, each page by the bound the one before gave."""
    pages: list[Page] = []
    bound: int | None = None
    while not pages or bound is not None:
        bounds = {} if bound is None else {"before_seq" if is_newest_first else "after_seq": bound}
        request = PageRequest(key=KEY, filter=filter_, limit=limit, is_newest_first=is_newest_first, **bounds)
        pages.append(await read_page(request, messages=messages))
        bound = pages[-1].next_seq
        assert pages[-1].has_more == (bound is not None)
    return pages


@pytest.mark.parametrize("is_newest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 3, 7, 10, 100])
async def test_every_message_is_on_one_page_when_they_are_turned_in_order(
    database: Database, messages: Messages, limit: int, is_newest_first: bool
) -> None:
    await stored(database, *({"role": Role.USER if seq % 3 else Role.SYSTEM} for seq in range(10)))
    for filter_ in (EVERYTHING, PageFilter(role=Role.USER)):
        whole = seqs(await read(messages, filter_, limit=100))
        pages = await all_pages(messages, limit=limit, is_newest_first=is_newest_first, filter_=filter_)
        turned = [seq for page in pages for seq in seqs(page)]
        assert turned == (whole[::-1] if is_newest_first else whole)
        assert len(pages) == -(-len(whole) // limit)


@pytest.mark.parametrize("is_newest_first", [True, False])
async def test_page_before_is_reached_when_a_page_was_turned(
    database: Database, messages: Messages, is_newest_first: bool
) -> None:
    await stored(database, *({} for _ in range(10)))
    first, second, *_ = await all_pages(messages, limit=4, is_newest_first=is_newest_first, filter_=EVERYTHING)
    assert first.previous_seq is None
    assert second.previous_seq is not None
    bound = {"after_seq" if is_newest_first else "before_seq": second.previous_seq}
    request = PageRequest(key=KEY, filter=EVERYTHING, limit=4, is_newest_first=is_newest_first, **bound)
    assert seqs(await read_page(request, messages=messages)) == seqs(first)


@pytest.mark.parametrize(
    ("around", "limit", "expected"),
    [(5, 5, [3, 4, 5, 6, 7]), (5, 4, [4, 5, 6, 7]), (1, 4, [1, 2, 3]), (10, 4, [9, 10]), (5, 1, [5]), (5, 100, None)],
)
async def test_message_is_in_the_middle_when_a_page_is_around_it(
    database: Database, messages: Messages, around: int, limit: int, expected: list[int] | None
) -> None:
    await stored(database, *({} for _ in range(10)))
    for is_newest_first in (False, True):
        request = PageRequest(
            key=KEY, filter=EVERYTHING, limit=limit, is_newest_first=is_newest_first, around_seq=around
        )
        page = await read_page(request, messages=messages)
        wanted: Sequence[int] = expected or range(1, 11)
        assert seqs(page) == list(reversed(wanted) if is_newest_first else wanted)


async def test_reply_is_told_with_its_message_or_its_place_in_the_line(steps: Steps, database: Database) -> None:
    replies = Replies(database)
    first, second, third = [await steps.ask(str(number)) for number in range(3)]
    places = [(await replies.find_visible(reply.id, USER)).position for reply in (first, second, third)]
    assert places == [0, 1, 2]
    await steps.answer(first, completed("Done."))
    found = await replies.find_visible(first.id, USER)
    assert found.message is not None
    assert (found.message.content, found.position) == ("Done.", None)
    assert (await replies.find_visible(third.id, USER)).position == 1
    assert [await replies.has_ended(reply.id) for reply in (first, second)] == [True, False]


async def test_variants_are_told_in_the_order_they_were_asked_for(steps: Steps, database: Database) -> None:
    question, answer = await steps.exchange("q", "a")
    second, third = await steps.ask_again(question), await steps.ask_again(question)
    await steps.answer(second, completed("b"))
    found = await Replies(database).variants(question.id, USER)
    assert [one.reply.id for one in found] == [answer.id, second.id, third.id]
    assert [one.message.content if one.message else None for one in found] == ["a", "b", None]
    assert await Replies(database).variants(question.id, UserId("bob")) == []

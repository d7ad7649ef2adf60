"""Hiding messages and showing them again: nothing is lost, and everything is told once."""

import asyncio

import pytest

from message_service.errors import MessageNotFound
from message_service.ids import ConversationId, UserId, conversation_key, new_message_id
from message_service.store.database import Database
from message_service.store.messages import Messages
from message_service.store.pages import PageFilter, Pages
from tests.fixtures.samples import KEY, USER
from tests.fixtures.stores import everything_in
from tests.integration.reading import read, seqs
from tests.integration.steps import Steps


async def test_hidden_message_is_shown_nowhere_until_it_is_restored(
    database: Database, messages: Messages, pages: Pages, steps: Steps
) -> None:
    first, second = await steps.post("first"), await steps.post("second")
    await messages.delete(first.id, USER)
    assert seqs(await read(pages)) == [second.seq]
    with pytest.raises(MessageNotFound):
        await messages.find_visible(first.id, USER)
    hidden = await read(pages, PageFilter(includes_deleted=True))
    assert ["deleted_at" in row for row in hidden.rows] == [True, False]
    restored = await messages.restore(first.id, USER)
    assert restored == first
    assert await messages.find_visible(first.id, USER) == first
    assert seqs(await read(pages)) == [1, 2]
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


async def test_message_is_not_found_when_it_is_someone_elses(
    database: Database, messages: Messages, steps: Steps
) -> None:
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

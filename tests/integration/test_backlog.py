"""How much waits: counted in the store, seldom, and never wrong for long."""

import asyncio

import pytest

from message_service.errors import Overloaded
from message_service.ids import ConversationId, ReplyId
from message_service.messages.reply import WorkKind
from message_service.store.backlog import SAMPLE_SECONDS, Backlog
from message_service.store.database import Database
from message_service.store.replies import Replies
from tests.fixtures.samples import USER
from tests.fixtures.stores import CommandLog
from tests.integration.steps import WORKER, Steps


async def looked_twice(backlog: Backlog) -> None:
    """Twice, because one look cannot tell a full worker from a quick one."""
    for _ in range(2):
        await asyncio.sleep(SAMPLE_SECONDS)
        await backlog.look()


async def in_conversation(steps: Steps, number: int) -> ReplyId:
    return (await steps.ask(conversation_id=ConversationId(f"conv-{number}"))).id


async def test_replies_are_refused_when_as_many_wait_as_may(database: Database, steps: Steps) -> None:
    backlog = Backlog(database, most_waiting=3)
    for _ in range(3):
        await backlog.require_room()
        await steps.ask()
        backlog.added(is_next=False)
    with pytest.raises(Overloaded) as refused:
        await backlog.require_room()
    assert refused.value.retry_after_seconds
    await database.replies.update_many({}, {"$set": {"status": "completed"}})
    await asyncio.sleep(SAMPLE_SECONDS)
    await backlog.require_room()
    assert not backlog.is_overloaded


async def test_what_other_processes_added_is_seen(database: Database, steps: Steps) -> None:
    backlog = Backlog(database, most_waiting=2)
    await backlog.require_room()
    for number in range(2):
        await in_conversation(steps, number)
    await asyncio.sleep(SAMPLE_SECONDS)
    await backlog.look()
    assert backlog.is_overloaded
    with pytest.raises(Overloaded):
        await backlog.require_room()


async def test_store_is_asked_once_when_many_ask_together(
    logged_database: Database, command_log: CommandLog, steps: Steps
) -> None:
    await steps.ask()
    backlog = Backlog(logged_database, most_waiting=100)
    await asyncio.gather(*(backlog.require_room() for _ in range(50)))
    assert command_log.names == ["aggregate", "aggregate", "find"]
    for command in command_log.commands:
        assert command["hint"] in ("waiting", "ready")


async def test_nobody_is_ahead_while_workers_take_what_is_ready(database: Database, steps: Steps) -> None:
    backlog = Backlog(database, most_waiting=100)
    for number in range(3):
        reply_id = await in_conversation(steps, number)
        await asyncio.sleep(SAMPLE_SECONDS)
        await backlog.look()
        assert backlog.ahead == 0
        await steps.claims.claim(reply_id, WORKER)


async def test_those_who_wait_before_are_counted_when_workers_are_full(database: Database, steps: Steps) -> None:
    backlog = Backlog(database, most_waiting=100)
    replies = Replies(database, backlog)
    ids = [await in_conversation(steps, number) for number in range(4)]
    second_of_first = await in_conversation(steps, 0)
    await looked_twice(backlog)
    assert backlog.ahead == 4
    assert [(await replies.find_visible(reply_id, USER)).position for reply_id in ids] == [0, 1, 2, 3]
    assert (await replies.find_visible(second_of_first, USER)).position == 1
    await database.replies.update_one({"_id": ids[0]}, {"$set": {"kind": WorkKind.SUMMARY.value}})
    assert [(await replies.find_visible(reply_id, USER)).position for reply_id in ids] == [3, 0, 1, 2]

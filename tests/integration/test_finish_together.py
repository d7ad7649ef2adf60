"""Ends that come together: each is stored as it would be alone, whoever else is in the batch."""

import asyncio
from typing import Any

import pytest

from message_service.errors import ClaimLost, StoreUnavailable
from message_service.ids import ConversationId
from message_service.messages.reply import Reply, ReplyStatus
from message_service.store import finish as finish_module
from message_service.store.database import Database
from message_service.store.ending import Ended
from message_service.store.finish import Finishing
from message_service.store.transaction import TransactionConflict
from tests.fixtures.broken_transactions import break_transactions
from tests.fixtures.samples import completed, failed
from tests.fixtures.stores import CommandLog, everything_in
from tests.integration.steps import WORKER, Steps

MANY = 30


async def running(steps: Steps, count: int = MANY) -> list[Reply]:
    """Claimed replies, each of a conversation of its own."""
    asked = [await steps.ask(conversation_id=ConversationId(f"conv-{number}")) for number in range(count)]
    return [await steps.claim(reply) for reply in asked]


async def together(finishing: Finishing, *ends: tuple[Reply, Any]) -> list[Ended | BaseException]:
    return await asyncio.gather(*(finishing.finish(*end) for end in ends), return_exceptions=True)


async def test_every_end_is_stored_when_many_come_together(steps: Steps, database: Database) -> None:
    claimed = await running(steps)
    ended = await together(
        steps.finishing,
        *((reply, failed() if at % 5 == 0 else completed(f"text {at}")) for at, reply in enumerate(claimed)),
    )
    assert not [one for one in ended if isinstance(one, BaseException)]
    for at, reply in enumerate(claimed):
        has_text = at % 5 != 0
        stored = await steps.reply(reply.id)
        assert stored.status is (ReplyStatus.COMPLETED if has_text else ReplyStatus.FAILED)
        assert (stored.owner, stored.finished_at is not None) == (None, True)
        message = await database.messages.find_one({"_id": reply.id})
        assert (message["content"] if message else None) == (f"text {at}" if has_text else None)
        conversation = await steps.conversation(reply.conversation_key)
        assert (conversation.last_seq, conversation.reserved, conversation.active_reply) == (1 + has_text, 0, None)
        assert await database.audit.count_documents({"subject": reply.id, "action": "reply.ended"}) == 1
        assert await database.dead_letters.count_documents({"_id": reply.id}) == (not has_text)


async def test_answer_is_what_is_stored_when_it_was_given_in_a_crowd(steps: Steps, database: Database) -> None:
    claimed = await running(steps)
    ended = await together(steps.finishing, *((reply, completed(reply.id)) for reply in claimed))
    for reply, one in zip(claimed, ended, strict=True):
        assert isinstance(one, Ended)
        assert one.reply == await steps.reply(reply.id)
        assert one.message == await steps.message(one.reply.id)


async def test_commands_do_not_grow_with_the_crowd(
    steps: Steps, logged_database: Database, command_log: CommandLog
) -> None:
    claimed = await running(steps)
    finishing = Finishing(logged_database)
    command_log.commands.clear()
    await together(finishing, *((reply, completed("text")) for reply in claimed))
    assert len(command_log.names) <= 2 * 9, "two trips in flight, and the first of them may hold one alone"


async def test_stale_claim_loses_and_the_others_are_stored_when_they_end_together(steps: Steps) -> None:
    claimed = await running(steps, 6)
    stale = claimed[2]
    await steps.claims.expire(WORKER)
    again = await steps.claim(stale)
    ended = await together(steps.finishing, *((reply, completed("text")) for reply in claimed))
    assert [isinstance(one, ClaimLost) for one in ended] == [reply is stale for reply in claimed]
    assert (await steps.reply(stale.id)).status is ReplyStatus.RUNNING
    await steps.finishing.finish(again, completed("the other worker's"))


async def test_next_replies_get_their_turns_when_the_first_ones_end_together(steps: Steps) -> None:
    firsts, seconds = [], []
    for number in range(5):
        conversation_id = ConversationId(f"conv-{number}")
        firsts.append(await steps.claim(await steps.ask("first", conversation_id=conversation_id)))
        seconds.append(await steps.ask("second", conversation_id=conversation_id))
    ended = await together(steps.finishing, *((reply, completed("text")) for reply in firsts))
    promoted = [one.promoted.reply_id for one in ended if isinstance(one, Ended) and one.promoted]
    assert promoted == [reply.id for reply in seconds]
    for reply in seconds:
        await steps.claim(reply)


@pytest.mark.parametrize("first_is_away", [False, True])
async def test_each_half_hears_its_own_when_the_store_goes_away_between_them(
    steps: Steps, database: Database, monkeypatch: pytest.MonkeyPatch, first_is_away: bool
) -> None:
    claimed = await running(steps, 4)
    halves = [StoreUnavailable()] if first_is_away else [None, StoreUnavailable()]
    break_transactions(monkeypatch, finish_module, TransactionConflict(), *halves)
    ended = await together(steps.finishing, *((reply, completed("text")) for reply in claimed))
    are_stored = [(await steps.reply(reply.id)).status is ReplyStatus.COMPLETED for reply in claimed]
    assert are_stored == ([False] * 4 if first_is_away else [True, True, False, False])
    assert [isinstance(one, Ended) for one in ended] == are_stored
    assert [isinstance(one, StoreUnavailable) for one in ended] == [not is_stored for is_stored in are_stored]


@pytest.mark.parametrize("processes", [2, 4])
async def test_each_reply_ends_once_when_several_processes_end_it_at_once(
    steps: Steps, database: Database, processes: int
) -> None:
    claimed = await running(steps, 12)
    workers = [Finishing(database) for _ in range(processes)]
    ended = await together_everywhere(workers, claimed)
    for reply in claimed:
        outcomes = [found[reply.id] for found in ended]
        assert [isinstance(one, Ended) for one in outcomes].count(True) == 1
        assert await database.messages.count_documents({"_id": reply.id}) == 1
        assert await database.audit.count_documents({"subject": reply.id, "action": "reply.ended"}) == 1
    before = await everything_in(database)
    assert all(
        isinstance(one, ClaimLost) for one in await together(workers[0], *((r, completed("x")) for r in claimed))
    )
    assert await everything_in(database) == before


async def together_everywhere(workers: list[Finishing], claimed: list[Reply]) -> list[dict[str, Any]]:
    found = await asyncio.gather(
        *(together(worker, *((reply, completed(reply.id)) for reply in claimed)) for worker in workers)
    )
    return [dict(zip([reply.id for reply in claimed], one, strict=True)) for one in found]

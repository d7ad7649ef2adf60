"""The ledger: every attempt that used tokens has its row, once, whatever became of the attempt."""

import asyncio

import pytest

from message_service.errors import ClaimLost
from message_service.messages.reply import Outcome, ReplyStatus, Usage
from message_service.store.database import Database
from message_service.store.ledger import Ledger
from tests.fixtures.samples import a_spending, completed, failed
from tests.fixtures.stores import everything_in
from tests.integration.steps import OTHER_WORKER, WORKER, Steps

ALL_CLASSES = Usage(1000, 200, cached_input_tokens=600, cache_write_tokens=100, reasoning_tokens=50)


async def _ids(database: Database) -> list[str]:
    return [row["_id"] for row in await database.usage.find(sort=[("_id", 1)]).to_list()]


async def test_attempts_of_one_claim_have_a_row_each_when_one_failed_over(steps: Steps, database: Database) -> None:
    reply = await steps.ask(character_id="char-7")
    abandoned = a_spending(provider="openai", model="gpt-5.5", usage=ALL_CLASSES, cost_nano_usd=8_300_000)
    kept = a_spending(2, is_kept=True)
    await steps.answer(reply, Outcome(status=ReplyStatus.COMPLETED, take=1000, text="Hi", spent=(abandoned, kept)))
    first, second = await database.usage.find(sort=[("_id", 1)]).to_list()
    assert (first["_id"], second["_id"]) == (f"{reply.id} 1 1", f"{reply.id} 1 2")
    assert (first["is_kept"], second["is_kept"]) == (False, True)
    assert (first["provider"], first["model"], first["character_id"]) == ("openai", "gpt-5.5", "char-7")
    assert (first["cost_nano_usd"], first["unpriced_attempts"], first["attempts"]) == (8_300_000, 0, 1)
    assert (first["input_tokens"], first["output_tokens"]) == (1000, 200)
    assert (first["cached_input_tokens"], first["cache_write_tokens"], first["reasoning_tokens"]) == (600, 100, 50)


async def test_unknown_cost_is_absent_and_counted_as_unknown(steps: Steps, database: Database) -> None:
    unpriced = a_spending(provider="openai", model="unheard-of", cost_nano_usd=None)
    await steps.answer(await steps.ask(), Outcome(status=ReplyStatus.FAILED, take=1000, spent=(unpriced,)))
    (row,) = await database.usage.find().to_list()
    assert "cost_nano_usd" not in row
    assert row["unpriced_attempts"] == 1


async def test_row_stays_when_the_attempt_was_handed_back_and_another_ended_the_reply(
    steps: Steps, database: Database
) -> None:
    reply = await steps.ask()
    claimed = await steps.claim(reply)
    spent = (a_spending(),)
    assert await steps.claims.hand_back(claimed, delay_seconds=0, is_attempt_counted=False, spent=spent)
    assert await _ids(database) == [f"{reply.id} 1 1"]
    await steps.answer(reply)
    assert await _ids(database) == [f"{reply.id} 1 1", f"{reply.id} 2 1"]


async def test_nothing_is_booked_by_a_hand_back_that_was_too_late(steps: Steps, database: Database) -> None:
    claimed = await steps.claim(await steps.ask())
    await steps.finishing.finish(claimed, failed())
    before = await everything_in(database)
    spent = (a_spending(),)
    assert not await steps.claims.hand_back(claimed, delay_seconds=0, is_attempt_counted=True, spent=spent)
    assert await everything_in(database) == before


async def test_tokens_of_a_lost_claim_are_booked_beside_those_of_the_next(steps: Steps, database: Database) -> None:
    stale = await steps.claim(await steps.ask())
    await steps.claims.expire(WORKER)
    current = await steps.claim(stale, OTHER_WORKER)
    with pytest.raises(ClaimLost):
        await steps.finishing.finish(stale, completed())
    await Ledger(database).book_late(stale, [a_spending()])
    await steps.finishing.finish(current, completed())
    assert await _ids(database) == [f"{stale.id} 1 1", f"{stale.id} 2 1"]


async def test_row_is_booked_once_when_the_end_was_stored_without_our_hearing_of_it(
    steps: Steps, database: Database
) -> None:
    claimed = await steps.claim(await steps.ask())
    await steps.finishing.finish(claimed, completed())
    before = await everything_in(database)
    ledger = Ledger(database)
    await asyncio.gather(*(ledger.book_late(claimed, [a_spending()]) for _ in range(3)))
    assert await everything_in(database) == before

"""A worker that dies leaves no attempt unbooked, and none booked twice: whoever takes its reply over books it."""

import asyncio
from typing import Any

import pytest

from message_service.errors import ClaimLost
from message_service.messages.reply import Attempt, Reply, ReplyStatus, Usage
from message_service.relay import Relay
from message_service.store.database import Database, Row
from message_service.store.ledger import Ledger, Recovered
from message_service.wiring import worker as worker_wiring
from tests.fixtures.samples import MOMENT, USER, a_spending, completed
from tests.fixtures.stores import everything_in
from tests.fixtures.waiting import eventually
from tests.integration.stage import Stage, open_stage
from tests.integration.steps import OTHER_WORKER, WORKER, Steps, die_over

DIED = Attempt(
    provider="scripted",
    host="here",
    model="scripted",
    started_at=MOMENT,
    ended_at=MOMENT,
    usage=Usage(11, 5, is_estimated=True),
    error="worker_died",
)
WORDS = "/script rate=max tokens=5"


async def taken_over(steps: Steps, reply: Reply) -> tuple[Reply, Reply]:
    """The claim of a worker that was not heard of any more, and the next one's."""
    stale = await steps.claim(reply)
    await steps.claims.expire(WORKER)
    return stale, await steps.claim(reply, OTHER_WORKER)


async def usage_rows(database: Database) -> list[Row]:
    return await database.usage.find(sort=[("_id", 1)]).to_list()


def recovered(epoch: int, *numbers: int) -> Recovered:
    return Recovered(epoch, (DIED,) * len(numbers), tuple(a_spending(number, usage=Usage(11, 5)) for number in numbers))


async def test_claim_tells_what_it_took_over(steps: Steps) -> None:
    reply = await steps.ask()
    stale, current = await taken_over(steps, reply)
    assert stale.abandoned == ()
    (claim,) = current.abandoned
    assert (claim.epoch, claim.attempts) == (1, ())
    assert abs((claim.claimed_at - reply.created_at).total_seconds()) < 60
    await steps.claims.expire(OTHER_WORKER)
    third = await steps.claim(reply)
    assert [claim.epoch for claim in third.abandoned] == [1, 2], "until it is booked"


async def test_claims_taken_together_tell_it_too(steps: Steps) -> None:
    replies = [await steps.ask(conversation_id=f"conv-{number}") for number in range(3)]
    await asyncio.gather(*(steps.claim(reply) for reply in replies[:2]))
    await steps.claims.expire(WORKER)
    claimed = await asyncio.gather(*(steps.claim(reply, OTHER_WORKER) for reply in replies))
    assert [[claim.epoch for claim in one.abandoned] for one in claimed] == [[1], [1], []]


async def test_nothing_is_abandoned_when_a_reply_was_handed_back_or_ended(steps: Steps, database: Database) -> None:
    claimed = await steps.claim(await steps.ask())
    await steps.claims.note_attempts([(claimed, [DIED])])
    assert await steps.claims.hand_back(claimed, delay_seconds=0, is_attempt_counted=True)
    again = await steps.claim(claimed)
    assert again.abandoned == ()
    await steps.claims.note_attempts([(again, [DIED])])
    await steps.finishing.finish(again, completed())
    (row,) = await database.replies.find().to_list()
    assert not {"under_way", "abandoned"} & row.keys()


async def test_notes_come_with_the_claim_that_takes_over(steps: Steps) -> None:
    reply = await steps.ask()
    stale = await steps.claim(reply)
    await steps.claims.note_attempts([(stale, [DIED])])
    await steps.claims.expire(WORKER)
    current = await steps.claim(reply, OTHER_WORKER)
    assert [claim.attempts for claim in current.abandoned] == [(DIED,)]
    await steps.claims.note_attempts([(stale, [DIED, DIED])])
    assert "under_way" not in await steps.reply_row(reply.id), "the old worker notes nothing more"


async def test_what_a_dead_worker_used_is_logged_and_booked_once_when_many_try(
    steps: Steps, database: Database
) -> None:
    _, current = await taken_over(steps, await steps.ask())
    tries = await asyncio.gather(
        *(Ledger(database).book_abandoned(current, [recovered(1, 1, 2)]) for _ in range(5)), return_exceptions=True
    )
    assert [len(booked) for booked in tries if not isinstance(booked, BaseException)] == [2]
    assert [type(fault) for fault in tries if isinstance(fault, BaseException)] == [ClaimLost] * 4
    assert [row["_id"] for row in await usage_rows(database)] == [f"{current.id} 1 1", f"{current.id} 1 2"]
    stored = await steps.reply(current.id)
    assert (stored.abandoned, [one.error for one in stored.attempt_log]) == ((), ["worker_died"] * 2)


async def test_nothing_is_booked_by_a_worker_that_was_overtaken_itself(steps: Steps, database: Database) -> None:
    _, second = await taken_over(steps, await steps.ask())
    await steps.claims.expire(OTHER_WORKER)
    await steps.claim(second)
    before = await everything_in(database)
    with pytest.raises(ClaimLost):
        await Ledger(database).book_abandoned(second, [recovered(1, 1)])
    assert await everything_in(database) == before


async def test_worker_that_was_only_paused_books_what_nobody_knew_of(steps: Steps, database: Database) -> None:
    stale, current = await taken_over(steps, await steps.ask())
    ledger = Ledger(database)
    await ledger.book_abandoned(current, [recovered(1, 1)])
    first, second = a_spending(1, usage=Usage(11, 9)), a_spending(2)
    assert await ledger.book_late(stale, [first, second]) == [second]
    assert await ledger.book_late(stale, [first, second]) == [second], "booked as ours, and nobody counted it"
    rows = await usage_rows(database)
    assert [(row["_id"], row["output_tokens"]) for row in rows] == [(f"{stale.id} 1 1", 5), (f"{stale.id} 1 2", 5)]


async def test_what_the_paused_worker_booked_first_stays(steps: Steps, database: Database) -> None:
    stale, current = await taken_over(steps, await steps.ask())
    ledger = Ledger(database)
    reported = a_spending(usage=Usage(11, 9))
    assert await ledger.book_late(stale, [reported]) == [reported]
    assert await ledger.book_abandoned(current, [recovered(1, 1)]) == []
    (row,) = await usage_rows(database)
    assert row["output_tokens"] == 9
    assert len((await steps.reply(current.id)).attempt_log) == 1


async def test_each_attempt_is_booked_once_when_both_book_at_the_same_moment(steps: Steps, database: Database) -> None:
    for number in range(20):
        reply = await steps.ask(conversation_id=f"conv-{number}")
        stale, current = await taken_over(steps, reply)
        late, abandoned = await asyncio.gather(
            Ledger(database).book_late(stale, [a_spending(1), a_spending(2)]),
            Ledger(database).book_abandoned(current, [recovered(1, 1, 2)]),
        )
        assert len(late) + len(abandoned) == 2
        assert await database.usage.count_documents({"reply_id": reply.id}) == 2
        await steps.finishing.finish(current, completed())


async def test_attempt_is_in_the_log_in_the_ledger_and_in_the_budget_when_its_worker_died(
    stores_of_the_stage: dict[str, Any], steps: Steps, database: Database
) -> None:
    async with open_stage(**stores_of_the_stage, budget_tokens_per_day=1_000_000) as stage:
        reply = await stage.ask(WORDS)
        await die_over(reply, steps.claims, stage.api.channel, "Some words that were shown.")
        async with stage.worker():
            found = await stage.ended(reply)
        account = await stage.api.accounts.find(USER)
    died, ended = found.reply.attempt_log
    assert (died.provider, died.host, died.model, died.error) == (
        "scripted",
        "scripted.host",
        "scripted",
        "worker_died",
    )
    assert died.usage == Usage(40, 6, is_estimated=True)
    assert (died.cost_nano_usd, ended.error) == (0, None)
    first, second = await usage_rows(database)
    assert (first["_id"], first["is_kept"], first["is_recovered"]) == (f"{reply.id} 1 1", False, True)
    assert (first["input_tokens"], first["output_tokens"], first["is_estimated"]) == (40, 6, True)
    assert (second["_id"], second["is_kept"]) == (f"{reply.id} 2 1", True)
    assert account.day.used.tokens == sum(row["input_tokens"] + row["output_tokens"] for row in (first, second))
    assert account.day.reserved.tokens == 0


async def test_attempt_is_booked_when_the_reply_ends_without_another(
    stage: Stage, steps: Steps, database: Database
) -> None:
    reply = await stage.ask(WORDS)
    await die_over(reply, steps.claims, stage.api.channel, "Some words.")
    await database.replies.update_one({"_id": reply.id}, {"$set": {"attempts": 5}})
    async with stage.worker():
        found = await stage.ended(reply)
    assert found.reply.status is ReplyStatus.FAILED
    assert [one.error for one in found.reply.attempt_log] == ["worker_died"]
    assert [row["output_tokens"] for row in await usage_rows(database)] == [3]


async def test_attempt_is_known_by_its_lease_when_redis_forgot_what_was_shown(
    stores_of_the_stage: dict[str, Any], steps: Steps, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_wiring, "_RENEWALS_PER_LEASE", 20)
    async with open_stage(**stores_of_the_stage, lease_seconds=2) as stage:
        reply = await stage.ask("/script tokens=10000 rate=50")
        async with stage.worker(drain_seconds=0):

            async def is_noted() -> bool:
                row = await steps.reply_row(reply.id)
                return "model" in (row.get("under_way") or [{}])[-1]

            await eventually(is_noted, seconds=10, what="the attempt is noted")
            # As if the worker had died now: its later writes are another claim's, or nobody's.
            await steps.claims.expire((await steps.reply(reply.id)).owner or WORKER)
            await relay.quick.flushdb()
            current = await steps.claim(reply, OTHER_WORKER)
            (claim,) = current.abandoned
            (attempt,) = claim.attempts
            assert (attempt.provider, attempt.model, attempt.error) == ("scripted", "scripted", "stopped")
            assert attempt.usage is not None
            assert attempt.usage.input_tokens > 0
            await steps.finishing.finish(current, completed())

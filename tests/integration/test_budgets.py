"""Budgets: set aside with ACCEPT, settled once with the end, exact over processes."""

import asyncio
from dataclasses import asdict, replace
from typing import Any

import pytest

from message_service.errors import ClaimLost, QuotaExceeded
from message_service.ids import ConversationId, UserId
from message_service.messages.budget import Account, Amount, Demand, Limits
from message_service.messages.reply import Outcome, Reply, ReplyStatus
from message_service.store.accept import Acceptance
from message_service.store.accounts import Accounts
from message_service.store.database import Database
from message_service.store.idempotency import Accepted, IdempotencyRecords
from message_service.store.ledger import Ledger
from tests.fixtures.samples import USER, a_new_reply, a_spending, a_submission, completed, failed
from tests.fixtures.stores import CommandLog
from tests.integration.steps import OTHER_WORKER, WORKER, Steps, processes

ADMIN = UserId("an admin")
ESTIMATE = Amount(100, 7)
USED = Amount(16, 3)
"""What `a_spending` books, at the price of `SPENT`."""
SPENT = (a_spending(cost_nano_usd=3),)


def a_demanding_reply(**limits: Any) -> Any:
    return a_new_reply(demand=Demand(ESTIMATE, Limits(**limits)))


async def ask(steps: Steps, number: int = 1, **limits: Any) -> Reply:
    submission = a_submission(reply=a_demanding_reply(**limits), conversation_id=ConversationId(f"conv-{number}"))
    accepted = await steps.accept(submission)
    assert accepted.reply is not None
    return accepted.reply


async def account(database: Database) -> Account:
    return await Accounts(database).find(USER)


async def held(database: Database) -> tuple[Amount, Amount]:
    """Used and reserved: the same in both periods here."""
    found = await account(database)
    assert (found.day.used, found.day.reserved) == (found.month.used, found.month.reserved)
    return found.day.used, found.day.reserved


async def test_estimate_is_set_aside_with_the_reply_and_settled_with_its_end(steps: Steps, database: Database) -> None:
    reply = await ask(steps)
    assert await held(database) == (Amount(), ESTIMATE)
    stored = await steps.reply(reply.id)
    assert stored.reservation is not None
    assert stored.reservation.amount == ESTIMATE
    await steps.answer(reply, replace(completed(), spent=SPENT))
    assert await held(database) == (USED, Amount())


@pytest.mark.parametrize("status", [ReplyStatus.FAILED, ReplyStatus.BLOCKED, ReplyStatus.INCOMPLETE])
async def test_nothing_stays_set_aside_however_a_reply_ends(
    steps: Steps, database: Database, status: ReplyStatus
) -> None:
    await steps.answer(await ask(steps), Outcome(status=status, take=1000))
    assert await held(database) == (Amount(), Amount())


async def test_cancelled_in_the_queue_nothing_stays_set_aside(steps: Steps, database: Database) -> None:
    reply = await ask(steps)
    await asyncio.gather(*(steps.finishing.cancel(reply.id, USER) for _ in range(4)))
    assert await held(database) == (Amount(), Amount())


async def test_attempt_that_was_handed_back_is_used_and_the_estimate_stays_until_the_end(
    steps: Steps, database: Database
) -> None:
    claimed = await steps.claim(await ask(steps))
    await steps.claims.hand_back(claimed, delay_seconds=0, is_attempt_counted=False, spent=SPENT)
    assert await held(database) == (USED, ESTIMATE)
    await steps.answer(claimed, replace(completed(), spent=SPENT))
    assert await held(database) == (USED + USED, Amount())


async def test_reply_is_settled_once_when_two_workers_end_it(steps: Steps, database: Database) -> None:
    stale = await steps.claim(await ask(steps))
    await steps.claims.expire(WORKER)
    current = await steps.claim(stale, OTHER_WORKER)
    await steps.finishing.finish(current, replace(completed(), spent=SPENT))
    with pytest.raises(ClaimLost):
        await steps.finishing.finish(stale, replace(completed(), spent=SPENT))
    await Ledger(database).book_late(stale, SPENT)
    await Ledger(database).book_late(stale, SPENT)
    assert await held(database) == (USED + USED, Amount())


async def test_nothing_is_stored_when_the_budget_does_not_allow_it(steps: Steps, database: Database) -> None:
    await ask(steps, tokens_per_day=199)
    with pytest.raises(QuotaExceeded) as refusal:
        await ask(steps, 2, tokens_per_day=199)
    assert refusal.value.remaining == 99
    assert await database.messages.count_documents({}) == await database.replies.count_documents({}) == 1
    assert await held(database) == (Amount(), ESTIMATE)


async def test_one_of_a_batch_is_refused_alone(steps: Steps, database: Database) -> None:
    answers = await asyncio.gather(
        *(ask(steps, number, tokens_per_day=450) for number in range(8)), return_exceptions=True
    )
    assert [isinstance(answer, QuotaExceeded) for answer in answers].count(True) == 4
    assert await held(database) == (Amount(), Amount(400, 28))


async def test_budget_is_exact_when_fifty_ask_and_others_end_at_once_over_processes(
    steps: Steps, database: Database
) -> None:
    apis = processes(database, 4)
    refused = 0

    async def ask_and_end(number: int) -> None:
        nonlocal refused
        submission = a_submission(
            reply=a_demanding_reply(tokens_per_day=1_000), conversation_id=ConversationId(f"conv-{number}")
        )
        try:
            accepted: Accepted = await apis[number % 4].accept(submission)
        except QuotaExceeded:
            refused += 1
            return
        assert accepted.reply is not None
        outcome = replace(completed(), spent=SPENT) if number % 2 else failed()
        await steps.finishing.finish(await steps.claim(accepted.reply), outcome)

    async def watch_over() -> None:
        while True:
            day = (await account(database)).day
            assert day.used.tokens + day.reserved.tokens <= 1_000
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch_over())
    await asyncio.gather(*(ask_and_end(number) for number in range(50)))
    assert not watching.done(), "the budget was kept all the time"
    watching.cancel()
    used, reserved = await held(database)
    ended = await database.replies.count_documents({"status": "completed"})
    assert used == Amount(16 * ended, 3 * ended)
    assert reserved == Amount()
    assert refused + await database.replies.count_documents({}) == 50


async def test_own_limits_hold_until_they_are_taken_back(steps: Steps, database: Database) -> None:
    accounts = Accounts(database)
    await accounts.set_limits(USER, Limits(tokens_per_day=10), by=ADMIN)
    with pytest.raises(QuotaExceeded):
        await ask(steps)
    await accounts.clear_limits(USER, by=ADMIN)
    await ask(steps)
    assert (await accounts.set_limits(USER, Limits(tokens_per_month=5), by=ADMIN)).day.reserved == ESTIMATE
    assert (await account(database)).own_limits == Limits(tokens_per_month=5)


async def test_account_of_a_newer_version_is_read_without_what_is_new(steps: Steps, database: Database) -> None:
    await ask(steps)
    newer = {"limits": {"tokens_per_day": 10, "tokens_per_hour": 5}, "day.used.requests": 3, "day.reserved.requests": 1}
    await database.accounts.update_one({"_id": USER}, {"$set": newer})
    with pytest.raises(QuotaExceeded):
        await ask(steps, 2)
    stored = await account(database)
    assert (stored.own_limits, stored.day.reserved) == (Limits(tokens_per_day=10), ESTIMATE)


async def test_audit_tells_who_changed_whose_limits_to_what_and_only_when_they_changed(database: Database) -> None:
    accounts = Accounts(database)
    for _ in range(2):
        await accounts.set_limits(USER, Limits(tokens_per_day=10), by=ADMIN)
    for _ in range(2):
        await accounts.clear_limits(USER, by=ADMIN)
    await accounts.clear_limits(UserId("somebody else"), by=ADMIN)
    first, second = await database.audit.find(sort=[("_id", 1)]).to_list()
    assert (first["action"], first["user_id"], first["subject"]) == ("limits.set", ADMIN, USER)
    assert first["limits"] == asdict(Limits(tokens_per_day=10))
    assert (second["action"], second["user_id"], second["subject"]) == ("limits.cleared", ADMIN, USER)
    assert "limits" not in second


async def test_limits_and_replies_that_come_together_all_count(steps: Steps, database: Database) -> None:
    accounts = Accounts(database)
    changes = [accounts.set_limits(USER, Limits(tokens_per_day=1_000_000 + number), by=ADMIN) for number in range(5)]
    await asyncio.gather(*changes, *(ask(steps, number) for number in range(5)))
    found = await account(database)
    assert found.day.reserved == Amount(5 * ESTIMATE.tokens, 5 * ESTIMATE.cost_nano_usd)
    rows = await database.audit.find({"action": "limits.set"}, sort=[("_id", 1)]).to_list()
    assert len(rows) == 5
    assert found.own_limits in [Limits(**row["limits"]) for row in rows]


async def test_period_that_is_over_is_not_settled_any_more(steps: Steps, database: Database) -> None:
    reply = await ask(steps)
    empty = {"tokens": 0, "cost_nano_usd": 0}
    tomorrow = {"name": "2999-01-01", "used": empty, "reserved": empty}
    await database.accounts.update_one({"_id": USER}, {"$set": {"day": tomorrow}})
    await steps.answer(reply, replace(completed(), spent=SPENT))
    found = await account(database)
    assert (found.day.used, found.day.reserved) == (Amount(), Amount())
    assert (found.month.used, found.month.reserved) == (USED, Amount())


async def test_no_command_more_is_sent_when_there_are_no_budgets(
    logged_database: Database, command_log: CommandLog
) -> None:
    acceptance = Acceptance(logged_database, IdempotencyRecords(logged_database))
    await acceptance.accept(a_submission(reply=a_new_reply()))
    assert "accounts" not in [next(iter(command.values())) for command in command_log.commands]

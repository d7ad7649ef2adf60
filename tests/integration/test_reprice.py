"""Reckoning cost again: rows stay as they are, corrections stand beside them, and doing it twice changes nothing."""

import asyncio
from datetime import UTC, datetime, timedelta

from message_service.clock import now
from message_service.journey.reprice import Repriced, reprice
from message_service.messages.reply import Outcome, ReplyStatus, Spending, Usage
from message_service.store.corrections import Corrections
from message_service.store.database import Database
from message_service.store.usage_report import UsageQuery, UsageReports
from message_service.usage.prices import PriceTable, table_from
from tests.fixtures.samples import USER, a_spending
from tests.integration.explaining import Furnished, plans_of, require
from tests.integration.steps import Steps

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def prices(picodollars: int) -> PriceTable:
    tiers = [[0, picodollars, picodollars, picodollars, picodollars]]
    model = {"id": "m", "match": {"equals": "m"}, "eras": [{"since": None, "tiers": tiers}]}
    document = {"source": "test", "version": str(picodollars), "date": "2026-01-01", "providers": {"openai": [model]}}
    return table_from(document)


def spent(cost_nano_usd: int | None, model: str = "m") -> Spending:
    return a_spending(provider="openai", model=model, usage=Usage(90, 10), cost_nano_usd=cost_nano_usd)


async def book(steps: Steps, *spendings: Spending) -> None:
    for one in spendings:
        outcome = Outcome(status=ReplyStatus.FAILED, take=1000, spent=(one,))
        await steps.answer(await steps.ask(), outcome)


async def total(database: Database) -> tuple[int, int, int, int]:
    """Cost, attempts, those without a price, tokens."""
    query = UsageQuery(user_id=USER, since=now() - timedelta(days=1), until=now() + timedelta(days=1))
    (row,) = await UsageReports(database).read(query, limit=1)
    sums = row.sums
    return sums["cost_nano_usd"], sums["attempts"], sums["unpriced_attempts"], sums["input_tokens"]


async def test_unknown_and_wrong_costs_are_put_right_beside_their_rows(steps: Steps, database: Database) -> None:
    await book(steps, spent(None), spent(150), spent(200), spent(None, model="unheard-of"))
    before = await database.usage.find({}, sort=[("_id", 1)]).to_list()
    assert await total(database) == (350, 4, 2, 360)
    done = await reprice(LONG_AGO, prices=prices(2000), corrections=Corrections(database))
    assert done == Repriced(attempts=4, corrected=2, difference_nano_usd=250, unpriced=1)
    assert await total(database) == (600, 4, 1, 360)
    assert await database.usage.find({"corrects": None}, sort=[("_id", 1)]).to_list() == before


async def test_second_time_changes_nothing_and_prices_may_go_there_and_back(steps: Steps, database: Database) -> None:
    await book(steps, spent(100), spent(100))
    corrections = Corrections(database)
    for price, expected in ((3000, 600), (3000, 600), (1000, 200), (3000, 600), (1000, 200)):
        await reprice(LONG_AGO, prices=prices(price), corrections=corrections)
        assert (await total(database))[0] == expected
    assert await database.usage.count_documents({"corrects": {"$ne": None}}) == 8


async def test_two_at_once_correct_each_row_once(steps: Steps, database: Database) -> None:
    await book(steps, *(spent(None) for _ in range(12)))
    corrections = Corrections(database)
    done = await asyncio.gather(*(reprice(LONG_AGO, prices=prices(1000), corrections=corrections) for _ in range(3)))
    assert sum(one.corrected for one in done) == 12
    assert (await total(database))[:3] == (1200, 12, 0)


async def test_only_what_was_booked_since_then_is_looked_at(steps: Steps, database: Database) -> None:
    await book(steps, spent(100))
    done = await reprice(now() + timedelta(seconds=5), prices=prices(5000), corrections=Corrections(database))
    assert done.attempts == 0


async def test_entries_and_their_corrections_are_found_through_indexes(furnished: Furnished) -> None:
    rows = [
        {"_id": f"msg_{number} 1 1", "at": LONG_AGO + timedelta(minutes=number), "user_id": "ada"}
        | {"input_tokens": 1, "output_tokens": 1, "is_estimated": False}
        for number in range(500)
    ]
    await furnished.database.usage.delete_many({})
    await furnished.database.usage.insert_many(rows)

    async def read(database: Database) -> None:
        async for _ in Corrections(database).entries(LONG_AGO + timedelta(minutes=450)):
            pass

    plans = await plans_of(furnished, read)
    require(plans, "by_time", "corrections", allows_sort=True)

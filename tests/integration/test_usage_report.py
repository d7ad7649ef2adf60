"""Adding up the ledger: every group once, whatever the size of the page, and through an index."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from message_service.ids import UserId
from message_service.store.database import Database, Row
from message_service.store.usage_report import Dimension, Group, UsageQuery, UsageReports, UsageRow
from tests.fixtures.samples import MOMENT
from tests.integration.explaining import Furnished, plans_of, require, user

ADA = UserId("ada")
EVERYTHING = UsageQuery(user_id=ADA, since=MOMENT - timedelta(days=2), until=MOMENT + timedelta(days=10))


def rows(users: int = 1) -> Iterator[Row]:
    for number in range(240):
        yield (
            {
                "_id": f"msg_{number} 1 1",
                "user_id": ADA if users == 1 else user(number),
                "conversation_id": f"conv-{number % 3}",
                "provider": "openai" if number % 2 else "scripted",
                "model": f"model-{number % 4}",
                "at": MOMENT + timedelta(hours=number % 48),
                "attempts": 1,
                "unpriced_attempts": 1 if number % 10 == 0 else 0,
                "input_tokens": 100 + number,
                "output_tokens": number,
                "cached_input_tokens": 10,
                "cache_write_tokens": 1,
                "reasoning_tokens": 2,
                "is_estimated": number % 5 == 0,
            }
            | ({"character_id": f"char-{number % 2}"} if number % 3 else {})
            | ({} if number % 10 == 0 else {"cost_nano_usd": number * 1000})
        )


def added(wanted: Any = lambda _: True) -> dict[str, int]:
    chosen = [row for row in rows() if wanted(row)]
    fields = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")
    return {
        **{field: sum(row[field] for row in chosen) for field in (*fields, "attempts", "unpriced_attempts")},
        "cost_nano_usd": sum(row.get("cost_nano_usd", 0) for row in chosen),
        "estimated_tokens": sum(row["input_tokens"] + row["output_tokens"] for row in chosen if row["is_estimated"]),
    }


async def test_sum_is_of_all_rows_when_nothing_is_told_apart(database: Database) -> None:
    await database.usage.insert_many(rows())
    assert await UsageReports(database).read(EVERYTHING, limit=10) == [UsageRow((), added())]


async def test_nothing_is_told_of_others_or_of_other_times(database: Database) -> None:
    await database.usage.insert_many(rows())
    reports = UsageReports(database)
    assert await reports.read(UsageQuery(user_id=UserId("eve"), since=MOMENT, until=MOMENT), limit=10) == []
    span = UsageQuery(user_id=ADA, since=MOMENT, until=MOMENT + timedelta(hours=1))
    (row,) = await reports.read(span, limit=10)
    assert row.sums == added(lambda row: row["at"] == MOMENT)


@pytest.mark.parametrize("page_size", [1, 2, 5, 100])
@pytest.mark.parametrize(
    "group_by",
    [
        (Dimension.CONVERSATION,),
        (Dimension.CHARACTER, Dimension.MODEL),
        (Dimension.PROVIDER, Dimension.DAY),
        (Dimension.USER, Dimension.HOUR),
    ],
)
async def test_pages_hold_every_group_once_and_add_up_to_everything(
    database: Database, group_by: tuple[Dimension, ...], page_size: int
) -> None:
    await database.usage.insert_many(rows())
    reports = UsageReports(database)
    query = UsageQuery(user_id=ADA, since=EVERYTHING.since, until=EVERYTHING.until, group_by=group_by)
    found: list[UsageRow] = []
    after: Group | None = None
    while page := await reports.read(query, after=after, limit=page_size):
        found += page
        after = page[-1].group
    groups = [row.group for row in found]
    assert len(set(groups)) == len(groups)
    total = added()
    assert {field: sum(row.sums[field] for row in found) for field in total} == total
    assert [row.sums for row in await reports.read(query, limit=1000)] == [row.sums for row in found]


async def test_groups_are_what_they_are_called(database: Database) -> None:
    await database.usage.insert_many(rows())
    query = UsageQuery(
        user_id=ADA, since=EVERYTHING.since, until=EVERYTHING.until, group_by=(Dimension.CHARACTER, Dimension.DAY)
    )
    found = await UsageReports(database).read(query, limit=100)
    midnight = MOMENT.replace(hour=0, minute=0, second=0, microsecond=0)
    assert (None, midnight) in [row.group for row in found], "without a character is a group"
    chosen = next(row for row in found if row.group == ("char-1", midnight + timedelta(days=1)))
    assert chosen.sums == added(
        lambda row: (
            row.get("character_id") == "char-1"
            and midnight + timedelta(days=1) <= row["at"] < midnight + timedelta(days=2)
        )
    )


@pytest.mark.parametrize(("whose", "index"), [(user(3), "by_user"), (None, "by_time")], ids=["one user's", "all"])
async def test_report_looks_only_at_the_rows_it_adds_up(furnished: Furnished, whose: UserId | None, index: str) -> None:
    await furnished.database.usage.delete_many({})
    await furnished.database.usage.insert_many(rows(users=20))
    query = UsageQuery(
        user_id=whose, since=MOMENT, until=MOMENT + timedelta(hours=5), group_by=(Dimension.MODEL, Dimension.HOUR)
    )
    plans = await plans_of(furnished, lambda database: UsageReports(database).read(query, limit=10))
    # What is sorted are the groups, which no index can know.
    require(plans, index, allows_sort=True)

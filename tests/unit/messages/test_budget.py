"""What a budget allows, and which period it is about."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from message_service.errors import QuotaExceeded
from message_service.messages.budget import Account, Amount, Demand, Limits, Period, Reservation

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)


def demand(tokens: int = 100, cost_nano_usd: int = 0, **limits: Any) -> Demand:
    return Demand(Amount(tokens, cost_nano_usd), Limits(**limits))


def test_what_is_set_aside_is_no_longer_there_for_the_next() -> None:
    account, reservation = Account.empty(NOON).reserve(demand(tokens_per_day=250), NOON)
    assert reservation == Reservation(Amount(100, 0), "2026-11-30", "2026-11")
    account, _ = account.reserve(demand(tokens_per_day=250), NOON)
    assert account.day.reserved == account.month.reserved == Amount(200, 0)
    with pytest.raises(QuotaExceeded) as refusal:
        account.reserve(demand(tokens_per_day=250), NOON)
    assert (refusal.value.remaining, refusal.value.wanted, refusal.value.limit) == (50, 100, 250)
    assert refusal.value.resets_at == MIDNIGHT
    assert refusal.value.retry_after_seconds == timedelta(hours=12).total_seconds()


@pytest.mark.parametrize(
    ("limits", "unit", "period"),
    [
        ({"tokens_per_day": 99}, "tokens", "day"),
        ({"tokens_per_month": 99}, "tokens", "month"),
        ({"cost_nano_usd_per_day": 6}, "cost_nano_usd", "day"),
        ({"cost_nano_usd_per_month": 6}, "cost_nano_usd", "month"),
        ({"tokens_per_day": 0}, "tokens", "day"),
    ],
)
def test_each_limit_refuses_by_its_name(limits: dict[str, int], unit: str, period: str) -> None:
    with pytest.raises(QuotaExceeded) as refusal:
        Account.empty(NOON).reserve(demand(100, 7, **limits), NOON)
    assert (refusal.value.unit, refusal.value.period) == (unit, period)


def test_limit_itself_may_be_reached() -> None:
    Account.empty(NOON).reserve(demand(100, 7, tokens_per_day=100, cost_nano_usd_per_month=7), NOON)


def test_what_costs_nothing_is_not_refused_for_its_cost() -> None:
    Account.empty(NOON).reserve(demand(100, 0, cost_nano_usd_per_day=0), NOON)


def test_own_limits_stand_in_for_everybodys_as_a_whole() -> None:
    generous = Account(day=Account.empty(NOON).day, month=Account.empty(NOON).month, own_limits=Limits())
    generous.reserve(demand(tokens_per_day=1), NOON)


def test_new_day_begins_with_nothing_used_and_the_month_goes_on() -> None:
    evening = datetime(2026, 11, 29, 23, 59, 59, tzinfo=UTC)
    account, _ = Account.empty(evening).reserve(demand(), evening)
    after, reservation = account.reserve(demand(), NOON)
    assert (after.day.reserved.tokens, after.month.reserved.tokens) == (100, 200)
    assert reservation.day == "2026-11-30"
    assert account.at(MIDNIGHT).month.reserved == Amount()


def test_clock_that_lags_behind_does_not_bring_yesterday_back() -> None:
    account, _ = Account.empty(MIDNIGHT).reserve(demand(), MIDNIGHT)
    after, reservation = account.reserve(demand(), NOON)
    assert (after.day.name, after.day.reserved.tokens) == ("2026-12-01", 200)
    assert (reservation.day, reservation.month) == ("2026-12-01", "2026-12")


@pytest.mark.parametrize(
    ("period", "name", "end"),
    [
        (Period.DAY, "2026-12-31", datetime(2027, 1, 1, tzinfo=UTC)),
        (Period.MONTH, "2026-12", datetime(2027, 1, 1, tzinfo=UTC)),
        (Period.MONTH, "2028-02", datetime(2028, 3, 1, tzinfo=UTC)),
    ],
)
def test_period_ends_where_the_next_begins(period: Period, name: str, end: datetime) -> None:
    assert period.end_of(name) == end
    assert period.name_at(end - timedelta(seconds=1)) == name
    assert period.name_at(end) > name


def test_nothing_is_left_when_more_was_taken_than_there_was() -> None:
    account, _ = Account.empty(NOON).reserve(demand(100, 7), NOON)
    limits = Limits(tokens_per_day=250, cost_nano_usd_per_day=5)
    assert account.day.remaining(limits) == (150, 0)
    assert account.month.remaining(limits) == (None, None), "no limit"

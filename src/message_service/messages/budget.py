"""A user's budgets: what replies may use in a day and in a month, what was used, and what is set aside meanwhile."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self

from message_service.errors import QuotaExceeded


class Period(StrEnum):
    """By the calendar, in UTC."""

    DAY = "day"
    MONTH = "month"

    def name_at(self, moment: datetime) -> str:
        """`2026-11-25` or `2026-11`: names sort by time."""
        return moment.astimezone(UTC).strftime("%Y-%m-%d" if self is Period.DAY else "%Y-%m")

    def end_of(self, name: str) -> datetime:
        """When the period of that name is over."""
        if self is Period.DAY:
            return datetime.fromisoformat(name).replace(tzinfo=UTC) + timedelta(days=1)
        first = datetime.fromisoformat(f"{name}-01").replace(tzinfo=UTC)
        return (first + timedelta(days=31)).replace(day=1)


@dataclass(frozen=True, slots=True)
class Amount:
    tokens: int = 0
    """Input and output together, every attempt of a reply included."""
    cost_nano_usd: int = 0

    def __add__(self, other: Self) -> Self:
        return replace(self, tokens=self.tokens + other.tokens, cost_nano_usd=self.cost_nano_usd + other.cost_nano_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """None: as much as they like."""

    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    cost_nano_usd_per_day: int | None = None
    cost_nano_usd_per_month: int | None = None

    def of(self, period: Period) -> tuple[int | None, int | None]:
        """Tokens and cost."""
        if period is Period.DAY:
            return self.tokens_per_day, self.cost_nano_usd_per_day
        return self.tokens_per_month, self.cost_nano_usd_per_month


@dataclass(frozen=True, slots=True)
class Demand:
    """What a reply may use, to be set aside within `limits` where its user has none of their own."""

    estimate: Amount
    limits: Limits


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a reply had set aside when it was asked for, and in which periods: there it is settled, whenever it ends."""

    amount: Amount
    day: str
    month: str


@dataclass(frozen=True, slots=True)
class Span:
    """One period of an account."""

    period: Period
    name: str
    used: Amount = field(default_factory=Amount)
    reserved: Amount = field(default_factory=Amount)

    def at(self, name: str) -> "Span":
        """This one, or an empty one of a later name. A clock that lags behind does not bring an earlier one back."""
        return self if name <= self.name else Span(self.period, name)

    def remaining(self, limits: Limits) -> tuple[int | None, int | None]:
        """Tokens and cost that could still be set aside; None: there is no limit."""
        tokens, cost_nano_usd = limits.of(self.period)
        taken = self.used + self.reserved
        return (
            None if tokens is None else max(0, tokens - taken.tokens),
            None if cost_nano_usd is None else max(0, cost_nano_usd - taken.cost_nano_usd),
        )

    def with_reserved(self, amount: Amount, limits: Limits, moment: datetime) -> "Span":
        """Raises `QuotaExceeded` where it does not fit."""
        for unit, limit in zip(("tokens", "cost_nano_usd"), limits.of(self.period), strict=True):
            if limit is None:
                continue
            taken = getattr(self.used, unit) + getattr(self.reserved, unit)
            wanted = getattr(amount, unit)
            # What costs nothing is never refused for its cost, even where earlier replies took more than estimated.
            if wanted > 0 and taken + wanted > limit:
                resets_at = self.period.end_of(self.name)
                raise QuotaExceeded(
                    unit=unit,
                    period=self.period.value,
                    limit=limit,
                    remaining=max(0, limit - taken),
                    wanted=wanted,
                    resets_at=resets_at,
                    retry_after_seconds=max(1.0, (resets_at - moment).total_seconds()),
                )
        return replace(self, reserved=self.reserved + amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One user's. `own_limits` stand in for everybody's where somebody set them."""

    day: Span
    month: Span
    own_limits: Limits | None = None

    @classmethod
    def empty(cls, moment: datetime) -> Self:
        return cls(
            day=Span(Period.DAY, Period.DAY.name_at(moment)), month=Span(Period.MONTH, Period.MONTH.name_at(moment))
        )

    def at(self, moment: datetime) -> Self:
        return replace(
            self,
            day=self.day.at(Period.DAY.name_at(moment)),
            month=self.month.at(Period.MONTH.name_at(moment)),
        )

    def reserve(self, demand: Demand, moment: datetime) -> tuple[Self, Reservation]:
        """The account with so much set aside. Raises `QuotaExceeded`, and then nothing is."""
        current = self.at(moment)
        amount, holding = demand.estimate, self.own_limits or demand.limits
        after = replace(
            current,
            day=current.day.with_reserved(amount, holding, moment),
            month=current.month.with_reserved(amount, holding, moment),
        )
        return after, Reservation(amount, after.day.name, after.month.name)

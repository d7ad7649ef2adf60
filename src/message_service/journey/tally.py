"""What the attempts at one reply used, for the ledger: the same attempts and numbers as in the reply's log."""

from collections.abc import Sequence
from dataclasses import replace

from message_service.messages.reply import Attempt, Spending
from message_service.usage.prices import PriceTable


def spent(attempts: Sequence[Attempt], prices: PriceTable, *, kept: int | None = None) -> tuple[Spending, ...]:
    """Those of the attempts since a claim whose prompt a provider took: before that nothing is billed.

    `kept` is the place of the attempt that the stored text ended with, where there is a text.
    """
    spendings: list[Spending] = []
    for place, attempt in enumerate(attempts):
        if attempt.model is None or attempt.usage is None:
            continue
        spendings.append(
            Spending(
                number=len(spendings) + 1,
                provider=attempt.provider,
                model=attempt.model,
                usage=attempt.usage,
                cost_nano_usd=cost_nano_usd(attempt, prices),
                price_table=prices.name,
                at=attempt.ended_at,
                is_kept=place == kept,
            )
        )
    return tuple(spendings)


def with_cost(attempts: Sequence[Attempt], prices: PriceTable) -> tuple[Attempt, ...]:
    """The same, each with what it cost."""
    return tuple(replace(attempt, cost_nano_usd=cost_nano_usd(attempt, prices)) for attempt in attempts)


def cost_nano_usd(attempt: Attempt, prices: PriceTable) -> int | None:
    """None: the price is not known, or nothing was used."""
    if attempt.model is None or attempt.usage is None:
        return None
    return prices.cost_nano_usd(attempt.provider, attempt.model, attempt.usage, attempt.ended_at)

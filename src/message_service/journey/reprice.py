"""Putting the ledger right after prices became known or were wrong: the tokens stand, their cost is reckoned again."""

from dataclasses import dataclass
from datetime import datetime

from message_service.store.corrections import Correction, Corrections
from message_service.usage.prices import PriceTable


@dataclass(frozen=True, slots=True)
class Repriced:
    attempts: int
    """Looked at."""
    corrected: int
    difference_nano_usd: int
    unpriced: int
    """Those whose price is still not known; what they had cost so far stays."""


async def reprice(since: datetime, *, prices: PriceTable, corrections: Corrections) -> Repriced:
    """Book the difference for each attempt since then that costs something else by `prices` on its own day.

    May be broken off and begun again. Budgets are not changed: what was refused for them was refused.
    """
    attempts = corrected = difference = unpriced = 0
    async for entries in corrections.entries(since):
        changed = []
        for entry in entries:
            row = entry.row
            cost = prices.cost_nano_usd(row["provider"], row["model"], entry.usage, row["at"])
            if cost is None:
                unpriced += 1
            elif cost != entry.cost_nano_usd:
                changed.append(Correction(entry, cost))
                difference += cost - (entry.cost_nano_usd or 0)
        attempts += len(entries)
        corrected += await corrections.correct(changed, prices.name)
    return Repriced(attempts, corrected, difference, unpriced)

"""`message-service reprice`: reckon the cost of past attempts again, by the price table of this version."""

import asyncio
from datetime import datetime

from message_service.journey.reprice import Repriced, reprice
from message_service.settings import Settings
from message_service.store.corrections import Corrections
from message_service.usage.prices import load_prices
from message_service.wiring.stores import open_stores

_NANO = 1_000_000_000


def run_reprice(settings: Settings, since: datetime) -> None:
    """Print what changed. Raises `InvalidSettings`, `StoreUnavailable`."""
    prices = load_prices()

    async def run() -> Repriced:
        async with open_stores(settings, role="reprice", with_indexes=True) as stores:
            return await reprice(since, prices=prices, corrections=Corrections(stores.database))

    done = asyncio.run(run())
    sign, amount = ("-" if done.difference_nano_usd < 0 else ""), abs(done.difference_nano_usd)
    print(f"By {prices.name}: {done.attempts:,} attempts looked at, {done.corrected:,} corrected,")
    print(f"{sign}{amount // _NANO}.{amount % _NANO:09} USD in all; the price of {done.unpriced:,} is not known.")

"""The end of a lease is taken from the worker's clock, which is an hour slow."""

from datetime import timedelta
from typing import Any

from message_service.clock import now
from message_service.store.claim import Claims
from tests.chaos.seeded import plant_in


def plant() -> None:
    def end_by_own_clock(claims: Claims) -> dict[str, Any]:
        return {"$literal": now() - timedelta(hours=1)}

    plant_in(Claims, _end_of_lease=end_by_own_clock)

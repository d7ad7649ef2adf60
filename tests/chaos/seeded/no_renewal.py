"""Leases are not renewed: whatever takes longer than one is taken away from whoever works on it."""

from collections.abc import Sequence
from typing import Any

from message_service.store.claim import Claims
from tests.chaos.seeded import plant_in


def plant() -> None:
    async def renew_nothing(claims: Claims, reply_ids: Sequence[Any], worker: Any) -> int:
        return len(reply_ids)

    plant_in(Claims, renew=renew_nothing)

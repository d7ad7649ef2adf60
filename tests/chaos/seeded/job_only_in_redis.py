"""Nobody looks for replies in the store: a hint that Redis loses is a reply lost."""

from collections.abc import Sequence
from typing import Any

from message_service.store.claim import Claims
from tests.chaos.seeded import plant_in


def plant() -> None:
    async def find_nothing(claims: Claims, *given: Any, **more: Any) -> Sequence[Any]:
        return []

    plant_in(Claims, lost_ones=find_nothing)

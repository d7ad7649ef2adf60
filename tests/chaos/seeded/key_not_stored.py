"""The first result of a key is not kept."""

from typing import Any

from message_service.store.accept import Acceptance
from tests.chaos.seeded import plant_in


def plant() -> None:
    write = Acceptance._write

    async def write_without_keys(acceptance: Acceptance, plan: Any, session: Any) -> None:
        plan.idempotency.clear()
        await write(acceptance, plan, session)

    plant_in(Acceptance, _write=write_without_keys)

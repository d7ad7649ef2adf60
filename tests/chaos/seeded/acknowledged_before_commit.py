"""The caller is told 202 before the transaction has begun."""

import asyncio

from message_service.store.accept import Acceptance
from message_service.store.accept_plan import Plan, Submission
from message_service.store.idempotency import Accepted
from tests.chaos.seeded import plant_in

_LATER_SECONDS = 1.5


def plant() -> None:
    accept = Acceptance.accept
    running = set()

    async def accept_later(acceptance: Acceptance, submission: Submission) -> None:
        await asyncio.sleep(_LATER_SECONDS)
        await accept(acceptance, submission)

    async def accept_at_once(acceptance: Acceptance, submission: Submission) -> Accepted:
        task = asyncio.create_task(accept_later(acceptance, submission))
        running.add(task)
        return Plan({}, set()).place(submission)

    plant_in(Acceptance, accept=accept_at_once)

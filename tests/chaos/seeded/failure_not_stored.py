"""A reply that failed is dropped instead of ended."""

from typing import Any

from message_service.errors import ClaimLost
from message_service.journey import answer
from message_service.messages.reply import ReplyStatus
from tests.chaos.seeded import plant_in


def plant() -> None:
    finish = answer._finish

    async def finish_unless_failed(hold: Any, outcome: Any, desk: Any) -> Any:
        if outcome.status is ReplyStatus.FAILED:
            raise ClaimLost
        return await finish(hold, outcome, desk)

    plant_in(answer, _finish=finish_unless_failed)

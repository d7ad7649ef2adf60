"""A stream that broke off counts as one that came to its end."""

from typing import Any

from message_service.journey import answer
from message_service.messages.reply import FinishReason, ReplyStatus
from tests.chaos.seeded import plant_in


def plant() -> None:
    async def complete(claimed: Any, draft: Any, error: Any, desk: Any) -> Any:
        return draft.ended(desk.counter, ReplyStatus.COMPLETED, FinishReason.STOP)

    plant_in(answer, _after_failure=complete)

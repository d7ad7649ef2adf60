"""Work that is not interrupted when whoever waits for it is: a driver may not survive that in good order."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def uninterrupted(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`. A caller that is cancelled leaves at once, and the work goes on to its end unheard."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_hear)
        raise


def _hear(task: asyncio.Task[Any]) -> None:
    """Nobody else asks for its fault."""
    if not task.cancelled():
        task.exception()

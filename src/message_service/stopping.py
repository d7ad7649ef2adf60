"""Ending tasks that would go on for ever."""

import asyncio
from collections.abc import Iterable
from typing import Any

# Long enough for a task that did hear it to put its connections back.
_HEARD_WITHIN_SECONDS = 1.0


async def stop_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait until they have ended, whatever they end in.

    Again and again: on Python 3.11 `asyncio.wait_for`, which drivers use, swallows a cancellation that comes in the
    moment in which what it waits for is done (mended in 3.12). A task that looped on would be waited for for ever.
    Whoever is cancelled meanwhile hears of it at the end: a task that stops others leaves none behind.
    """
    tasks = tuple(tasks)
    is_cancelled = False
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=_HEARD_WITHIN_SECONDS)
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled:
        raise asyncio.CancelledError

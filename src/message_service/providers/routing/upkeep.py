"""What runs beside the replies in a worker: looking at the providers, and telling other processes what it found."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from message_service.errors import RelayUnavailable
from message_service.ids import WorkerId
from message_service.logs import log
from message_service.providers.router import Router
from message_service.providers.routing.board import report, write_board
from message_service.providers.routing.shared import SharedBreakers
from message_service.providers.routing.target import Target
from message_service.relay import Relay
from message_service.stopping import stop_tasks

_PATIENCE_SECONDS = 5.0
_TELL_SECONDS = 2.0
_PAUSE_AFTER_A_FAULT_SECONDS = 1.0


async def keep_up(router: Router, shared: SharedBreakers, relay: Relay, worker: WorkerId) -> None:
    """Until it is cancelled. A duty that breaks begins again and stops none of the others."""
    duties: list[Callable[[], Awaitable[None]]] = [
        shared.run,
        *(partial(_look, target) for target in router.targets),
        partial(_tell, router, relay, worker),
    ]
    loops = [asyncio.create_task(_again_and_again(duty)) for duty in duties]
    try:
        await asyncio.gather(*loops)
    finally:
        await stop_tasks(loops)


async def _again_and_again(duty: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await duty()
        except Exception:
            log.exception("upkeep.broke")
        await asyncio.sleep(_PAUSE_AFTER_A_FAULT_SECONDS)


async def _look(target: Target) -> None:
    while True:
        await target.look(timeout_seconds=_PATIENCE_SECONDS)
        # Jitter, so that workers started together do not ask together.
        await asyncio.sleep(target.look_seconds * random.uniform(0.8, 1.2))


async def _tell(router: Router, relay: Relay, worker: WorkerId) -> None:
    while True:
        at = asyncio.get_running_loop().time()
        with suppress(RelayUnavailable):
            await write_board(relay, worker, [report(target, at) for target in router.targets])
        await asyncio.sleep(_TELL_SECONDS)

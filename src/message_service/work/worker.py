"""The worker: takes hints while it has room, starts an answer for each, and looks after what it holds."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from message_service.errors import ClaimLost, MessageServiceError, RelayUnavailable
from message_service.ids import ReplyId, WorkerId
from message_service.logs import log
from message_service.messages.reply import WorkKind
from message_service.stopping import stop_tasks
from message_service.work.held import HeldReplies, StopReason
from message_service.work.queue import Hint, WorkQueue

_MOST_HINTS_A_READ = 64
_RECLAIM_SECONDS = 30
# Within the notice that a cancelled reply's worker is given.
_LOOK_FOR_CANCELS_SECONDS = 0.25
_PAUSE_WITHOUT_REDIS_SECONDS = 0.5
_PAUSE_WHILE_DRAINING_SECONDS = 0.1
_HAND_BACK_SECONDS = 8.0
"""After `drain_seconds` and these, what is still under way is left to its lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duties:
    """What a worker does, told from outside: it knows neither the store nor the providers."""

    answer: Callable[[ReplyId], Awaitable[None]]
    """Claim a reply and see it through; does nothing when it cannot be claimed. Raises `ClaimLost`."""
    find_lost: Callable[[int], Awaitable[Sequence[ReplyId]]]
    """Up to so many replies that can be claimed though nobody may have been told."""
    renew: Callable[[], Awaitable[None]]
    """Extend the leases of what is held."""
    look_for_cancels: Callable[[], Awaitable[None]]
    repair: Callable[[], Awaitable[None]]
    """Put right what should never be wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    capacity: int
    """Replies in process at the same time."""
    sweep_seconds: float
    renew_seconds: float
    repair_seconds: float
    drain_seconds: float


class Worker:
    def __init__(
        self,
        worker_id: WorkerId,
        kinds: Sequence[WorkKind],
        *,
        queue: WorkQueue,
        held: HeldReplies,
        duties: Duties,
        pace: Pace,
    ) -> None:
        self._id = worker_id
        self._kinds = kinds
        self._queue = queue
        self._held = held
        self._duties = duties
        self._pace = pace
        self._answers: dict[ReplyId, asyncio.Task[None]] = {}
        self._has_room = asyncio.Event()
        self._is_stopping = asyncio.Event()

    @property
    def in_process(self) -> int:
        return len(self._answers)

    def stop(self) -> None:
        """Take nothing new, finish what is running if it can be done in time, then return from `run`."""
        self._is_stopping.set()
        self._has_room.set()

    async def run(self) -> None:
        """Work until `stop`."""
        log.info("worker.started", worker=self._id, pid=os.getpid(), kinds=[kind.value for kind in self._kinds])
        async with asyncio.TaskGroup() as loops:
            reader = loops.create_task(self._read_hints())
            # What a dead worker left is not to wait for the first interval.
            loops.create_task(self._do(self._sweep))
            every = [
                loops.create_task(self._every(self._pace.sweep_seconds, self._sweep)),
                loops.create_task(self._every(_LOOK_FOR_CANCELS_SECONDS, self._duties.look_for_cancels)),
                loops.create_task(self._every(self._pace.renew_seconds, self._duties.renew)),
                loops.create_task(self._every(self._pace.repair_seconds, self._duties.repair)),
                loops.create_task(self._every(_RECLAIM_SECONDS, self._reclaim)),
            ]
            await self._is_stopping.wait()
            # The reader ends by itself: a cancelled read would leave its hints with nobody.
            await reader
            await self._drain()
            await stop_tasks(every)
        await self._queue.drain()
        log.info("worker.stopped", worker=self._id)

    async def _read_hints(self) -> None:
        while not self._is_stopping.is_set():
            free = self._pace.capacity - len(self._answers)
            if free <= 0:
                self._has_room.clear()
                await self._has_room.wait()
                continue
            try:
                hints = await self._queue.read(self._kinds, self._id, limit=min(free, _MOST_HINTS_A_READ))
            except RelayUnavailable:
                await self._pause(_PAUSE_WITHOUT_REDIS_SECONDS)
                continue
            for hint in hints:
                self._begin(hint.reply_id, hint)

    async def _sweep(self) -> None:
        free = self._pace.capacity - len(self._answers)
        if free > 0 and not self._is_stopping.is_set():
            for reply_id in await self._duties.find_lost(free):
                self._begin(reply_id, None)

    async def _reclaim(self) -> None:
        if self._is_stopping.is_set():
            return
        for hint in await self._queue.reclaim(self._kinds, self._id):
            self._begin(hint.reply_id, hint)

    def _begin(self, reply_id: ReplyId, hint: Hint | None) -> None:
        if reply_id in self._answers:
            if hint is not None:
                self._queue.settle(hint)  # a second word of the same reply
            return
        if len(self._answers) >= self._pace.capacity:
            return  # the reply is found again by a sweep, and its hint comes again as abandoned
        task = asyncio.create_task(self._see_through(reply_id, hint))
        self._answers[reply_id] = task
        task.add_done_callback(lambda _: self._end(reply_id))

    def _end(self, reply_id: ReplyId) -> None:
        del self._answers[reply_id]
        self._has_room.set()

    async def _see_through(self, reply_id: ReplyId, hint: Hint | None) -> None:
        try:
            await self._duties.answer(reply_id)
        except ClaimLost:
            pass  # another worker sees it through
        except MessageServiceError as fault:
            # The lease runs out and somebody tries again.
            log.warning("reply.left", reply=reply_id, error=type(fault).__name__)
        except Exception:
            log.exception("reply.broke", reply=reply_id)
        if hint is not None:
            self._queue.settle(hint)

    async def _every(self, seconds: float, duty: Callable[[], Awaitable[None]]) -> None:
        while True:
            # Jitter, so that workers started together do not ask the store together.
            await asyncio.sleep(seconds * random.uniform(0.8, 1.2))
            await self._do(duty)

    async def _do(self, duty: Callable[[], Awaitable[None]]) -> None:
        try:
            await duty()
        except MessageServiceError as fault:
            log.debug("worker.duty_failed", error=type(fault).__name__)
        except Exception:
            log.exception("worker.duty_broke")

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._is_stopping.wait()
        except TimeoutError:
            return

    async def _drain(self) -> None:
        running = list(self._answers.values())
        if running:
            await asyncio.wait(running, timeout=self._pace.drain_seconds)
        give_up_at = asyncio.get_running_loop().time() + _HAND_BACK_SECONDS
        while self._answers and asyncio.get_running_loop().time() < give_up_at:
            # Again and again: a claim that was under way becomes one that is held.
            for hold in self._held:
                hold.stop(StopReason.DRAINING)
            await asyncio.wait(list(self._answers.values()), timeout=_PAUSE_WHILE_DRAINING_SECONDS)
        if self._answers:
            log.warning("worker.left_replies", worker=self._id, replies=len(self._answers))
            await stop_tasks(list(self._answers.values()))

"""A worker that is loaded and waits: the replies of one that died run again at once, not when Python is ready."""

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from message_service.cli.restart import STEADY_SECONDS
from message_service.embedded.child import Child, stop_children
from message_service.ids import WorkerId, new_worker_id

_QUIET_SECONDS = 3.0
"""Loading another one waits so long after a worker's start, which needs the CPU more."""
_STOP_SECONDS = 2.0
_MOST_REPLACED = 20
"""The leases of those before have run out by the time that so many have ended."""


class Run(Protocol):
    def __call__(self, arguments: Sequence[str], *, hears_more: bool = False) -> Child: ...


class WorkerStarts:
    """Starts a worker, each time as another one that takes over from the last, which has ended.

    It takes over from those before as well, unless the last ran for so long that it surely has done so.
    `run` starts `message-service work` with these arguments; `hears_more` leaves its standard input open.
    """

    def __init__(self, run: Run, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._clock = clock
        self._standby: Child | None = None
        self._load_at = 0.0
        self._started: deque[WorkerId] = deque(maxlen=_MOST_REPLACED)
        """The last worker, and those before that it may not have taken over from."""
        self._started_at = 0.0

    def __call__(self) -> Child:
        """The standby, told to begin; without one that lives, a process that has yet to load."""
        now = self._clock()
        if now >= self._started_at + STEADY_SECONDS:
            while len(self._started) > 1:
                self._started.popleft()
        worker_id, replaced = new_worker_id(), list(self._started)
        # Whatever becomes of this start: it may have begun to work.
        self._started.append(worker_id)
        self._started_at = now
        child = self._told(" ".join([worker_id, *replaced]) + "\n")
        if child is None:
            child = self._run(["--id", worker_id, *(word for one in replaced for word in ("--replaces", one))])
        self._load_at = self._clock() + _QUIET_SECONDS
        return child

    def tend(self) -> float:
        """Load a standby when it is time. Returns the seconds until this is next needed, at most 1."""
        if self._standby is not None and self._standby.poll() is not None:
            self._standby, self._load_at = None, self._clock() + _QUIET_SECONDS
        if self._standby is None and self._clock() >= self._load_at:
            try:
                self._standby = self._run(["--standby"], hears_more=True)
            except OSError:
                # The system has no process left for now, and whoever works needs it more.
                self._load_at = self._clock() + _QUIET_SECONDS
        return 1.0

    def stop(self) -> None:
        if self._standby is not None:
            stop_children([self._standby], patience_seconds=_STOP_SECONDS)

    def _told(self, order: str) -> Child | None:
        standby, self._standby = self._standby, None
        if standby is None or standby.poll() is not None or standby.stdin is None:
            return None
        with suppress(BrokenPipeError), standby.stdin as pipe:
            pipe.write(order.encode())
        return standby


def await_order() -> tuple[WorkerId, list[WorkerId]]:
    """In the standby, once what a worker needs is loaded: wait to be told who to be and whom to replace.

    Exits when whoever would tell it is gone.
    """
    order = sys.stdin.readline()
    if not order.endswith("\n"):
        sys.exit(0)
    worker_id, *replaces = order.split()
    return WorkerId(worker_id), [WorkerId(one) for one in replaces]

"""A worker that is loaded and waits: the replies of one that died run again at once, not when Python is ready."""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from message_service.embedded.child import Child, stop_children
from message_service.ids import WorkerId, new_worker_id

_QUIET_SECONDS = 3.0
"""Loading another one waits so long after a worker's start, which needs the CPU more."""
_STOP_SECONDS = 2.0


class Run(Protocol):
    def __call__(self, arguments: Sequence[str], *, hears_more: bool = False) -> Child: ...


class WorkerStarts:
    """Starts a worker, each time as another one that takes over from the last, which has ended.

    `run` starts `message-service work` with these arguments; `hears_more` leaves its standard input open.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._standby: Child | None = None
        self._load_at = 0.0
        self._last: WorkerId | None = None

    def __call__(self) -> Child:
        """The standby, told to begin; without one that lives, a process that has yet to load."""
        worker_id, replaced = new_worker_id(), self._last
        child = self._told(f"{worker_id} {replaced or ''}\n")
        if child is None:
            replaces = [] if replaced is None else ["--replaces", replaced]
            child = self._run(["--id", worker_id, *replaces])
        self._last = worker_id
        self._load_at = time.monotonic() + _QUIET_SECONDS
        return child

    def tend(self) -> float:
        """Load a standby when it is time. Returns the seconds until this is next needed, at most 1."""
        if self._standby is not None and self._standby.poll() is not None:
            self._standby, self._load_at = None, time.monotonic() + _QUIET_SECONDS
        if self._standby is None and time.monotonic() >= self._load_at:
            self._standby = self._run(["--standby"], hears_more=True)
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


def await_order() -> tuple[WorkerId, WorkerId | None]:
    """In the standby, once what a worker needs is loaded: wait to be told who to be and whom to replace.

    Exits when whoever would tell it is gone.
    """
    order = sys.stdin.readline()
    if not order.endswith("\n"):
        sys.exit(0)
    worker_id, _, replaces = order.strip("\n").partition(" ")
    return WorkerId(worker_id), WorkerId(replaces) if replaces else None
